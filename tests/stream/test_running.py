"""Running forms of the level and of the median pitch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fastvoicegrad.audio.level import TARGET_LEVEL, speech_level
from fastvoicegrad.mel import log_mel
from fastvoicegrad.stream.frontend import WINDOWS, beyond, stream_mel
from fastvoicegrad.stream.running import HOPS, PAUSE, RunningGain, RunningMedian, ramps
from tests.conftest import vowels


@pytest.mark.parametrize("level", [0.01, 0.056, 0.3])
def test_the_gain_finds_the_level(level: float) -> None:
    wave = vowels(6.0)
    wave *= np.float32(level / speech_level(wave))
    scaled, _ = RunningGain().scale(wave)
    assert speech_level(scaled[len(wave) // 2 :]) == pytest.approx(TARGET_LEVEL, rel=0.15)


def test_silence_changes_no_gain() -> None:
    gain = RunningGain(3.0)
    gain.scale(np.zeros(22050, np.float32))
    assert gain.gain == 3.0


def test_a_muted_microphone_changes_no_gain() -> None:
    gain = RunningGain()
    gain.scale(vowels(3.0))
    before = gain.gain
    gain.scale(np.zeros(120 * 22050, np.float32))
    assert gain.gain == pytest.approx(before, rel=0.05)


@pytest.mark.parametrize("background", [1e-3, 4e-3])
@pytest.mark.parametrize("level", [0.03, 0.2])
def test_a_quiet_lead_in_does_not_silence_the_first_words(background: float, level: float) -> None:
    """Room noise raises the gain. The output is divided by it, so it must be right when speech begins."""
    speech, random = vowels(2.0), np.random.default_rng(0)
    speech *= np.float32(level / speech_level(speech))
    room = (background * random.standard_normal(3 * 22050)).astype(np.float32)
    scaled, _ = RunningGain().scale(np.concatenate([room, speech]))
    first = slice(len(room) + round(0.2 * 22050), len(room) + round(1.2 * 22050))
    assert 0.6 * TARGET_LEVEL < speech_level(scaled[first]) < 5 * TARGET_LEVEL


def test_a_fixed_gain_stays() -> None:
    gain, wave = RunningGain(2.0, fixed=True), vowels(1.0)
    np.testing.assert_allclose(gain.scale(wave)[0], 2 * wave, rtol=1e-6)


def test_gains_belong_to_hops() -> None:
    gain, wave = RunningGain(), vowels(1.0)[: 40 * 256]
    scaled, gains = gain.scale(wave)
    assert len(gains) == 40
    np.testing.assert_allclose(scaled / ramps(gains).ravel(), wave, atol=1e-6)
    assert all(after[0] == before[1] for before, after in itertools.pairwise(gains))


@pytest.mark.parametrize("size", [1, 100, 441, 997, 5000])
def test_every_split_has_the_same_gains_to_the_last_bit(size: int) -> None:
    """Else the pitch differs in its last bits, and in some hop it crosses an edge of `rendering.PITCH_GRID`."""
    wave = np.random.default_rng(0).normal(0, 0.1, 20_000).astype(np.float32)
    whole, parts = RunningGain(), RunningGain()
    scaled = np.concatenate([parts.scale(wave[start : start + size])[0] for start in range(0, len(wave), size)])
    np.testing.assert_array_equal(scaled, whole.scale(wave)[0])


def test_the_median_becomes_the_speakers() -> None:
    median, random = RunningMedian(), np.random.default_rng(0)
    pitches = 220 * 2 ** random.normal(0, 0.1, 200)
    heights = [median.add(float(pitch)) for pitch in pitches]
    assert heights[-1] == pytest.approx(220, rel=0.05)
    assert max(abs(np.diff(np.log(heights)))) < 0.12


def test_within_a_phrase_the_median_stays() -> None:
    median = RunningMedian()
    for _ in range(round(2 * HOPS)):
        median.add(200.0)
    for _ in range(round(5 * HOPS)):
        assert median.add(100.0) == pytest.approx(200.0, rel=1e-3)
    for _ in range(PAUSE):
        median.add(0.0)
    assert median.add(100.0) == pytest.approx(100.0)


def test_a_known_median_stays() -> None:
    median = RunningMedian(120.0, fixed=True)
    assert {median.add(300.0) for _ in range(100)} == {120.0}


def test_the_full_window_gives_the_frames_of_the_pipeline() -> None:
    wave = vowels(1.0)
    frames = stream_mel(np.pad(wave, (beyond(1024), 0)), 1024)
    np.testing.assert_allclose(frames[2:], log_mel(wave).T[2 : len(frames)], atol=1e-5)  # the first ones are mirrored


@pytest.mark.parametrize("width", WINDOWS)
def test_a_narrower_window_gives_frames_as_loud(width: int) -> None:
    wave, context = vowels(1.0), beyond(width)
    frames = stream_mel(np.pad(wave, context), width)
    full = log_mel(wave).T
    assert frames.shape == full.shape
    assert abs(float((frames.max(1) - full.max(1)).mean())) < 0.25
