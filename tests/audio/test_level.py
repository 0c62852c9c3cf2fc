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


def buzz(*parts: tuple[float, int]) -> np.ndarray:
    """Blocks of 512 samples: so many of each RMS."""
    return np.concatenate([np.tile(np.array([rms, -rms], np.float32), 256 * count) for rms, count in parts])


@pytest.mark.parametrize(
    ("parts", "level"),
    [
        ([(0.11, 50)], 0.11),
        ([(0.11, 50), (0.11 * 10**-1.25, 50)], 0.11 * np.sqrt((1 + 10**-2.5) / 2)),  # 25 dB lower: active
        ([(0.11, 50), (0.11 * 10**-1.75, 50)], 0.11),  # 35 dB lower: a pause
        ([(0.11, 10), (0.0011, 90)], 0.11),  # a tenth is loud
        ([(0.11, 98), (0.9, 2)], np.sqrt(0.98 * 0.11**2 + 0.02 * 0.1)),  # clicks count as 10 dB louder
        ([(2e-4, 50)], 2e-4),
        ([(5e-5, 50)], 0.0),
    ],
)
def test_the_level_is_that_of_active_blocks(parts: list[tuple[float, int]], level: float) -> None:
    assert speech_level(buzz(*parts)) == pytest.approx(level, rel=0.01)


def test_silence_has_no_level() -> None:
    assert speech_level(np.zeros(5000, np.float32)) == 0.0
    assert speech_level(np.zeros(10, np.float32)) == 0.0
    assert speech_level(np.full(22050, 1e-6, np.float32)) == 0.0
