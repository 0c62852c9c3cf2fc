"""Resampling as samples come: a sine stays a sine at every rate, and no rate costs much memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from fastvoicegrad.stream import resampling
from fastvoicegrad.stream.resampling import MOST_PLACES, Resampler, reach_of

RATES = [(48000, 22050), (22050, 48000), (44101, 22050), (22050, 44101), (95999, 22050), (8001, 22050)]


def sine(rate: int, hertz: float, seconds: float = 0.5) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate).astype(np.float32)


@pytest.mark.parametrize(("source", "target"), RATES)
@pytest.mark.parametrize("hertz", [100.0, 1000.0, 3000.0])
def test_a_sine_stays_a_sine(source: int, target: int, hertz: float) -> None:
    output = Resampler(source, target).push(sine(source, hertz))
    start = 2 * reach_of(source, target) * target // source
    error = output[start:] - sine(target, hertz)[start : len(output)]
    assert np.abs(error).max() < 1e-3


@pytest.mark.parametrize(("source", "target"), RATES)
def test_splits_give_the_same(source: int, target: int) -> None:
    wave = np.random.default_rng(0).standard_normal(5000).astype(np.float32)
    whole, split = Resampler(source, target), Resampler(source, target)
    parts = [split.push(part) for part in np.split(wave, [1, 2, 700, 701, 4000])]
    np.testing.assert_allclose(np.concatenate(parts), whole.push(wave), atol=1e-5)


def test_length_costs_no_memory_at_odd_rates() -> None:
    wave, peaks = np.zeros(20 * 44056, np.float32), []
    for length in (44056, 20 * 44056):
        resampler = Resampler(44056, 22050)
        tracemalloc.start()
        resampler.push(wave[:length])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 4 * wave.nbytes


@pytest.mark.parametrize("rate", [44101, 95999])
def test_odd_rates_have_few_filters(rate: int) -> None:
    Resampler(22050, rate).push(sine(22050, 100.0, 0.1))
    assert resampling._filters.cache_info().currsize > 0
    assert len(resampling._filters(22050, rate, MOST_PLACES)) == MOST_PLACES + 1


def test_filters_between_filters_are_close_to_the_exact_ones() -> None:
    """44,100 Hz to 22,051 has 22,051 places."""
    resampler, parts = Resampler(44100, 22051), np.arange(0, 22051, 997)
    exact = resampling._filters(44100, 22051, 22051)[parts]
    assert np.abs(resampler._filters_at(parts) - exact).max() < 1e-5 * np.abs(exact).max()
