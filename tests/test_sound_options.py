"""Options of a conversion: the height of the pitch, the loudness, the channel, and how the result is stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from fastvoicegrad import InputError, Voice, VoiceConverter, audio
from fastvoicegrad.audio.programme import ProgrammeMeter
from fastvoicegrad.mel import log_mel
from fastvoicegrad.pipeline import Request, convert_blocks
from fastvoicegrad.settings import ConversionSettings
from tests.conftest import vowels
from tests.test_pipeline import noted_windows
from tests.test_reference import source_of

PITCH = 180.0
SOURCE = vowels(3.0, pitch=PITCH)


def height(converter: VoiceConverter, wave: np.ndarray) -> float:
    """Median F0 in Hz."""
    pitch = converter.bundle.pitch(log_mel(wave)[:, :256])
    return float(np.median(pitch[pitch > 0]))


def interval(one: float, other: float) -> float:
    """In semitones."""
    return float(12 * np.log2(one / other))


@pytest.mark.parametrize("semitones", [-5.0, 0.0, 4.0])
def test_semitones_move_the_targets_pitch(converter: VoiceConverter, voice: Voice, semitones: float) -> None:
    plain = height(converter, converter.convert(SOURCE, 22050, voice))
    moved = height(converter, converter.convert(SOURCE, 22050, voice, semitones=semitones))
    assert interval(moved, plain) == pytest.approx(semitones, abs=0.5)


def test_the_pitch_can_be_kept(converter: VoiceConverter, voice: Voice) -> None:
    own = height(converter, SOURCE)
    kept = height(converter, converter.convert(SOURCE, 22050, voice, keep_pitch=True))
    assert abs(interval(kept, own)) < 0.5
    octave = height(converter, converter.convert(SOURCE, 22050, voice, keep_pitch=True, semitones=3.0))
    assert interval(octave, own) == pytest.approx(3.0, abs=0.5)


def test_chunks_equal_the_whole_with_another_pitch(
    converter: VoiceConverter, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    wave, made_windows = vowels(9.0, pitch=PITCH), noted_windows(monkeypatch)
    source, _ = source_of(converter, wave, voice)

    def converted(pieces: int, chunk: int) -> np.ndarray:
        blocks = convert_blocks(
            converter.bundle,
            np.array_split(wave, pieces),
            Request(voice, source, ConversionSettings(semitones=-3.5, keep_pitch=True)),
            gain=1.0,
            chunk=chunk,
        )
        return np.concatenate(list(blocks))

    one = converted(1, 10**6)
    assert len(made_windows) == 1
    np.testing.assert_allclose(converted(9, 128), one, atol=1e-3)  # bytes are rounded
    assert len(made_windows) > 3


@pytest.mark.parametrize("semitones", [25.0, -24.5, float("nan"), float("inf")])
def test_other_intervals_are_refused(converter: VoiceConverter, voice: Voice, semitones: float) -> None:
    with pytest.raises(InputError, match="semitones must lie"):
        converter.convert(SOURCE, 22050, voice, semitones=semitones)


def test_a_file_at_a_loudness_from_one_channel(converter: VoiceConverter, voice: Voice, tmp_path: Path) -> None:
    other = np.random.default_rng(0).normal(0, 0.05, len(SOURCE))
    soundfile.write(tmp_path / "s.wav", np.stack([other, SOURCE], axis=1), 22050)
    converter.convert_file(
        tmp_path / "s.wav",
        tmp_path / "o.wav",
        voice,
        channel="right",
        loudness=-18.0,
        subtype="FLOAT",
        tags={"title": "Talk"},
    )
    result, _ = soundfile.read(tmp_path / "o.wav", dtype="float32")
    meter = ProgrammeMeter()
    meter.add(result)
    assert meter.lufs == pytest.approx(-18.0, abs=0.2)
    assert soundfile.info(tmp_path / "o.wav").subtype == "FLOAT"
    assert audio.read_tags(tmp_path / "o.wav") == {"title": "Talk"}
    alone = converter.convert(SOURCE, 22050, voice)
    assert np.corrcoef(result, alone)[0, 1] > 0.99


def test_progress_does_not_wait_for_the_loudness(converter: VoiceConverter, voice: Voice, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "s.wav", SOURCE, 22050)
    seen: list[float] = []
    converter.convert_file(tmp_path / "s.wav", tmp_path / "o.wav", voice, loudness=-20.0, progress=seen.append)
    assert seen[-1] == pytest.approx(3.0, abs=0.01)
