"""Voices over HTTP: add, list, search, edit, delete."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from fastvoicegrad import InputError
from fastvoicegrad.library import VoiceLibrary
from fastvoicegrad.server import work
from fastvoicegrad.server.uploads import reason_for_clients
from fastvoicegrad.voice_file import Adapter
from tests.conftest import vowels
from tests.server.conftest import Running, wait_until, wav_bytes


@pytest.fixture(scope="module")
def reference() -> bytes:
    return wav_bytes(vowels(4.0, 180, seed=2))


@pytest.fixture
def own(start: Callable[..., Running]) -> Running:
    """A server with an empty library."""
    return start()


def add(server: Running, audio: bytes, name: str = "Anna", **data: Any) -> Any:
    return server.client.post("/v1/voices/add", files={"files": ("a.wav", audio)}, data={"name": name, **data})


def own_names(server: Running) -> list[str]:
    voices = server.client.get("/v1/voices").json()["voices"]
    return [voice["name"] for voice in voices if voice["category"] == "cloned"]


def test_a_voice_is_added_shown_and_deleted(own: Running, reference: bytes) -> None:
    added = add(own, reference, description=" warm,\n calm ", labels='{"accent": "none"}')
    assert added.status_code == 200, added.text
    assert added.json()["voice_id"] == "Anna"
    assert added.json()["requires_verification"] is False
    shown = own.client.get("/v1/voices/anna").json()
    assert (shown["name"], shown["category"], shown["description"]) == ("Anna", "cloned", "warm, calm")
    assert shown["samples"] == [{"sample_id": "0", "file_name": "a.wav"}]
    assert own_names(own) == ["Anna"]
    assert "Anna" in own.client.get("/v1/audio/voices").json()["voices"]
    assert own.client.delete("/v1/voices/Anna").json() == {"status": "ok"}
    assert own_names(own) == []
    assert own.client.get("/v1/voices/Anna").status_code == own.client.delete("/v1/voices/Anna").status_code == 404


def test_several_recordings_make_one_voice(own: Running, reference: bytes) -> None:
    files = [("files", (f"{n}.wav", reference)) for n in range(3)]
    added = own.client.post("/v1/voices/add", files=files, data={"name": "Anna"})
    assert added.status_code == 200, added.text
    assert own.library.entry("Anna").sources == ["0.wav", "1.wav", "2.wav"]
    assert own.library.entry("Anna").seconds > 6


@pytest.mark.parametrize(
    ("name", "voice_id"),
    [
        ("My voice: Ännä!", "My-voice-Ännä"),
        ("../../etc/passwd", "etc-passwd"),
        ("a\x00b\r\nc", "a-b-c"),
        ("\u202eanna\ud83d", "anna"),
        ("安娜", "安娜"),
        ("x" * 200, "x" * 60),
    ],
)
def test_any_name_becomes_an_id(own: Running, reference: bytes, name: str, voice_id: str) -> None:
    added = add(own, reference, name.encode("utf-8", "replace").decode())
    assert added.json().get("voice_id") == voice_id
    assert own.client.get(f"/v1/voices/{voice_id}").status_code == 200


@pytest.mark.parametrize("name", ["", " ", "///", "\x00", "con", "x" * 201])
def test_a_name_without_letters_is_refused(own: Running, reference: bytes, name: str) -> None:
    assert add(own, reference, name).status_code == 422


def test_equal_names_get_numbers(own: Running, reference: bytes) -> None:
    assert [add(own, reference).json()["voice_id"] for _ in range(3)] == ["Anna", "Anna-2", "Anna-3"]


def test_findings_are_listed(own: Running) -> None:
    (found,) = add(own, wav_bytes(vowels(1.0))).json()["warnings"]
    assert found.startswith("a.wav ")


def test_recordings_of_several_people_are_a_finding(own: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "judge_together", lambda embeddings, seconds: [f"{len(seconds)} people"])
    files = [("files", (name, wav_bytes(vowels(4.0)))) for name in ("a.wav", "b.wav")]
    answer = own.client.post("/v1/voices/add", files=files, data={"name": "Anna"})
    assert answer.json()["warnings"] == ["2 people"]


@pytest.mark.parametrize(
    ("audio", "code", "status"),
    [
        (b"", 400, "invalid_audio"),
        (b"no sound at all", 400, "invalid_audio"),
        (wav_bytes(0 * vowels(2.0)), 400, "invalid_audio"),
    ],
)
def test_a_bad_recording_makes_no_voice(own: Running, audio: bytes, code: int, status: str) -> None:
    answer = add(own, audio)
    assert (answer.status_code, answer.json()["detail"]["status"]) == (code, status)
    assert answer.json()["detail"]["message"].startswith("a.wav ")
    assert own_names(own) == []


def test_voices_are_limited(start: Callable[..., Running], reference: bytes) -> None:
    server = start(most_voices=len(VoiceLibrary().names()) + 1)
    most = server.app.state.service.settings.most_voices
    answers = [add(server, reference) for _ in range(most + 1)]
    assert answers[-1].json()["detail"]["status"] == "voice_limit_reached"
    assert len(server.library.names()) <= most


def test_search_and_pages(own: Running, reference: bytes, voice: Any) -> None:
    for name in ("berta", "Carl", "anna"):
        own.library.add(name, voice, description=f"voice of {name}")
    query = {"voice_type": "personal", "page_size": 2}
    first = own.client.get("/v2/voices", params=query).json()
    assert [v["name"] for v in first["voices"]] == ["anna", "berta"]
    assert (first["has_more"], first["total_count"]) == (True, 3)
    second = own.client.get("/v2/voices", params={**query, "next_page_token": first["next_page_token"]}).json()
    assert [v["name"] for v in second["voices"]] == ["Carl"]
    assert (second["has_more"], second["next_page_token"]) == (False, None)
    own.library.remove("berta")  # the token's voice
    again = own.client.get("/v2/voices", params={**query, "next_page_token": first["next_page_token"]}).json()
    assert again["voices"] == second["voices"]
    own.library.add("berta", voice)
    found = own.client.get("/v2/voices", params={"search": "OF CARL"}).json()
    assert [v["name"] for v in found["voices"]] == ["Carl"]
    backwards = own.client.get("/v2/voices", params={"category": "cloned", "sort_direction": "desc"}).json()
    assert [v["name"] for v in backwards["voices"]] == ["Carl", "berta", "anna"]
    some = own.client.get("/v2/voices", params={"voice_ids": ["ANNA", "nora"]}).json()
    assert [v["name"] for v in some["voices"]][:1] == ["anna"]
    assert own.client.get("/v2/voices", params={"page_size": 101}).status_code == 422


def test_harmless_reasons_reach_the_client(own: Running, reference: bytes, voice: Any) -> None:
    """Those without a path and without advice about the command line."""
    fingerprint = own.app.state.service.converter.bundle.converter_fingerprint
    own.library.add("other", replace(voice, encoder="0" * 16))
    own.library.add("adapted", replace(voice, adapter=Adapter(np.zeros(4, np.float32), fingerprint)))
    own.library.add("plain", voice)
    edit = own.client.post("/v1/voices/adapted/edit", data={"name": "adapted"}, files={"files": ("a.wav", reference)})
    mixed = "an adapted voice cannot be mixed with others; name it alone"
    assert edit.json()["detail"]["message"] == f"the voice 'adapted' cannot be used; {mixed}"
    for voice_id, reason in {
        "other": "the voice 'other' was made with another bundle",
        "adapted+plain": mixed,
        "plain(0)": "the weights in 'plain(0)' are all 0; give one voice a weight above 0, as in 'anna(0.7)+ben(0.3)'",
    }.items():
        answer = own.client.post(f"/v1/speech-to-speech/{voice_id}", files={"audio": reference})
        assert answer.status_code == 400
        assert answer.json()["detail"]["message"].endswith(reason)


@pytest.mark.parametrize(
    "message",
    [
        "/home/anna/voices/x.voice is damaged",
        "voices cannot be changed (read-only); choose another folder",
        r"C:\voices\x: no such file",
        "voices cannot be written (disk full)",
    ],
)
def test_reasons_with_paths_do_not(message: str) -> None:
    assert reason_for_clients(InputError(message)) == ""


def test_a_voice_file_is_no_recording_of_a_voice(own: Running) -> None:
    answer = own.client.post("/v1/voices/add", files={"files": ("a.voice", b"any")}, data={"name": "a"})
    assert answer.status_code == 400
    assert answer.json()["detail"]["message"].startswith("a.voice is a voice file; send a recording")


def test_editing_renames_describes_and_adds(own: Running, reference: bytes) -> None:
    add(own, reference)
    edited = own.client.post("/v1/voices/Anna/edit", data={"name": "Berta", "description": "deep"})
    assert edited.json() == {"status": "ok", "voice_id": "Berta", "warnings": []}
    more = own.client.post("/v1/voices/Berta/edit", data={"name": "berta"}, files={"files": ("b.wav", reference)})
    assert more.status_code == 200, more.text
    entry = own.library.entry("berta")
    assert (entry.name, entry.description, entry.sources) == ("berta", "deep", ["a.wav", "b.wav"])
    add(own, reference, "Carl")
    taken = own.client.post("/v1/voices/Carl/edit", data={"name": "BERTA"})
    assert (taken.status_code, taken.json()["detail"]["status"]) == (409, "voice_name_taken")
    assert own.client.post("/v1/voices/nora9/edit", data={"name": "x"}).status_code == 404


def test_more_references_leave_kept_recordings(
    own: Running, voice: Any, reference_file: Path, reference: bytes
) -> None:
    own.library.add("kept", voice, recordings=[reference_file])
    edit = own.client.post("/v1/voices/kept/edit", data={"name": "kept"}, files={"files": ("b.wav", reference)})
    assert "the new recordings are not kept" in edit.json()["warnings"][-1]
    assert own.library.entry("kept").recordings == 1


def test_a_new_description_leaves_kept_recordings(own: Running, voice: Any, reference_file: Path) -> None:
    own.library.add("anna", voice, recordings=[reference_file])
    own.client.post("/v1/voices/anna/edit", data={"name": "anna", "description": "deep"}).raise_for_status()
    entry = own.library.entry("anna")
    assert (entry.description, entry.recordings) == ("deep", 1)


def test_presets_stay_as_they_are(own: Running, source: bytes) -> None:
    presets = [v for v in own.client.get("/v1/voices").json()["voices"] if v["category"] == "premade"]
    if not presets:
        pytest.skip("no preset voices")
    name = presets[0]["voice_id"]
    answers = [
        own.client.delete(f"/v1/voices/{name}"),
        own.client.post(f"/v1/voices/{name}/edit", data={"name": "x"}),
    ]
    assert [answer.status_code for answer in answers] == [403, 403]
    preview = own.client.get(presets[0]["preview_url"])
    assert preview.status_code == 200
    assert soundfile.info(io.BytesIO(preview.content)).duration > 1
    assert own.client.post(f"/v1/speech-to-speech/{name}", files={"audio": source}).status_code == 200


def test_damaged_voices_are_left_out(own: Running, reference: bytes) -> None:
    add(own, reference)
    add(own, reference, "Berta")
    own.library.entry("Anna").path.write_bytes(b"damaged")
    assert own_names(own) == ["Berta"]
    answer = own.client.post("/v1/speech-to-speech/Anna", files={"audio": reference})
    assert (answer.status_code, answer.json()["detail"]["status"]) == (400, "voice_not_usable")
    assert str(own.library.folder) not in answer.text
    assert own.client.delete("/v1/voices/Anna").status_code == 200
    assert not own.library.folder.joinpath("Anna.voice").exists()


@pytest.mark.slow
def test_voices_survive_a_kill(tmp_path: Path, reference: bytes) -> None:
    """A server is killed while voices are added: confirmed ones are there, and none is damaged."""
    confirmed: list[str] = []
    (uploads := tmp_path / "uploads").mkdir()
    for moment in (0.05, 0.2, 0.35, 0.5):
        process = subprocess.Popen(
            [sys.executable, "-m", "fastvoicegrad", "serve", "--port", "0", "--voices", str(tmp_path), "--quiet"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(uploads)},
        )
        assert process.stdout is not None
        url = process.stdout.readline().split(",")[0].rsplit(" ", 1)[1]
        adding = threading.Thread(target=add_until_it_ends, args=(url, reference, confirmed))
        before = len(confirmed)
        adding.start()
        wait_until(lambda before=before: len(confirmed) > before)  # type: ignore[misc]
        time.sleep(moment)
        process.kill()
        process.wait()
        adding.join()
        process.stdout.close()
    library = VoiceLibrary(tmp_path)
    own = {name for name in library.names() if not library.entry(name).preset}
    assert len(set(confirmed)) == len(confirmed)
    assert set(confirmed) <= own
    assert len(own) <= len(confirmed) + 4  # a voice may be there before its answer
    for name in own:
        assert library.load(name).seconds > 1


def add_until_it_ends(url: str, audio: bytes, confirmed: list[str]) -> None:
    """Adds voices to a server until it is gone."""
    import httpx

    with httpx.Client(base_url=url, timeout=30) as client, suppress(httpx.TransportError):
        while True:
            answer = client.post("/v1/voices/add", files={"files": audio}, data={"name": "Anna"})
            confirmed.append(answer.json()["voice_id"])
