"""The page as a person uses it, in a headless Chromium."""

from __future__ import annotations

import io
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from fastvoicegrad import VoiceLibrary
from tests.conftest import RATE, vowels
from tests.ui.hands import DESKTOP, PHONE, choose, drop, fits, played, shoot, tab

pytestmark = pytest.mark.browser


def test_a_recording_is_dropped_and_converted(open_page: Any, speech_file: Path, reference_file: Path) -> None:
    page = open_page()
    panel = tab(page, "Convert")
    choose(panel, "Target voice", "A recording")
    drop(panel, 0, speech_file)
    drop(panel, 0, reference_file)  # the first field has a player now
    panel.get_by_role("button", name="Convert").click()
    panel.locator(".result img").nth(2).wait_for()
    waves = [played(panel, place) for place in range(3)]
    source, _ = soundfile.read(speech_file)
    assert [len(wave) for wave, _ in waves] == [len(source), soundfile.info(reference_file).frames, len(source)]
    assert waves[2][1] == RATE
    assert np.abs(waves[2][0] - source).max() > 0.05
    assert np.sqrt(np.mean(waves[2][0] ** 2)) > 0.01
    shoot(page, "convert")


def test_pauses_can_be_silent(open_page: Any, tmp_path: Path) -> None:
    room = 0.003 * np.random.default_rng(0).standard_normal(2 * RATE)
    soundfile.write(tmp_path / "talk.wav", np.concatenate([vowels(2.0), room]), RATE)
    panel = tab(open_page(), "Convert")
    drop(panel, 0, tmp_path / "talk.wav")
    panel.get_by_label("silence", exact=True).check()
    panel.get_by_role("button", name="Convert").click()
    panel.locator(".result img").nth(2).wait_for()
    assert not played(panel, 2)[0][-RATE:].any()


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_the_example_works_at_once(open_page: Any, size: tuple[int, int]) -> None:
    page = open_page(size)
    panel = tab(page, "Convert")
    panel.get_by_role("button", name="Try an example").click()
    panel.locator(".result img").nth(2).wait_for()
    assert len(played(panel, 0)[0]) == len(played(panel, 2)[0])
    assert fits(page)
    shoot(page, f"example-{size[0]}")


def test_a_voice_can_be_played_before_it_is_used(open_page: Any, speech_file: Path) -> None:
    panel = tab(open_page(), "Convert")
    choose(panel, "Target voice", "ben")
    panel.locator(".result img").first.wait_for()
    sample, _ = played(panel, 0)
    assert len(sample) > RATE
    drop(panel, 0, speech_file)
    panel.get_by_role("button", name="Convert").click()
    panel.locator(".result img").nth(2).wait_for()
    assert np.array_equal(played(panel, 1)[0], sample)


def test_a_recording_is_made_and_converted(open_page: Any) -> None:
    panel = tab(open_page(), "Convert")
    panel.get_by_role("button", name="Record audio").first.click()
    panel.get_by_role("button", name="Record", exact=True).click()
    panel.page.wait_for_timeout(2500)
    panel.get_by_role("button", name="Stop", exact=True).click()
    panel.page.wait_for_timeout(1500)
    panel.get_by_role("button", name="Convert").click()
    panel.locator(".result img").nth(2).wait_for()
    lengths = [len(played(panel, place)[0]) for place in (0, 2)]  # the microphone of the test plays tones
    assert lengths[0] == lengths[1] > 0


def test_an_error_is_a_sentence(open_page: Any, tmp_path: Path) -> None:
    page = open_page()
    panel = tab(page, "Convert")
    panel.get_by_role("button", name="Convert").click()
    page.get_by_text("The source is missing; drop a recording, or record one.").wait_for()
    (tmp_path / "broken one.wav").write_bytes(b"this is no sound " * 99)
    drop(panel, 0, tmp_path / "broken one.wav")
    panel.get_by_role("button", name="Convert").click()
    page.get_by_text("broken one.wav is not audio that can be read").wait_for()
    shoot(page, "error")


def test_findings_are_shown_as_notes(open_page: Any, speech_file: Path, tmp_path: Path) -> None:
    page = open_page()
    panel = tab(page, "Convert")
    soundfile.write(tmp_path / "clip.wav", soundfile.read(speech_file)[0][: int(0.8 * RATE)], RATE)
    choose(panel, "Target voice", "A recording")
    drop(panel, 0, speech_file)
    drop(panel, 0, tmp_path / "clip.wav")
    panel.get_by_role("button", name="Convert").click()
    panel.get_by_text("clip.wav holds 0.").wait_for()
    shoot(page, "notes")


def test_two_voices_are_blended_and_kept(open_page: Any, voices: VoiceLibrary) -> None:
    page = open_page()
    panel = tab(page, "Blend")
    panel.get_by_label("number input").fill("25")
    panel.get_by_role("button", name="Blend").click()
    panel.locator(".result img").wait_for()
    assert len(played(panel, 0)[0]) > RATE
    panel.get_by_label("Name of the new voice").fill("carla")
    panel.get_by_role("button", name="Save").click()
    panel.get_by_text("carla is in your library").wait_for()
    assert voices.entry("carla").description == "blend of anna(0.75)+ben(0.25)"
    shoot(page, "blend")
    choose(tab(page, "Convert"), "Target voice", "carla")


def test_several_files_come_back_as_an_archive(open_page: Any, speech_file: Path, tmp_path: Path) -> None:
    page = open_page()
    panel = tab(page, "Files")
    paths = [tmp_path / name for name in ("one.wav", "two.wav", "broken.wav")]
    for path in paths:
        path.write_bytes(speech_file.read_bytes() if path.stem != "broken" else b"no sound" * 99)
    drop(panel, 0, *paths)
    panel.get_by_role("button", name="Convert all").click()
    panel.get_by_text("2 converted, 1 failed.").wait_for()
    assert panel.get_by_text("broken.wav").count()
    with urllib.request.urlopen(panel.locator("a[href*='converted.zip']").first.get_attribute("href")) as answer:
        archive = zipfile.ZipFile(io.BytesIO(answer.read()))
    assert archive.namelist() == ["one.wav", "two.wav"]
    assert soundfile.info(io.BytesIO(archive.read("one.wav"))).frames == soundfile.info(speech_file).frames
    shoot(page, "files")
