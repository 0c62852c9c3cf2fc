"""The server behind the page, and the command that starts it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("gradio")

from fastvoicegrad import InputError, VoiceConverter, VoiceLibrary
from fastvoicegrad.ui.run import opened


def test_no_other_file_is_served(address: str, voices: VoiceLibrary) -> None:
    for path in (Path(__file__), voices.folder / "anna.voice", Path("/etc/passwd")):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{address}/gradio_api/file={path}", timeout=30)
        assert caught.value.code in (403, 404)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example:7860"},
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    ],
)
def test_other_sites_are_refused(address: str, headers: dict[str, str]) -> None:
    for path in ("/", "/config", "/gradio_api/upload"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(f"{address}{path}", headers=headers), timeout=30)
        assert caught.value.code == 403


def test_a_path_of_the_machine_is_no_upload(address: str) -> None:
    with urllib.request.urlopen(f"{address}/config", timeout=30) as answer:
        config = json.load(answer)
    (number,) = [f["id"] for f in config["dependencies"] if len(f["inputs"]) == 7 and len(f["outputs"]) == 7][:1]
    source = {"path": str(Path(__file__)), "meta": {"_type": "gradio.FileData"}}
    request = {"data": [source, "anna", None, 0, False, 0, "converted"], "fn_index": number, "session_hash": "test"}
    headers = {"Content-Type": "application/json"}
    join = urllib.request.Request(f"{address}/gradio_api/queue/join", json.dumps(request).encode(), headers)
    urllib.request.urlopen(join, timeout=30).read()
    with urllib.request.urlopen(f"{address}/gradio_api/queue/data?session_hash=test", timeout=60) as events:
        for line in events:
            if b"process_completed" in line:
                assert json.loads(line.removeprefix(b"data: "))["success"] is False
                return
    raise AssertionError("the request was not answered")


def test_nothing_is_reported_and_nothing_shared(address: str) -> None:
    with urllib.request.urlopen(f"{address}/config", timeout=30) as answer:
        config = json.load(answer)
    assert config["analytics_enabled"] is False
    assert not config.get("share_url")
    assert not config["footer_links"]
    with urllib.request.urlopen(f"{address}/gradio_api/info", timeout=30) as answer:
        assert json.load(answer) == {"named_endpoints": {}, "unnamed_endpoints": {}}


def test_a_taken_port_is_a_sentence(converter: VoiceConverter, voices: VoiceLibrary) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with (
            pytest.raises(InputError, match=f"cannot listen on 127.0.0.1 port {port}"),
            opened({"b": converter}, voices, port=port),
        ):
            pass


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_the_command_opens_the_page_and_cleans_up(tmp_path: Path) -> None:
    environment = {**os.environ, "FASTVOICEGRAD_VOICES": str(tmp_path / "voices"), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "fastvoicegrad", "ui", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "Loading ...\n"
        line = process.stdout.readline()
        assert line.startswith("Open http://127.0.0.1:")
        with urllib.request.urlopen(line.split()[1], timeout=60) as answer:
            assert b"FastVoiceGrad" in answer.read()
        assert list(tmp_path.glob("fastvoicegrad-ui-*"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert not list(tmp_path.glob("fastvoicegrad-ui-*"))
    finally:
        process.kill()
        process.wait()
