from __future__ import annotations

import json
import re
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from fastvoicegrad import InputError, Voice, VoiceConverter, audio
from fastvoicegrad.audio.level import TARGET_LEVEL, speech_level
from fastvoicegrad.reference import SOURCE_FRAMES, analyse_source, encode_voice
from fastvoicegrad.speech import SpeechSampler, analyse
from fastvoicegrad.voice import MOST_FRAMES
from tests.conftest import RATE, vowels
from tests.sounds import NO_SPEECH, noise


def blocks_of(wave: np.ndarray) -> Iterator[np.ndarray]:
    yield from np.array_split(wave, max(1, len(wave) // 20000))


def encoded(converter: VoiceConverter, wave: np.ndarray, found: list[str] | None = None) -> Voice:
    warn = None if found is None else found.append
    return encode_voice(converter.bundle, partial(blocks_of, wave), "a.wav", "a.wav", warn)


def warnings_of(converter: VoiceConverter, wave: np.ndarray) -> list[str]:
    found: list[str] = []
    encoded(converter, wave, found)
    return found


def source_of(
    converter: VoiceConverter, wave: np.ndarray, voice: Voice, pieces: int = 1, gain: float | None = None
) -> tuple[Voice | None, list[str]]:
    sampler = SpeechSampler()
    for block in np.array_split(wave, pieces):
        sampler.add(block)
    frames = analyse(converter.bundle, sampler.segments(), gain or TARGET_LEVEL / speech_level(wave))
    return analyse_source(converter.bundle, frames, voice)


# -- the source -------------------------------------------------------------------------------------------------


@pytest.fixture
def guided(converter: VoiceConverter, monkeypatch: pytest.MonkeyPatch) -> VoiceConverter:
    """A converter with guidance, which reads the source's own voice."""
    monkeypatch.setattr(converter.bundle, "config", replace(converter.bundle.config, guidance=0.6))
    return converter


def test_the_source_speaker_does_not_depend_on_blocks(guided: VoiceConverter, voice: Voice) -> None:
    wave = np.concatenate([np.zeros(3 * RATE, np.float32), vowels(9.0)])
    found = [source_of(guided, wave, voice, pieces)[0] for pieces in (1, 7, 60)]
    assert found[0] is not None
    for other in found[1:]:
        assert other is not None
        np.testing.assert_array_equal(other.mel, found[0].mel)
        np.testing.assert_array_equal(other.embedding, found[0].embedding)
        assert other.pitch == found[0].pitch


def test_without_guidance_the_source_gives_its_pitch_alone(
    converter: VoiceConverter, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converter.bundle, "config", replace(converter.bundle.config, guidance=0.0))
    source, _ = source_of(converter, vowels(5.0, pitch=180.0), voice)
    assert source is not None
    assert 170 < source.pitch < 195
    np.testing.assert_array_equal(source.embedding, voice.embedding)


def test_the_source_speaker_has_what_a_voice_has(guided: VoiceConverter, voice: Voice) -> None:
    source, _ = source_of(guided, vowels(20.0, pitch=180.0), voice)
    assert source is not None
    assert 170 < source.pitch < 195
    assert np.linalg.norm(source.embedding) == pytest.approx(1.0, abs=1e-5)
    assert np.abs(source.embedding - voice.embedding).max() > 1e-3
    assert source.mel.shape == (80, SOURCE_FRAMES)
    assert source.keys.shape == (voice.keys.shape[0], SOURCE_FRAMES)
    assert source.encoder == voice.encoder


def test_gain_makes_up_for_the_level(guided: VoiceConverter, voice: Voice) -> None:
    wave = vowels(5.0)
    one, _ = source_of(guided, wave, voice, gain=0.4)
    other, _ = source_of(guided, wave * np.float32(0.25), voice, gain=1.6)
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(one.embedding, other.embedding, atol=1e-4)


@pytest.mark.parametrize("decibels", [40, 50])
def test_speech_far_below_something_else_is_still_a_voice(converter: VoiceConverter, decibels: int) -> None:
    wave = np.concatenate([noise(60.0), vowels(40.0) * np.float32(10 ** (-decibels / 20))])
    assert encoded(converter, wave).seconds > 1


@pytest.mark.parametrize("decibels", [-20, -24])
def test_a_voice_is_made_of_all_speech_whatever_is_louder(converter: VoiceConverter, decibels: int) -> None:
    speech, time = vowels(5.0), np.arange(3 * RATE) / RATE
    hum = np.float32(0.5) * np.sin(2 * np.pi * 50 * time).astype(np.float32)
    plain = encoded(converter, speech)
    behind = encoded(converter, np.concatenate([hum, speech * np.float32(10 ** (decibels / 20))]))
    assert behind.seconds > 0.6 * plain.seconds
    assert behind.embedding @ plain.embedding > 0.7


@pytest.mark.parametrize("minutes", [1, 5])
def test_noise_behind_the_speech_adds_no_speech(converter: VoiceConverter, minutes: int) -> None:
    speech, tail = vowels(14.0), noise(10.0) * np.float32(0.002)
    plain, left_running = (encoded(converter, np.concatenate([speech, *[tail] * n])) for n in (0, 6 * minutes))
    assert left_running.seconds == pytest.approx(plain.seconds, rel=0.2)


LEADS = ["white noise", "hum of 50 Hz", "hum of 150 Hz", "beeps of 440 Hz", "piano, quick", "organ, slow", "engine"]


@pytest.mark.parametrize("lead", LEADS)
def test_what_stands_in_front_leaves_the_pitch_alone(converter: VoiceConverter, voice: Voice, lead: str) -> None:
    wave = vowels(8.0)
    plain, _ = source_of(converter, wave, voice)
    source, warnings = source_of(converter, np.concatenate([NO_SPEECH[lead](6.0) * np.float32(0.5), wave]), voice)
    assert plain is not None
    assert source is not None
    assert source.pitch == pytest.approx(plain.pitch, rel=0.01)
    assert source.embedding @ plain.embedding > 0.9
    assert warnings == []


@pytest.mark.parametrize("seconds", [31, 300])
def test_silence_in_front_changes_nothing(converter: VoiceConverter, voice: Voice, seconds: int) -> None:
    wave = vowels(8.0)
    gain = TARGET_LEVEL / speech_level(wave)
    found = []
    for blocks in ([wave], [*[np.zeros(RATE, np.float32)] * seconds, wave]):
        sampler = SpeechSampler()
        for block in blocks:
            sampler.add(block)
        frames = analyse(converter.bundle, sampler.segments(), gain)
        found.append(analyse_source(converter.bundle, frames, voice)[0])
    plain, late = found
    assert plain is not None
    assert late is not None
    assert late.pitch == pytest.approx(plain.pitch, rel=0.01)
    assert late.embedding @ plain.embedding > 0.99


def test_a_source_without_speech_is_named(converter: VoiceConverter, voice: Voice) -> None:
    source, warnings = source_of(converter, NO_SPEECH["piano, slow"](6.0), voice)
    assert source is None
    assert warnings == ["no speech was found in the source; its pitch stays as it is"]


# -- references -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NO_SPEECH)
def test_what_is_not_a_voice_is_refused(converter: VoiceConverter, name: str) -> None:
    with pytest.raises(InputError, match=r"a\.wav is not a voice: no speech was found in it"):
        encoded(converter, NO_SPEECH[name](5.0))


def test_silence_is_refused(converter: VoiceConverter) -> None:
    with pytest.raises(InputError, match=r"a\.wav is silent"):
        encoded(converter, np.zeros(RATE, np.float32))


def test_a_reference_keeps_what_retrieval_needs(converter: VoiceConverter) -> None:
    short, long = encoded(converter, vowels(3.0)), encoded(converter, vowels(30.0))
    assert short.mel.shape[1] == pytest.approx(3 * RATE / 256, rel=0.1)
    assert long.mel.shape[1] == long.keys.shape[1] == MOST_FRAMES
    assert short.seconds == pytest.approx(3.0, rel=0.2)
    assert long.seconds == pytest.approx(30.0, rel=0.2)


def test_music_in_front_of_a_reference_leaves_the_voice_alone(converter: VoiceConverter) -> None:
    wave = vowels(8.0)
    plain = encoded(converter, wave)
    late = encoded(converter, np.concatenate([NO_SPEECH["organ, slow"](8.0), wave]))
    assert late.pitch == pytest.approx(plain.pitch, rel=0.02)
    assert late.embedding @ plain.embedding > 0.9


def test_length_costs_no_memory(converter: VoiceConverter) -> None:
    second, peaks = vowels(10.0), []

    def repeated(times: int) -> Iterator[np.ndarray]:
        for _ in range(times):
            yield second

    for times in (6, 60):
        tracemalloc.start()
        voice = encode_voice(converter.bundle, partial(repeated, times), "a.wav", "a.wav")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert voice.seconds == pytest.approx(10 * times, rel=0.2)
    assert peaks[1] < 1.2 * peaks[0]


# -- warnings ---------------------------------------------------------------------------------------------------


def lowpass(wave: np.ndarray, cutoff: float) -> np.ndarray:
    spectrum = np.fft.rfft(wave)
    spectrum[np.fft.rfftfreq(len(wave), 1 / RATE) > cutoff] = 0
    return np.fft.irfft(spectrum, len(wave)).astype(np.float32)


def wide_vowels(seconds: float, noise_level: float = 1e-4, pitch: float = 140.0) -> np.ndarray:
    """Vowels with breath up to 11 kHz, and pauses."""
    time = np.arange(int(seconds * RATE)) / RATE
    voiced = vowels(seconds, pitch)
    breath = noise(seconds) * np.clip(np.sin(2 * np.pi * 2.1 * time), 0, 1).astype(np.float32)
    speaking = (time % 2 < 1.7).astype(np.float32)
    return (voiced + np.float32(0.1) * breath) * speaking + np.float32(noise_level) * noise(seconds, seed=1)


def test_a_good_reference_gives_no_warning(converter: VoiceConverter) -> None:
    assert warnings_of(converter, wide_vowels(8.0)) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda wave: wave[: int(0.7 * RATE)], r"holds 0\.\d s of speech; 3 s or more sound closer"),
        (lambda wave: lowpass(wave, 3900.0), "nothing above 4 kHz"),
        (lambda wave: np.clip(4 * wave, -0.3, 0.3), "is clipped"),
        (lambda wave: wave + np.float32(0.3) * noise(len(wave) / RATE), "is noisy, about"),
    ],
    ids=["short", "narrow", "clipped", "noisy"],
)
def test_a_poor_reference_gives_one_warning(
    converter: VoiceConverter, change: Callable[[np.ndarray], np.ndarray], words: str
) -> None:
    (sentence,) = warnings_of(converter, change(wide_vowels(8.0)))
    assert sentence.startswith("a.wav")
    assert re.search(words, sentence)


# -- real speech ------------------------------------------------------------------------------------------------


def of_speaker(folder: Path, speaker: str, count: int) -> np.ndarray:
    rows = map(json.loads, (folder / "manifest.jsonl").read_text().splitlines())
    paths = [folder / row["path"] for row in rows if row["speaker"] == speaker][:count]
    waves = [audio.read(path) for path in paths]
    return np.concatenate([wave * np.float32(TARGET_LEVEL / speech_level(wave)) for wave in waves])


@pytest.fixture(scope="module")
def speakers(recordings: Path) -> dict[str, np.ndarray]:
    return {name: of_speaker(recordings, f"tsp-{name}", 6) for name in ("FB", "MB", "FL", "ML")}


@pytest.mark.speech
def test_one_speaker_gives_no_warning(converter: VoiceConverter, voice: Voice, speakers: dict[str, np.ndarray]) -> None:
    for wave in speakers.values():
        assert source_of(converter, wave, voice)[1] == []
        assert warnings_of(converter, wave) == []


@pytest.mark.speech
@pytest.mark.parametrize("pair", [("FB", "MB"), ("MB", "FL"), ("FL", "ML")])
def test_two_speakers_give_a_warning(
    converter: VoiceConverter, voice: Voice, speakers: dict[str, np.ndarray], pair: tuple[str, str]
) -> None:
    wave = np.concatenate([speakers[name] for name in pair])
    assert "more than one person" in " ".join(source_of(converter, wave, voice)[1])
    assert "more than one person" in " ".join(warnings_of(converter, wave))


@pytest.mark.speech
@pytest.mark.parametrize("lead", LEADS)
def test_what_stands_in_front_of_real_speech_changes_nothing(
    converter: VoiceConverter, voice: Voice, speakers: dict[str, np.ndarray], lead: str
) -> None:
    for wave in speakers.values():
        plain, _ = source_of(converter, wave, voice)
        source, _ = source_of(converter, np.concatenate([NO_SPEECH[lead](6.0), wave]), voice)
        assert plain is not None
        assert source is not None
        assert source.pitch == pytest.approx(plain.pitch, rel=0.02)
