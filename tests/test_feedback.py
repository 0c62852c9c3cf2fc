"""Speaker feedback: s' = s + w (s - E(G(x, s)))."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastvoicegrad import AudioWarning, InputError, Voice, VoiceConverter
from fastvoicegrad.audio.level import TARGET_LEVEL, speech_level
from fastvoicegrad.bundle import Bundle
from fastvoicegrad.feedback import LONGEST, _densest, corrected_embedding
from fastvoicegrad.frames import Window
from fastvoicegrad.mel import MEL
from fastvoicegrad.pipeline import Request, convert_mel
from fastvoicegrad.postfilter import NO_SUMS
from fastvoicegrad.reference import analyse_source, speaker_embedding
from fastvoicegrad.settings import ConversionSettings
from fastvoicegrad.speech import Frames, analyse
from fastvoicegrad.voice import Adapter
from tests.conftest import vowels


@pytest.fixture
def bundle(converter: VoiceConverter, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    monkeypatch.setattr(converter.bundle, "config", replace(converter.bundle.config, feedback=0.4))
    return converter.bundle


def frames_of(bundle: Bundle, wave: np.ndarray) -> Frames:
    return analyse(bundle, [wave], TARGET_LEVEL / speech_level(wave))


def request_for(bundle: Bundle, frames: Frames, voice: Voice, **settings: float) -> Request:
    return Request(voice, analyse_source(bundle, frames, voice)[0], ConversionSettings(**settings))  # type: ignore[arg-type]


def test_it_is_one_step_towards_the_target(bundle: Bundle, voice: Voice) -> None:
    """The equation, on a source that is converted whole."""
    count = 256
    frames = frames_of(bundle, vowels(3.0)[: count * MEL.hop_length])
    request = request_for(bundle, frames, voice, semitones=1.0)
    window = Window(frames.mel, 0, slice(0, count))
    pitch = frames.pitch * np.float32(request.pitch_ratio)
    made = convert_mel(bundle, window, bundle.content(window.mel), pitch, request)
    made, _ = bundle.config.postfilter(made, voice.mel, slice(0, count), NO_SUMS)
    reached = speaker_embedding(bundle, made[:, frames.spoken])
    expected = voice.embedding + 0.4 * (voice.embedding - reached)
    np.testing.assert_allclose(corrected_embedding(bundle, frames, request), expected, atol=1e-6)


def test_the_densest_four_seconds_are_converted(bundle: Bundle, voice: Voice, monkeypatch: pytest.MonkeyPatch) -> None:
    wave = np.concatenate([np.zeros(4 * 22050, np.float32), vowels(6.0), np.zeros(4 * 22050, np.float32)])
    frames, sizes = frames_of(bundle, wave), list[int]()
    content = bundle.content
    monkeypatch.setattr(bundle, "content", lambda mel: sizes.append(mel.shape[1]) or content(mel))
    assert corrected_embedding(bundle, frames, request_for(bundle, frames, voice)) is not None
    assert sizes == [LONGEST]
    part = _densest(frames, LONGEST, bundle.stride)
    assert frames.spoken[part].mean() > frames.spoken.mean()


def test_the_converter_reads_the_corrected_embedding(
    bundle: Bundle, converter: VoiceConverter, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First the target's own, for the short conversion, then s'. A source without speech keeps the target's own."""
    read, run = list[np.ndarray](), bundle.run

    def watched(name: str, **inputs: np.ndarray) -> list[np.ndarray]:
        if name == "converter":
            read.append(inputs["speaker"][0])
        return run(name, **inputs)

    monkeypatch.setattr(bundle, "run", watched)
    converter.convert(vowels(3.0), 22050, voice)
    np.testing.assert_array_equal(read[0], voice.embedding)
    assert [len(read), np.abs(read[1] - voice.embedding).max() > 0.01] == [2, True]
    read.clear()
    with pytest.warns(AudioWarning):
        converter.convert(np.random.default_rng(0).normal(0, 0.1, 44100), 22050, voice)
    np.testing.assert_array_equal(read, [voice.embedding])


def test_adapted_voices_and_a_weight_of_zero_keep_the_embedding(
    bundle: Bundle, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = frames_of(bundle, vowels(3.0))
    request = request_for(bundle, frames, voice)
    adapted = replace(voice, adapter=Adapter(np.zeros(bundle.config.adapter, np.float32), "any"))
    assert corrected_embedding(bundle, frames, replace(request, target=adapted)) is None
    assert corrected_embedding(bundle, frames, replace(request, source=None)) is None
    monkeypatch.setattr(bundle, "config", replace(bundle.config, feedback=0.0))
    assert corrected_embedding(bundle, frames, request) is None


def test_a_source_of_few_spoken_frames_keeps_the_embedding(bundle: Bundle, voice: Voice) -> None:
    frames = frames_of(bundle, vowels(3.0))
    request = request_for(bundle, frames, voice)
    short = replace(
        frames, mel=frames.mel[:, :40], pitch=frames.pitch[:40], lengths=[40], active=frames.active[:40],
        likelihood=frames.likelihood[:40],
    )  # fmt: skip
    assert corrected_embedding(bundle, short, request) is None
    tiny = replace(
        frames, mel=frames.mel[:, :2], pitch=frames.pitch[:2], lengths=[2], active=frames.active[:2],
        likelihood=frames.likelihood[:2],
    )  # fmt: skip
    assert corrected_embedding(bundle, tiny, request) is None


def test_a_voice_of_other_sizes_is_refused_before_the_first_conversion(
    bundle: Bundle, converter: VoiceConverter, voice: Voice
) -> None:
    keys = np.concatenate([voice.keys, voice.keys])
    with pytest.raises(InputError, match="the voice does not fit the bundle; make it again"):
        converter.convert(vowels(3.0), 22050, replace(voice, keys=keys))
