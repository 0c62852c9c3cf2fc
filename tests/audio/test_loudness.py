from __future__ import annotations

import numpy as np
import pytest

from fastvoicegrad import InputError
from fastvoicegrad.audio.loudness import (
    CEILING,
    HOP,
    PEAK_MARGIN,
    HopTap,
    below_full_scale,
    ending_gains,
    match_loudness,
)
from tests.conftest import vowels


def matched(converted: np.ndarray, source: np.ndarray, pieces: int = 1) -> np.ndarray:
    tap = HopTap(np.array_split(source, pieces))
    assert sum(len(block) for block in tap) == len(source)
    hops = converted.reshape(-1, HOP)
    blocks = (block.reshape(-1) for block in np.array_split(hops, pieces))
    return np.concatenate(list(match_loudness(blocks, tap)))


def noise(seconds: float, seed: int) -> np.ndarray:
    samples = int(seconds * 22050) // HOP * HOP
    return np.random.default_rng(seed).normal(0, 0.05, samples).astype(np.float32)


def decibels(wave: np.ndarray) -> float:
    return float(10 * np.log10(np.square(wave, dtype=np.float64).mean() + 1e-12))


@pytest.mark.parametrize("step", [0, -10, -20, -40])
def test_the_loudness_follows_the_source(step: int) -> None:
    half = len(noise(3.0, 0))
    source = np.concatenate([noise(3.0, 0), noise(3.0, 1) * 10 ** (step / 20)])
    out = matched(3.0 * np.concatenate([noise(3.0, 2), noise(3.0, 3)]), source)
    margin = 22050 // 2
    for part in (slice(margin, half - margin), slice(half + margin, -margin)):
        assert decibels(out[part]) == pytest.approx(decibels(source[part]), abs=0.5)


@pytest.mark.parametrize("step", [-20, -40, -80])
def test_a_conversion_ends_with_the_sample_that_ends_its_source(step: int) -> None:
    half = len(noise(3.0, 0))
    source = np.concatenate([noise(3.0, 0), noise(3.0, 1) * 10 ** (step / 20)])
    late = 0.5 * source[half - 441 : half]
    converted = np.concatenate([source[:half], late, source[half + 441 :]])
    out = matched(converted, source)
    assert np.abs(out[half:]).max() <= PEAK_MARGIN * np.abs(source[half:]).max() + 2e-4
    assert decibels(out[half - 200 : half]) == pytest.approx(decibels(source[half - 200 : half]), abs=4.0)


def test_the_peaks_of_an_ending_are_the_sources_and_a_beginning_stays() -> None:
    loud, silent = np.full((4, HOP), 0.5, np.float32), np.zeros((4, HOP), np.float32)
    ending, longer = np.concatenate([loud, silent]), np.concatenate([loud, loud[:1], silent[1:]])
    gains = ending_gains(longer, ending)
    assert gains.shape == (5, HOP)
    assert (gains[:4] == 1).all()
    assert (gains[4] * longer[4] < 2e-4).all()
    assert (ending_gains(ending[::-1], longer[::-1]) == 1).all()


@pytest.mark.parametrize(("louder", "expected"), [(0.0, 0.0), (11.0, 0.0), (14.0, -2.0)])
def test_peaks_of_a_low_voice_may_exceed_the_sources_by_12_decibels(louder: float, expected: float) -> None:
    pulses = np.zeros((40, HOP), np.float32)
    pulses.reshape(-1)[::490] = 0.05  # 45 Hz: between two pulses there is nothing
    gains = ending_gains(pulses * np.float32(10 ** (louder / 20)), pulses)
    np.testing.assert_allclose(gains, 10 ** (expected / 20), rtol=3e-3)


def test_blocks_change_nothing() -> None:
    source, converted = vowels(6.0)[: 500 * HOP], vowels(6.0, pitch=90.0, seed=4)[: 500 * HOP] * 2.5
    whole = matched(converted, source)
    assert len(whole) == len(converted)
    for pieces in (3, 40, 499):
        np.testing.assert_allclose(matched(converted, source, pieces), whole, atol=1e-6)


def test_no_sample_clips_and_quiet_passages_keep_their_level() -> None:
    source = noise(4.0, 0)
    source[: len(source) // 2] *= 14  # loud, short of clipping for its source
    source = np.clip(source, -0.98, 0.98)
    spiky = noise(4.0, 1)
    spiky[::997] *= 4
    out = matched(spiky, source)
    assert np.abs(out).max() <= CEILING + 1e-6
    quiet = slice(len(source) * 3 // 4, -22050 // 2)
    assert decibels(out[quiet]) == pytest.approx(decibels(source[quiet]), abs=1.0)


def test_what_resampling_adds_to_a_peak_stays_below_full_scale() -> None:
    wave = np.concatenate([noise(0.1, 2), np.linspace(-1.4, 1.4, 1001, dtype=np.float32)])
    bent = np.concatenate(list(below_full_scale(np.array_split(wave, 7))))
    assert np.abs(bent).max() <= 1
    low = np.abs(wave) <= CEILING
    np.testing.assert_array_equal(bent[low], wave[low])
    assert (np.diff(bent[-1001:]) >= 0).all()


def test_an_equal_signal_stays_as_it_is() -> None:
    wave = noise(2.0, 5)
    np.testing.assert_allclose(matched(wave, wave), wave, atol=1e-6)


def test_silence_stays_silent() -> None:
    out = matched(noise(2.0, 0), np.zeros_like(noise(2.0, 0)))
    assert decibels(out[22050 // 2 :]) < decibels(noise(2.0, 0)) - 20


def test_values_that_are_not_numbers_are_refused() -> None:
    wave = noise(1.0, 0)
    wave[100] = np.nan
    with pytest.raises(InputError, match="not numbers"):
        matched(wave, noise(1.0, 1))
