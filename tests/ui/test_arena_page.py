"""The arena with two bundles, on the screen of a phone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastvoicegrad import VoiceConverter, VoiceLibrary
from tests.ui.hands import PHONE, drop, fits, played, shoot, tab

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def bundles(converter: VoiceConverter) -> dict[str, VoiceConverter]:
    return {"one": converter, "two": VoiceConverter.load()}


@pytest.mark.slow
def test_the_arena_is_blind_and_counts(open_page: Any, speech_file: Path, voices: VoiceLibrary) -> None:
    page = open_page(PHONE)
    panel = tab(page, "Arena")
    assert panel.get_by_label("Bundle B").first.input_value() == "two"
    drop(panel, 0, speech_file)
    panel.get_by_role("button", name="Play blind").click()
    panel.locator(".result img").nth(1).wait_for()
    sounds = [played(panel, place)[0] for place in range(2)]
    assert sounds[0].shape == sounds[1].shape
    assert np.abs(sounds[0] - sounds[1]).max() > 0.01
    assert not panel.get_by_text("Number 1 was").count()
    panel.get_by_role("button", name="1 is better").click()
    panel.get_by_text("Number 1 was").wait_for()
    assert panel.get_by_role("button", name="2 is better").is_disabled()
    (votes,) = json.loads((voices.folder / "arena.json").read_text())
    assert (votes["one"], votes["other"]) == ("anna (one)", "ben (two)")
    assert votes["one_better"] + votes["other_better"] == 1
    assert fits(page)
    again = tab(open_page(PHONE), "Arena")
    again.get_by_text("Votes: anna (one)").wait_for()
    shoot(page, "arena-390")
