from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fastvoicegrad.audio.files.level import speech_level

from fastvoicegrad import InputError, Voice, VoiceConverter
from fastvoicegrad.converter import OWN_SPEECH, Timing, _begun, _exactly, _mel_frames, _windows
from fastvoicegrad.mel import log_mel, lowpass_projection
from tests.conftest import vowels


def whole(converter: VoiceConverter, voice: Voice, wave: np.ndarray, pieces: int, chunk: int) -> np.ndarray:
    blocks = np.array_split(wave, pieces)
    return np.concatenate(list(converter.convert_blocks(iter(blocks), voice, gain=1.0, chunk=chunk)))


def test_chunks_equal_the_whole(converter: VoiceConverter, voice: Voice) -> None:
    wave = vowels(12.0)
    one = whole(converter, voice, wave, 1, 10**6)
    for pieces, chunk in ((1, 128), (50, 256), (7, 4), (3, 600)):
        if chunk == 4:
            wave, one = wave[:30000], whole(converter, voice, wave[:30000], 1, 10**6)
        np.testing.assert_allclose(whole(converter, voice, wave, pieces, chunk), one, atol=1e-3)


def test_guidance_goes_away_from_the_sources_own_voice(
    converter: VoiceConverter, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converter.bundle, "config", replace(converter.bundle.config, guidance_cosines=10))
    mel = log_mel(vowels(2.0, pitch=180.0))[:, :160]
    heard = converter._source_speaker(mel, voice)
    assert heard is not None
    own = replace(heard, pitch=voice.pitch)  # the melody alone stays where it is

    def said(of: Voice, away: Voice | None) -> np.ndarray:
        return converter._convert_mel(mel, 0, of, away, 1, 0, Timing())[0]

    plain, left, share = said(voice, None), said(own, None), converter.bundle.config.guidance
    assert share > 0
    assert np.abs(plain - left).max() > 1e-2
    scale = converter.bundle.mel_std
    difference = lowpass_projection(10) @ ((plain - left) / scale) * scale
    assert np.abs(difference - (plain - left)).max() > 1e-3
    np.testing.assert_allclose(said(voice, own), plain + share * difference, atol=1e-3)
    np.testing.assert_allclose(said(own, own), left, atol=1e-3)


def test_the_melody_is_moved_to_the_voices_height(converter: VoiceConverter, voice: Voice) -> None:
    """Synthetic vowels of 180 Hz (gliding by 15 %) in the voice of vowels of 210 Hz."""
    wave = vowels(3.0, pitch=180.0)
    mel = log_mel(wave)
    glide = 180.0 * (1 + 0.15 * np.sin(2 * np.pi * 0.7 * (np.arange(mel.shape[1]) + 0.5) * 256 / 22050))

    def semitones(pitch: np.ndarray, truth: np.ndarray) -> float:
        voiced = pitch > 0
        assert voiced.mean() > 0.5
        return float(np.median(np.abs(12 * np.log2(pitch[voiced] / truth[voiced]))))

    assert semitones(converter._pitch(mel), glide) < 0.5
    own = converter._source_speaker(mel, voice)
    assert own is not None
    assert 170 < own.pitch < 195
    pitch = converter._convert_mel(mel[:, :256], 0, voice, own, 1, 0, Timing())[1]
    assert pitch is not None
    assert semitones(pitch, glide[:256] * voice.pitch / own.pitch) < 0.5


def test_whose_voice_a_source_is_does_not_depend_on_its_blocks(converter: VoiceConverter, voice: Voice) -> None:
    silence = np.zeros((80, 300), np.float32) + np.log(1e-5).astype(np.float32)
    mel = np.concatenate([silence, log_mel(vowels(9.0))], axis=1)
    heard = []
    for pieces in (1, 7, 60):
        head, frames = _begun(iter(np.array_split(mel, pieces, axis=1)))
        np.testing.assert_array_equal(np.concatenate(list(frames), axis=1), mel)
        own = converter._source_speaker(head, voice)
        assert own is not None
        heard.append(own)
    for other in heard[1:]:
        np.testing.assert_array_equal(other.mel, heard[0].mel)
        np.testing.assert_allclose(other.embedding, heard[0].embedding, atol=1e-6)
    assert heard[0].mel.shape[1] >= 300 + OWN_SPEECH
    assert converter._source_speaker(silence, voice) is None


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000, 96000])
def test_length_is_sacred(converter: VoiceConverter, voice: Voice, rate: int) -> None:
    for samples in (rate // 10, rate // 3 + 7):
        out = converter.convert(vowels(1.0, rate=rate)[:samples], rate, voice)
        assert out.shape == (samples,)
        assert out.dtype == np.float32
        assert np.isfinite(out).all()


def test_same_seed_same_samples(converter: VoiceConverter, voice: Voice, speech: np.ndarray) -> None:
    a, b, c = (converter.convert(speech, 22050, voice, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 1e-4


def test_temperature_is_how_far_seeds_differ(
    converter: VoiceConverter, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    mel, apart = log_mel(vowels(1.0))[:, :80], []
    for temperature in (0.0, 0.5, 1.0):
        config = replace(converter.bundle.config, temperature=temperature)
        monkeypatch.setattr(converter.bundle, "config", config)
        one, other = (converter._convert_mel(mel, 0, voice, None, 1, seed, Timing())[0] for seed in (0, 1))
        apart.append(float(np.abs(one - other).mean()))
    assert apart[0] == 0 < apart[1] < apart[2]


def test_result_is_as_loud_as_the_source(converter: VoiceConverter, voice: Voice, speech: np.ndarray) -> None:
    quiet = converter.convert(speech * 0.1, 22050, voice)
    loud = converter.convert(speech, 22050, voice)
    assert 0.5 < speech_level(loud) / speech_level(speech) < 2  # unconditional_speaker speaks like this: within 6 dB
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
        (np.zeros((22050, 2)), "mono"),
        (np.zeros(0), "shorter than one frame"),
    ],
)
def test_bad_sources_are_refused(converter: VoiceConverter, voice: Voice, wave: np.ndarray, text: str) -> None:
    with pytest.raises(InputError, match=text):
        converter.convert(wave, 22050, voice)


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
        with pytest.raises(InputError, match="no speech|silent"):
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
    assert float(a.embedding @ b.embedding) > 0.98


def test_mel_frames_do_not_depend_on_blocks(speech: np.ndarray) -> None:
    speech = speech[: 1024 * 40]
    for pieces in (1, 2, 17, 400):
        frames = np.concatenate(list(_mel_frames(iter(np.array_split(speech, pieces)), 1.0, 4)), axis=1)
        np.testing.assert_allclose(frames, log_mel(speech), atol=1e-5)


def test_windows_cover_every_frame_once_with_context() -> None:
    frames = np.arange(1000, dtype=np.float32)[None].repeat(80, 0)
    kept = []
    for window, start, first, last in _windows(iter(np.array_split(frames, 13, axis=1)), 96, 20, 12, 4):
        np.testing.assert_array_equal(window[0], np.arange(start, start + window.shape[1]))
        assert start == max(0, first - 20)
        assert start + window.shape[1] >= min(1000, last + 12)
        assert start % 4 == window.shape[1] % 4 == 0
        kept.append(window[0, first - start : last - start])
    np.testing.assert_array_equal(np.concatenate(kept), np.arange(1000))


def test_exactly() -> None:
    blocks = [np.ones(5, np.float32), np.ones(5, np.float32)]
    for samples in (3, 5, 9, 10, 14):
        out = np.concatenate(list(_exactly(iter(blocks), samples)))
        assert len(out) == samples
        assert out.sum() == min(samples, 10)


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
        assert set(result.stages) == {"content", "pitch", "converter", "vocoder"}


def test_file_and_array_agree(converter: VoiceConverter, voice: Voice, tmp_path: Path, speech: np.ndarray) -> None:
    soundfile.write(tmp_path / "s.wav", speech, 22050, "FLOAT")
    converter.convert_file(tmp_path / "s.wav", tmp_path / "o.flac", voice)
    written, _ = soundfile.read(tmp_path / "o.flac")
    np.testing.assert_allclose(written, converter.convert(speech, 22050, voice), atol=1e-4)
