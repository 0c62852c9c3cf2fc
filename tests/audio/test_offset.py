"""A constant offset has no effect; what speech consists of stays as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastvoicegrad import audio
from tests.audio.sounds import decoded, encoded, speech

RATE = 48000


def without(wave: np.ndarray, rate: int = RATE) -> np.ndarray:
    return np.concatenate(list(audio.without_offset([wave], rate)))


@pytest.mark.parametrize("offset", [0.01, 0.1, -0.3])
def test_a_constant_has_no_effect(offset: float) -> None:
    wave = speech(2.3)
    np.testing.assert_allclose(without(wave + np.float32(offset)), without(wave), atol=2e-7)


def test_a_constant_has_no_effect_in_a_file(tmp_path: Path) -> None:
    for kind in ("PCM_16", "PCM_24", "FLOAT"):
        _, plain = decoded(tmp_path, encoded(0.6 * speech(1.0), RATE, "WAV", kind))
        _, shifted = decoded(tmp_path, encoded(0.6 * speech(1.0) + 0.3, RATE, "WAV", kind))
        np.testing.assert_allclose(shifted, plain, atol=4e-5 if kind == "PCM_16" else 3e-7)


@pytest.mark.parametrize("seconds", [0.0003, 0.01, 0.05, 0.9, 1.0, 1.03, 2.5])
def test_every_length(seconds: float) -> None:
    wave = np.full(round(seconds * 22050), 0.25, np.float32)
    out = without(wave, 22050)
    assert out.shape == wave.shape
    assert np.abs(out).max() < 1e-6


def test_sizes_of_blocks_change_nothing() -> None:
    wave, random = speech(3.0) + np.float32(0.1), np.random.default_rng(0)
    cuts = np.sort(random.integers(0, len(wave), 50))
    out = np.concatenate(list(audio.without_offset(np.split(wave, cuts), RATE)))
    np.testing.assert_array_equal(out, without(wave))


def test_drift_is_removed() -> None:
    time = np.arange(4 * RATE) / RATE
    wave = speech(4.0)
    drift = 0.2 * np.sin(2 * np.pi * 0.2 * time).astype(np.float32)
    assert np.abs(without(wave + drift) - without(wave))[2400:-2400].max() < 1e-3


@pytest.mark.parametrize("frequency", [60, 97, 100, 140, 1000, 5000])
def test_speech_passes_without_shift(frequency: int) -> None:
    tone = np.sin(2 * np.pi * frequency * np.arange(RATE) / RATE).astype(np.float32)
    middle = slice(RATE // 4, -RATE // 4)
    assert np.abs(without(tone) - tone)[middle].max() < 0.012  # 0.1 dB


def test_no_samples() -> None:
    assert list(audio.without_offset([], RATE)) == []
    assert list(audio.without_offset([np.zeros(0, np.float32)], RATE)) == []
