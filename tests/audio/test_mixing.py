"""Channels: those with sound are used. Range: what exceeds full scale is scaled, what cannot be sound is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from fastvoicegrad import InputError
from tests.audio.sounds import decoded, encoded, speech

X = speech(1.0)
Y = speech(1.0)[::-1].copy()
NONE = np.zeros_like(X)


def mixed(folder: Path, *channels: np.ndarray, subtype: str = "FLOAT") -> tuple[list[str], np.ndarray]:
    info, wave = decoded(folder, encoded(np.stack(channels, 1), 48000, "WAV", subtype), "x.wav")
    return info.warnings, wave


@pytest.mark.parametrize("subtype", ["FLOAT", "PCM_24"])
@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        ([X], X),
        ([X, NONE], X),
        ([NONE, X], X),
        ([NONE, NONE, X, NONE, NONE, NONE], X),
        ([X, X], X),
        ([X, 0.01 * Y], X),
        ([X, Y], (X + Y) / 2),
        ([X, NONE, Y, NONE], (X + Y) / 2),
        ([X, NONE + 0.2], X),
        ([NONE, NONE], NONE),
    ],
)
def test_channels_with_sound_are_used(
    tmp_path: Path, channels: list[np.ndarray], expected: np.ndarray, subtype: str
) -> None:
    warnings, wave = mixed(tmp_path, *channels, subtype=subtype)
    _, alone = mixed(tmp_path, expected)
    np.testing.assert_allclose(wave, alone, atol=1e-6)
    assert warnings == []


@pytest.mark.parametrize(
    ("channels", "expected", "called"),
    [
        ([X, -X], X, "left one"),
        ([-0.9 * X, X], X, "right one"),
        ([X, NONE, -X, NONE], X, "one numbered 1"),
        ([X, -0.99 * X + 0.02 * Y], X, "left one"),
    ],
)
def test_cancelling_channels_are_named(
    tmp_path: Path, channels: list[np.ndarray], expected: np.ndarray, called: str
) -> None:
    warnings, wave = mixed(tmp_path, *channels)
    assert warnings == [f"{tmp_path / 'x.wav'}: its channels cancel each other; the {called} is used"]
    np.testing.assert_allclose(wave, mixed(tmp_path, expected)[1], atol=1e-6)


@pytest.mark.parametrize("peak", [1.5, 3.2, 7.9, 300.0, 2.0**15, 2.0**23, 2.0**31])
def test_too_loud_floats_are_scaled(tmp_path: Path, peak: float) -> None:
    unit = X / np.abs(X).max()
    warnings, wave = mixed(tmp_path, peak * unit)
    assert warnings == [f"{tmp_path / 'x.wav'}: its samples reach {peak:.3g} times full scale; they are scaled"]
    np.testing.assert_allclose(wave, mixed(tmp_path, unit)[1], atol=1e-6)


def test_full_scale_is_fine(tmp_path: Path) -> None:
    unit = X / np.abs(X).max()
    for subtype in ("FLOAT", "PCM_16"):
        assert mixed(tmp_path, unit, subtype=subtype)[0] == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.nan, "not numbers (NaN or infinite) at 0.50 s"),
        (-np.inf, "not numbers (NaN or infinite) at 0.50 s"),
        (1e20, "a sample of 1e+20 times full scale at 0.50 s"),
        (-5e6, "a sample of 5e+06 times full scale at 0.50 s"),
        (20000.0, "a sample of 2e+04 times full scale at 0.50 s"),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_that_are_no_sound_are_refused(tmp_path: Path, value: float, text: str, channels: int) -> None:
    wave = np.tile(X[:, None], channels)
    wave[24000, -1] = value
    with pytest.raises(InputError, match=re.escape(text)):
        mixed(tmp_path, *wave.T)
