"""Formants move by the interval that was asked for; harmonics stay where they are."""

from __future__ import annotations

import numpy as np
import pytest

from fastvoicegrad import InputError, Voice, VoiceConverter
from fastvoicegrad.formants import COSINES, envelope_shares, move_formants
from fastvoicegrad.mel import MEL, Array, hz_to_mel, lowpass, mel_to_hz
from fastvoicegrad.pipeline import Request, convert_blocks
from fastvoicegrad.settings import ConversionSettings
from tests.conftest import RATE, vowels
from tests.test_pipeline import noted_windows
from tests.test_reference import source_of

SPACING = float(hz_to_mel(MEL.fmax)) / (MEL.n_mels + 1)
CENTRES = mel_to_hz(np.arange(1, MEL.n_mels + 1) * SPACING)


def envelope(formants: tuple[float, ...]) -> Array:
    """A smooth frame (80, 1) with peaks at these frequencies in Hz."""
    peaks = [np.exp(-(((hz_to_mel(CENTRES) - hz_to_mel(f)) / 2.5) ** 2)) for f in formants]
    return np.sum(peaks, axis=0)[:, None].astype(np.float32) * 3 - 4


def harmonics(pitch: float) -> Array:
    """The ripple (80, 1) that harmonics leave in the low bands."""
    return (np.cos(2 * np.pi * CENTRES / pitch) * (CENTRES < 900))[:, None].astype(np.float32)


@pytest.mark.parametrize("semitones", [-4.0, -1.5, 2.0, 5.0])
def test_peaks_move_by_the_interval(semitones: float) -> None:
    ratio = 2 ** (semitones / 12)
    moved = move_formants(envelope((600.0, 1700.0)), np.zeros(1, np.float32), semitones)
    expected = envelope((600.0 * ratio, 1700.0 * ratio))
    middle = slice(4, 60)
    assert np.corrcoef(moved[middle, 0], expected[middle, 0])[0, 1] > 0.97
    assert np.corrcoef(moved[middle, 0], envelope((600.0, 1700.0))[middle, 0])[0, 1] < 0.9


@pytest.mark.parametrize("pitch", [120.0, 180.0, 250.0])
def test_harmonics_stay(pitch: float) -> None:
    frame, f0 = envelope((700.0,)), np.array([pitch], np.float32)
    with_harmonics = move_formants(frame + harmonics(pitch), f0, 4.0)
    ripple = with_harmonics - move_formants(frame, f0, 4.0)
    assert np.corrcoef(ripple[3:20, 0], harmonics(pitch)[3:20, 0])[0, 1] > 0.97


def test_no_interval_changes_nothing() -> None:
    mel = np.random.default_rng(0).standard_normal((80, 9)).astype(np.float32)
    assert move_formants(mel, np.zeros(9, np.float32), 0.0) is mel


def test_a_higher_pitch_leaves_less_to_the_envelope() -> None:
    shares = envelope_shares(np.array([0.0, 100.0, 200.0, 400.0], np.float32))
    counts = shares.sum(0)
    assert shares.shape == (COSINES, 4)
    assert counts[0] == counts[1] > counts[2] > counts[3] > 5


@pytest.mark.parametrize("formant", [12.5, -13.0, float("nan"), float("inf")])
def test_other_intervals_are_refused(converter: VoiceConverter, formant: float) -> None:
    with pytest.raises(InputError, match="formant must lie between"):
        ConversionSettings(formant=formant).check_for(converter.bundle)


# -- in conversions -------------------------------------------------------------------------------------------

SOURCE = vowels(3.0, pitch=180.0)


def test_the_pitch_stays(converter: VoiceConverter, voice: Voice) -> None:
    from fastvoicegrad.mel import log_mel

    def pitch(wave: np.ndarray) -> np.ndarray:
        return converter.bundle.pitch(log_mel(wave)[:, :256])

    plain = converter.convert(SOURCE, RATE, voice)
    for formant in (-3.0, 3.0):
        moved = converter.convert(SOURCE, RATE, voice, formant=formant)
        assert np.abs(moved - plain).max() > 0.01
        one, other = pitch(plain), pitch(moved)
        voiced = (one > 0) & (other > 0)
        assert voiced.sum() > 0.9 * (one > 0).sum()
        assert abs(np.median(1200 * np.log2(other[voiced] / one[voiced]))) < 10  # cents


@pytest.mark.parametrize("formant", [-3.0, 3.0])
def test_the_envelope_of_the_result_moves(converter: VoiceConverter, voice: Voice, formant: float) -> None:
    from fastvoicegrad.mel import log_mel

    def mean_envelope(wave: np.ndarray) -> np.ndarray:
        mel = log_mel(wave)
        loud = mel.mean(0) > np.median(mel.mean(0))
        return lowpass(mel[:, loud].mean(1, keepdims=True), 20)[:, 0]

    plain = mean_envelope(converter.convert(SOURCE, RATE, voice))
    moved = mean_envelope(converter.convert(SOURCE, RATE, voice, formant=formant))
    bands = np.arange(MEL.n_mels)

    def likeness(semitones: float) -> float:
        origin = hz_to_mel(CENTRES / 2 ** (semitones / 12)) / SPACING - 1
        stretched = np.interp(origin, bands, plain)
        return float(np.corrcoef(stretched[6:62], moved[6:62])[0, 1])

    intervals = np.arange(-6.0, 6.1, 0.5)
    best = intervals[int(np.argmax([likeness(s) for s in intervals]))]
    assert best == pytest.approx(formant, abs=1.5)


def test_chunks_equal_the_whole(converter: VoiceConverter, voice: Voice, monkeypatch: pytest.MonkeyPatch) -> None:
    wave, made_windows = vowels(9.0, pitch=180.0), noted_windows(monkeypatch)
    source, _ = source_of(converter, wave, voice)

    def converted(pieces: int, chunk: int) -> np.ndarray:
        blocks = np.array_split(wave, pieces)
        request = Request(voice, source, ConversionSettings(formant=4.0))
        made = convert_blocks(converter.bundle, blocks, request, gain=1.0, chunk=chunk)
        return np.concatenate(list(made))

    one = converted(1, 10**6)
    assert len(made_windows) == 1
    np.testing.assert_allclose(converted(9, 128), one, atol=1e-3)  # bytes are rounded
    assert len(made_windows) > 3
