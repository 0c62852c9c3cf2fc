"""Programs that others wrote: the ElevenLabs SDK, and schemathesis, which tries what the documentation allows."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from tests.conftest import vowels
from tests.server.conftest import Running, wav_bytes

KEY = "a-key-of-the-tests"


@pytest.fixture
def keyed(start: Callable[..., Running]) -> Running:
    return start(api_key=KEY)


@pytest.mark.sdk
def test_the_sdk_adds_a_voice_and_converts(keyed: Running, tmp_path: Path, source: bytes) -> None:
    client: Any = pytest.importorskip("elevenlabs.client").ElevenLabs(base_url=keyed.url, api_key=KEY)
    reference = tmp_path / "reference.wav"
    reference.write_bytes(wav_bytes(vowels(4.0, 200)))
    with reference.open("rb") as one, reference.open("rb") as two:
        made = client.voices.ivc.create(
            name="Anna of tests", files=[one, two], description="calm", labels={"accent": "none"}
        )
    for form in ("pcm_16000", "wav_22050", "mp3_44100_128", "opus_48000_64", "ulaw_8000"):
        for call in (client.speech_to_speech.convert, client.speech_to_speech.stream):
            data = b"".join(call(made.voice_id, audio=io.BytesIO(source), output_format=form, seed=1))
            check_format(data, form)
    default = b"".join(client.speech_to_speech.convert(made.voice_id, audio=io.BytesIO(source)))
    check_format(default, "mp3_44100_128")


def check_format(data: bytes, form: str) -> None:
    """The data are 2 s in the format that was asked for, and not silent."""
    codec, rate = form.split("_")[0], int(form.split("_")[1])
    if codec in ("pcm", "ulaw"):
        subtype = {"pcm": "PCM_16", "ulaw": "ULAW"}[codec]
        wave, found = soundfile.read(
            io.BytesIO(data), samplerate=rate, channels=1, subtype=subtype, format="RAW", endian="LITTLE"
        )
    else:
        magic = {"wav": b"RIFF", "mp3": b"\xff\xfb", "opus": b"OggS"}[codec]
        assert data.startswith(magic)
        wave, found = soundfile.read(io.BytesIO(data))
    assert (len(wave), found) == (2 * rate, rate)
    assert 0.01 < np.sqrt(np.mean(wave**2)) < 0.5


@pytest.mark.sdk
def test_the_sdk_lists_edits_and_deletes(keyed: Running, voice: Any) -> None:
    client: Any = pytest.importorskip("elevenlabs.client").ElevenLabs(base_url=keyed.url, api_key=KEY)
    api_error = pytest.importorskip("elevenlabs.core.api_error").ApiError
    for name in ("anna", "berta"):
        keyed.library.add(name, voice)
    assert {"anna", "berta"} <= {v.voice_id for v in client.voices.get_all().voices}
    page = client.voices.search(search="bert", page_size=1, include_total_count=True)
    assert ([v.name for v in page.voices], page.has_more, page.total_count) == (["berta"], False, 1)
    assert client.voices.get("anna").category == "cloned"
    assert client.voices.update("anna", name="carla", description="deep").status == "ok"
    assert client.voices.get("carla").description == "deep"
    assert client.voices.delete("carla").status == "ok"
    with pytest.raises(api_error) as caught:
        client.voices.get("carla")
    assert caught.value.status_code == 404
    assert caught.value.body["detail"]["status"] == "voice_not_found"
    (model,) = client.models.list()
    assert model.can_do_voice_conversion


@pytest.mark.sdk
def test_the_sdk_reports_errors(keyed: Running) -> None:
    api_error = pytest.importorskip("elevenlabs.core.api_error").ApiError
    client: Any = pytest.importorskip("elevenlabs.client").ElevenLabs(base_url=keyed.url, api_key="wrong")
    with pytest.raises(api_error) as caught:
        client.voices.get_all()
    assert caught.value.body["detail"]["status"] == "invalid_api_key"


@pytest.mark.schema
def test_schemathesis_finds_nothing(keyed: Running, voice: Any, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("schemathesis")
    command = str(program) if program.exists() else shutil.which("schemathesis")
    if command is None:
        pytest.skip("schemathesis is not installed")
    keyed.library.add("anna", voice)
    done = subprocess.run(
        [
            command,
            f"--config-file={Path(__file__).with_name('schemathesis.toml')}",
            "run",
            f"{keyed.url}/openapi.json",
            "--max-examples=5",
            "--seed=1",
            "--generation-database=none",
            f"--header=xi-api-key: {KEY}",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
