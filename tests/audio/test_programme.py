"""Integrated loudness: the values that the standards give for tones, and signals brought to a loudness."""

from __future__ import annotations

import errno
import io
import math

import numpy as np
import pytest

from fastvoicegrad import InputError
from fastvoicegrad.audio import at_loudness, check_loudness
from fastvoicegrad.audio.loudness import CEILING
from fastvoicegrad.audio.programme import ProgrammeMeter
from tests.conftest import RATE, vowels


def lufs(wave: np.ndarray, pieces: int = 3) -> float:
    meter = ProgrammeMeter()
    for block in np.array_split(wave.astype(np.float32), pieces):
        meter.add(block)
    return meter.lufs


def tone(*decibels_and_seconds: tuple[float, float]) -> np.ndarray:
    """A sine of 997 Hz at peak levels in dB of full scale, one after the other."""
    level = np.concatenate([np.full(int(seconds * RATE), db) for db, seconds in decibels_and_seconds])
    return 10.0 ** (level / 20) * np.sin(2 * np.pi * 997 * np.arange(len(level)) / RATE)


def test_a_tone_of_full_scale_has_minus_3_lufs() -> None:
    """ITU-R BS.1770-4, annex 1: -3.01 in one channel."""
    assert lufs(tone((0, 5))) == pytest.approx(-3.01, abs=0.1)
    assert lufs(tone((-20, 5))) == pytest.approx(-23.01, abs=0.1)


def test_quiet_parts_do_not_count() -> None:
    """The cases 3 and 4 of EBU Tech 3341, in one channel."""
    assert lufs(tone((-33, 10), (-20, 60), (-33, 10))) == pytest.approx(-23.01, abs=0.1)
    assert lufs(tone((-69, 10), (-33, 10), (-20, 60), (-33, 10), (-69, 10))) == pytest.approx(-23.01, abs=0.1)


def test_blocks_change_nothing() -> None:
    wave = vowels(4.0)
    for pieces in (1, 2, 100, 3000):
        assert lufs(wave, pieces) == pytest.approx(lufs(wave), abs=1e-3)


def test_short_and_silent_signals() -> None:
    assert lufs(tone((0, 0.2))) == pytest.approx(-3.01, abs=0.3)
    assert lufs(np.zeros(RATE)) == lufs(np.zeros(10)) == -math.inf
    assert ProgrammeMeter().lufs == -math.inf


@pytest.mark.parametrize("wanted", [-40.0, -23.0, -16.0])
def test_a_signal_gets_its_loudness(wanted: float) -> None:
    wave = vowels(6.0)
    result = np.concatenate(list(at_loudness(np.array_split(wave, 7), wanted)))
    assert len(result) == len(wave)
    assert lufs(result) == pytest.approx(wanted, abs=0.1)
    assert np.abs(result).max() <= 1.001 * CEILING
    if wanted < -20:  # no peak had to be held down
        np.testing.assert_allclose(result, wave * (result @ wave) / (wave @ wave), atol=1e-5)


def test_peaks_never_clip() -> None:
    wave = 0.01 * vowels(4.0)
    wave[5000:5010] = 0.9
    result = np.concatenate(list(at_loudness([wave], -14.0)))
    assert np.abs(result).max() <= 1.001 * CEILING
    assert lufs(result) == pytest.approx(-14.0, abs=0.2)


def test_silence_stays_silence() -> None:
    assert not np.concatenate(list(at_loudness([np.zeros(5000, np.float32)], -23.0))).any()
    assert list(at_loudness([], -23.0)) == []


def test_a_place_for_the_signal_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise FileNotFoundError("No usable temporary directory found")

    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    for broken in (refuse, Full):
        monkeypatch.setattr("tempfile.TemporaryFile", broken)
        with pytest.raises(InputError, match="no temporary file of that size can be written; free some room, or set"):
            list(at_loudness([tone((-20.0, 1.0))], -23.0))


@pytest.mark.parametrize("wanted", [-61.0, -5.0, math.nan])
def test_other_loudnesses_are_refused(wanted: float) -> None:
    with pytest.raises(InputError, match="between -60 and -6 LUFS"):
        check_loudness(wanted)
