from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fastvoicegrad import VoiceConverter, audio
from fastvoicegrad.audio.level import TARGET_LEVEL, speech_level
from fastvoicegrad.judgement import holds_speech
from fastvoicegrad.mel import MEL
from fastvoicegrad.speech import MOST_SEGMENTS, SEGMENT, Frames, SpeechSampler, analyse
from tests.conftest import RATE, vowels
from tests.sounds import NO_SPEECH, noise


def sampled(blocks: list[np.ndarray]) -> SpeechSampler:
    sampler = SpeechSampler()
    for block in blocks:
        sampler.add(block)
    return sampler


def analysed(converter: VoiceConverter, wave: np.ndarray) -> Frames:
    return analyse(converter.bundle, sampled([wave]).segments(), TARGET_LEVEL / speech_level(wave))


def kept(sampler: SpeechSampler) -> int:
    return sum(len(wave) for wave in sampler.segments())


@pytest.mark.parametrize("seconds", [1.0, 31.0, 50.0])
def test_the_sample_does_not_depend_on_blocks(seconds: float) -> None:
    wave = np.concatenate([noise(seconds / 2), vowels(seconds / 2)])
    whole = sampled([wave]).segments()
    for pieces in (3, 97):
        other = sampled(np.array_split(wave, pieces)).segments()
        assert len(other) == len(whole)
        assert all((a == b).all() for a, b in zip(whole, other, strict=True))


def test_all_of_32_seconds_is_kept_in_one_wave() -> None:
    wave = vowels(32.0)
    (found,) = sampled([wave]).segments()
    np.testing.assert_array_equal(found, wave)


def test_an_hour_costs_no_more_than_34_seconds() -> None:
    hiss, speech = noise(10.0) * np.float32(0.01), vowels(10.0)
    for block in (np.zeros(10 * RATE, np.float32), hiss, speech):
        sampler = sampled([block] * 360)
        assert kept(sampler) <= (MOST_SEGMENTS + 1) * SEGMENT
        assert sum(len(tier.kept) for tier in sampler._tiers) <= MOST_SEGMENTS
    assert kept(sampler) >= MOST_SEGMENTS * SEGMENT // 2
    assert sum(weight.sum() for weight in sampler.weights()) == pytest.approx(3600 * RATE, rel=0.1)


def test_steady_noise_never_displaces_speech() -> None:
    speech = vowels(10.0)
    sampler = sampled([*[noise(10.0) * np.float32(0.2)] * 60, speech])
    assert np.abs(sampler.segments()[-1][-len(speech) :] - speech).max() == 0


def test_the_sample_of_a_long_recording_is_spread_evenly() -> None:
    ramp = vowels(10.0) * np.float32(0.01)
    blocks = [ramp * np.float32(1 + k) for k in range(60)]
    peaks = [np.abs(wave).max() for wave in sampled(blocks).segments()]
    assert min(peaks) < 0.1 * max(peaks)
    assert np.median(peaks) == pytest.approx(max(peaks) / 2, rel=0.2)


def test_a_sample_stands_for_its_own_kind_of_sound() -> None:
    speech, hiss = vowels(20.0), noise(10.0) * np.float32(0.02)
    sampler = sampled([speech, *[hiss] * 60])
    (weights,), (segments,) = sampler.weights()[:1], sampler.segments()[:1]
    assert weights.shape == segments.shape
    assert (weights[: len(speech)] == 1).all()
    assert sum(weight.sum() for weight in sampler.weights()) == pytest.approx(620 * RATE, rel=0.1)


def test_silence_gives_no_segments() -> None:
    assert SpeechSampler().segments() == []
    assert sampled([np.zeros(3 * SEGMENT, np.float32)]).segments() == []


@pytest.mark.parametrize("pitch", [90.0, 140.0, 210.0, 300.0])
def test_moving_vowels_are_speech(converter: VoiceConverter, pitch: float) -> None:
    frames = analysed(converter, vowels(4.0, pitch))
    assert holds_speech(frames)
    assert frames.speech.mean() > 0.7


def test_a_word_with_one_short_vowel_can_be_speech(converter: VoiceConverter) -> None:
    found = []
    for seed in range(8):
        wave, vowel = noise(2.0, seed=seed) * np.float32(0.003), vowels(4.0, 100.0 + 20 * seed)
        wave[20000:22646] += vowel[22050 * (seed % 3) :][:2646] * np.hanning(2646) ** 0.3
        wave[23646:26646] += noise(1.0, seed=9)[:3000] * np.float32(0.1)
        found.append(holds_speech(analysed(converter, wave)))
    assert sum(found) >= 3  # none with six voiced frames


@pytest.mark.parametrize("name", NO_SPEECH)
def test_other_sounds_are_not_speech(converter: VoiceConverter, name: str) -> None:
    wave = NO_SPEECH[name](6.0)
    frames = analysed(converter, wave)
    assert not holds_speech(frames)
    assert frames.speech.mean() < 0.05


@pytest.mark.parametrize(
    ("spoken", "active", "pitch", "holds"),
    [
        (0.35, 3.0, 120.0, True),
        (0.25, 0.5, 120.0, False),  # too short
        (0.35, 4.0, 120.0, False),  # less than a tenth of what is active
        (2.1, 30.0, 120.0, True),
        (1.9, 30.0, 120.0, False),
        (2.1, 3.0, 0.0, False),  # nothing is voiced
    ],
)
def test_how_much_speech_makes_a_voice(spoken: float, active: float, pitch: float, holds: bool) -> None:
    time = np.arange(round(active * MEL.sample_rate / MEL.hop_length)) * MEL.hop_length / MEL.sample_rate
    speech, count = time < spoken, len(time)
    frames = Frames(np.zeros((80, count)), pitch * speech, [count], np.ones(count, bool), np.where(speech, 0.6, 0.4))
    assert holds_speech(frames) == holds


def test_short_and_empty_input_holds_no_speech(converter: VoiceConverter) -> None:
    for segments in ([], [np.zeros(100, np.float32)], [noise(0.1)]):
        frames = analyse(converter.bundle, segments, 1.0)
        assert not holds_speech(frames)
        assert not frames.spoken.any()


# -- real speech ------------------------------------------------------------------------------------------------


def clips(folder: Path, corpus: str, count: int) -> list[np.ndarray]:
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["corpus"] == corpus and row["split"] == "valid"]
    return [audio.read(folder / row["path"]) for row in rows[:: max(1, len(rows) // count)][:count]]


@pytest.mark.speech
def test_recordings_of_one_word_are_speech(converter: VoiceConverter, recordings: Path) -> None:
    rows = [json.loads(line) for line in (recordings / "manifest.jsonl").read_text().splitlines()]
    short = [row for row in rows if row["corpus"] == "commonvoice" and 1.5 < row["duration"] < 2.5][:100]
    found = [holds_speech(analysed(converter, audio.read(recordings / row["path"]))) for row in short]
    assert np.mean(found) >= 0.99


@pytest.mark.speech
@pytest.mark.parametrize("corpus", ["commonvoice", "librispeech", "speechocean762"])
def test_real_speech_is_speech(converter: VoiceConverter, recordings: Path, corpus: str) -> None:
    shares = []
    for wave in clips(recordings, corpus, 16):
        frames = analysed(converter, wave)
        assert holds_speech(frames)
        shares.append(frames.speech.sum() / frames.active.sum())
    assert np.median(shares) > 0.6
