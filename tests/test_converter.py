from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fastvoicegrad import InputError, Voice, VoiceConverter
from fastvoicegrad.audio import speech_level
from tests.conftest import vowels


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000, 96000])
def test_length_is_sacred(converter: VoiceConverter, voice: Voice, rate: int) -> None:
    for samples in (rate // 10, rate // 3 + 7):
        out = converter.convert(vowels(1.0, rate=rate)[:samples], rate, voice)
        assert out.shape == (samples,)
        assert out.dtype == np.float32
        assert np.isfinite(out).all()


def test_same_seed_same_samples(converter: VoiceConverter, voice: Voice, speech: np.ndarray) -> None:
    a, b, c = (
        converter.convert(speech, 22050, voice, seed=s, steps=k) for s, k in ((0, 1), (np.int64(0), np.int8(1)), (1, 1))
    )
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 1e-4


def test_result_is_as_loud_as_the_source(converter: VoiceConverter, voice: Voice, speech: np.ndarray) -> None:
    quiet = converter.convert(speech * 0.1, 22050, voice)
    loud = converter.convert(speech, 22050, voice)
    assert 0.5 < speech_level(loud) / speech_level(speech) < 2  # these vowels are no natural speech: within 6 dB
    # The level meter works in steps of half a decibel.
    np.testing.assert_allclose(quiet * 10, loud, atol=0.15 * np.abs(loud).max())


def test_the_voice_matters(converter: VoiceConverter, voice: Voice, speech: np.ndarray) -> None:
    other = converter.voice_of(vowels(3.0, pitch=90.0, seed=9), 22050)
    assert np.abs(converter.convert(speech, 22050, voice) - converter.convert(speech, 22050, other)).max() > 1e-3


@pytest.mark.parametrize(
    ("wave", "text"),
    [
        (np.zeros(22050), "silent"),
        (vowels(1.0)[:900], "shorter than one frame"),
        (np.full(22050, np.nan), "NaN"),
        (np.zeros((22050, 2)), "silent"),
        (np.zeros((2, 2, 2)), "shape"),
        (np.array(["a"]), "floats or integers"),
        (np.full(22050, 1e12), "no recording"),
        (np.append(vowels(1.0), np.float32(300)), "no recording"),
        (np.zeros(0), "shorter than one frame"),
    ],
)
def test_bad_sources_are_refused(converter: VoiceConverter, voice: Voice, wave: np.ndarray, text: str) -> None:
    with pytest.raises(InputError, match=text):
        converter.convert(wave, 22050, voice)


def test_a_conversion_goes_on_after_the_main_thread(speech_file: Path, reference_file: Path, tmp_path: Path) -> None:
    code = (
        "import sys, threading; from fastvoicegrad import VoiceConverter\n"
        "source, output, voice = sys.argv[1:]; converter = VoiceConverter.load(threads=2)\n"
        "threading.Thread(target=lambda: converter.convert_file(source, output, voice)).start()\n"
    )
    files = [speech_file, tmp_path / "x.wav", reference_file]
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, *map(str, files)], check=True)
    assert soundfile.info(tmp_path / "x.wav").frames == soundfile.info(speech_file).frames


def test_too_many_steps_are_refused(converter: VoiceConverter, voice: Voice, speech: np.ndarray) -> None:
    with pytest.raises(InputError, match="at most 1 step"):
        converter.convert(speech, 22050, voice, steps=6)


def test_a_voice_of_another_bundle_is_refused(converter: VoiceConverter, voice: Voice, speech: np.ndarray) -> None:
    stranger = replace(voice, encoder="another")
    with pytest.raises(InputError, match="another bundle"):
        converter.convert(speech, 22050, stranger)
    with pytest.raises(InputError, match="another bundle"):
        converter.voice([stranger])


def test_references_without_speech_are_refused(converter: VoiceConverter, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 44100)
    for name, wave in (("noise", noise), ("silence", noise * 0), ("short", vowels(0.15))):
        soundfile.write(tmp_path / f"{name}.wav", wave, 22050)
        with pytest.raises(InputError, match="no speech|silent|holds only"):
            converter.voice([tmp_path / f"{name}.wav"])


def test_voices_pool_and_pass_through_files(
    converter: VoiceConverter, voice: Voice, tmp_path: Path, reference_file: Path
) -> None:
    voice.save(tmp_path / "v.voice")
    np.testing.assert_allclose(converter.voice([tmp_path / "v.voice"]).embedding, voice.embedding, atol=1e-6)
    both = converter.voice([voice, reference_file])
    np.testing.assert_allclose(both.embedding, voice.embedding, atol=1e-5)
    assert both.seconds == pytest.approx(2 * voice.seconds)


def test_silence_around_a_reference_changes_little(
    converter: VoiceConverter, tmp_path: Path, reference_file: Path
) -> None:
    wave, rate = soundfile.read(reference_file)
    soundfile.write(tmp_path / "padded.wav", np.concatenate([np.zeros(rate), wave, np.zeros(rate)]), rate)
    a, b = converter.voice([reference_file]), converter.voice([tmp_path / "padded.wav"])
    assert float(a.embedding @ b.embedding) > 0.95


def test_files_in_any_format(converter: VoiceConverter, voice: Voice, tmp_path: Path) -> None:
    wave = vowels(1.3, rate=44100)
    for suffix, rate, out_rate in ((".flac", 44100, None), (".ogg", 44100, 48000), (".wav", 16000, 8000)):
        source, out = tmp_path / f"s{suffix}", tmp_path / f"o{suffix}"
        soundfile.write(source, wave, rate)
        seen: list[float] = []
        result = converter.convert_file(source, out, voice, rate=out_rate, progress=seen.append)
        info = soundfile.info(out)
        expected = round(soundfile.info(source).frames * (out_rate or rate) / rate)
        assert (info.frames, info.samplerate, info.channels) == (expected, out_rate or rate, 1)
        assert seen[-1] == pytest.approx(result.seconds, abs=0.01)
        assert set(result.stages) == {"read", "voice", "encoders", "converter", "vocoder"}


def test_file_and_array_agree(converter: VoiceConverter, voice: Voice, tmp_path: Path, speech: np.ndarray) -> None:
    soundfile.write(tmp_path / "s.wav", speech, 22050, "FLOAT")
    converter.convert_file(tmp_path / "s.wav", tmp_path / "o.flac", voice)
    written, _ = soundfile.read(tmp_path / "o.flac")
    np.testing.assert_allclose(written, converter.convert(speech, 22050, voice), atol=1e-4)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
def test_an_output_that_is_the_source_is_named_in_one_line(
    converter: VoiceConverter, voice: Voice, tmp_path: Path
) -> None:
    source = tmp_path / "a\nb.wav"
    soundfile.write(source, vowels(0.5), 22050)
    with pytest.raises(InputError, match=r"a\\nb\.wav is the source itself") as error:
        converter.convert_file(source, source, voice)
    assert str(error.value).isprintable()
