from __future__ import annotations

import numpy as np
import pytest

from fastvoicegrad.audio import LevelMeter, speech_level


def test_blocks_change_nothing(speech: np.ndarray) -> None:
    meter = LevelMeter()
    for part in np.array_split(speech, 37):
        meter.add(part)
    assert meter.level == pytest.approx(speech_level(speech), rel=1e-9)


def test_level_scales_with_gain(speech: np.ndarray) -> None:
    assert speech_level(speech * 0.1) == pytest.approx(0.1 * speech_level(speech), rel=0.05)


def test_pauses_do_not_count(speech: np.ndarray) -> None:
    padded = np.concatenate([np.zeros(len(speech), np.float32), speech, np.zeros(len(speech), np.float32)])
    assert speech_level(padded) == pytest.approx(speech_level(speech), rel=0.1)


def test_silence_has_no_level() -> None:
    assert speech_level(np.zeros(5000, np.float32)) == 0.0
    assert speech_level(np.zeros(10, np.float32)) == 0.0
    assert speech_level(np.full(22050, 1e-6, np.float32)) == 0.0
