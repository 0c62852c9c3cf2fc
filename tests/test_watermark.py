"""The watermark: found where it was added, through codecs too, and nowhere else."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fastvoicegrad import InputError, Voice, VoiceConverter, watermark
from fastvoicegrad.audio import resampled
from fastvoicegrad.mel import Array
from fastvoicegrad.watermark import CHUNK, CONTEXT, FOUND, HOP, RATE, check_watermark, marked, watermark_score
from tests.conftest import vowels

needs_weights = pytest.mark.skipif(not importlib.util.find_spec("perth"), reason="needs the extra 'watermark'")
SPEECH = np.tile(vowels(3.0, rate=RATE), 4)


@pytest.fixture(scope="module")
def result() -> Array:
    return np.concatenate(list(marked([SPEECH])))


@needs_weights
def test_the_mark_is_found(result: Array) -> None:
    assert len(result) == len(SPEECH)
    assert watermark_score(result, RATE) > 0.9
    assert watermark_score(SPEECH, RATE) < 0.5
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * RATE)
    assert watermark_score(noise, RATE) < 0.3
    assert watermark_score(np.zeros(RATE), RATE) == 0.0
    assert 0 <= watermark_score(SPEECH[: RATE // 200], RATE) <= 1  # one frame


@needs_weights
@pytest.mark.parametrize("rate", [16000, 22050, 44100])
def test_it_survives_other_rates_and_mp3(result: Array, rate: int) -> None:
    wave = np.concatenate(list(resampled(iter([result[: 5 * RATE]]), RATE, rate)))
    assert watermark_score(0.3 * wave, rate) > 0.9
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, "MPEG_LAYER_III", format="MP3")
    buffer.seek(0)
    assert watermark_score(soundfile.read(buffer)[0], rate) > 0.8


@needs_weights
def test_it_is_quiet_and_leaves_high_sounds_alone(result: Array) -> None:
    change = result - SPEECH
    assert 10 * np.log10((SPEECH**2).mean() / (change**2).mean()) > 10  # dB
    spectrum = np.abs(np.fft.rfft(change))
    above = np.fft.rfftfreq(len(change), 1 / RATE) > 2100
    assert (spectrum[above] ** 2).sum() < 0.01 * (spectrum**2).sum()


@needs_weights
@pytest.mark.parametrize("pieces", [7, 200])
def test_blocks_change_nothing(result: Array, pieces: int) -> None:
    assert len(SPEECH) > CHUNK * HOP
    blocks = np.array_split(SPEECH, pieces)
    np.testing.assert_array_equal(np.concatenate(list(marked(blocks))), result)


@needs_weights
def test_the_seams_between_chunks_are_exact(monkeypatch: pytest.MonkeyPatch, result: Array) -> None:
    monkeypatch.setattr(watermark, "CHUNK", 2 * CONTEXT)
    np.testing.assert_allclose(np.concatenate(list(marked([SPEECH]))), result, atol=1e-5)


@needs_weights
@pytest.mark.parametrize("samples", [0, 1, HOP - 1, HOP, 3 * HOP + 1])
def test_short_signals_keep_their_length(samples: int) -> None:
    assert sum(map(len, marked([SPEECH[:samples]]))) == samples


@needs_weights
def test_silence_stays_silent() -> None:
    wave = np.concatenate([np.zeros(RATE, np.float32), SPEECH[:RATE], np.zeros(RATE, np.float32)])
    result = np.concatenate(list(marked([wave])))
    assert not result[: RATE - 2048].any()
    assert not result[2 * RATE + 2048 :].any()


@needs_weights
def test_conversions_carry_it(converter: VoiceConverter, voice: Voice, tmp_path: Path) -> None:
    source = vowels(3.0)
    plain, result = (converter.convert(source, 22050, voice, watermark=mark) for mark in (False, True))
    assert watermark_score(plain, 22050) < FOUND < watermark_score(result, 22050)
    soundfile.write(tmp_path / "s.wav", source, 22050, "FLOAT")
    converter.convert_file(tmp_path / "s.wav", tmp_path / "o.wav", voice, watermark=True)
    wave, _ = soundfile.read(tmp_path / "o.wav", dtype="float32")
    np.testing.assert_allclose(wave, result, atol=1e-3)


def test_missing_weights_are_a_line_that_helps(
    monkeypatch: pytest.MonkeyPatch, converter: VoiceConverter, voice: Voice
) -> None:
    monkeypatch.setattr(watermark, "find_spec", lambda name: None)
    watermark._network.cache_clear()
    with pytest.raises(InputError, match=r'pip install "fastvoicegrad\[watermark\]"'):
        converter.convert(vowels(1.0), 22050, voice, watermark=True)


@needs_weights
def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watermark, "SHA256", "0" * 64)
    watermark._network.cache_clear()
    with pytest.raises(InputError, match="other weights"):
        check_watermark()
