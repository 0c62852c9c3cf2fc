from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fastvoicegrad import Voice, VoiceConverter
from fastvoicegrad.bundle import Bundle
from fastvoicegrad.frames import Window
from fastvoicegrad.mel import log_mel, lowpass_projection
from fastvoicegrad.pipeline import Request, convert_blocks, convert_mel, convert_window
from fastvoicegrad.settings import ConversionSettings
from fastvoicegrad.vocoder import vocode
from tests.conftest import vowels
from tests.test_reference import source_of


def window(mel: np.ndarray) -> Window:
    return Window(mel, 0, slice(0, mel.shape[1]))


def converted(converter: VoiceConverter, mel: np.ndarray, request: Request) -> np.ndarray:
    """A mel at its own pitch in the request's voice."""
    bundle = converter.bundle
    return convert_mel(bundle, window(mel), bundle.content(mel), bundle.pitch(mel), request)


def whole(converter: VoiceConverter, voice: Voice, wave: np.ndarray, pieces: int, chunk: int) -> np.ndarray:
    blocks = np.array_split(wave, pieces)
    source, _ = source_of(converter, wave, voice)
    return np.concatenate(
        list(
            convert_blocks(
                converter.bundle, blocks, Request(voice, source, ConversionSettings()), gain=1.0, chunk=chunk
            )
        )
    )


def noted_windows(monkeypatch: pytest.MonkeyPatch) -> list[Window]:
    """Windows that are converted from now on. A chunk that the source is too short for makes one, like the whole."""
    made = list[Window]()

    def noted(bundle: Bundle, one: Window, *arguments: Any) -> Any:
        made.append(one)
        return convert_window(bundle, one, *arguments)

    monkeypatch.setattr("fastvoicegrad.pipeline.convert_window", noted)
    return made


@pytest.mark.parametrize(
    ("seconds", "pieces", "chunk", "count"), [(12.0, 1, 128, 6), (12.0, 50, 256, 3), (6.0, 7, 64, 4), (12.0, 3, 600, 2)]
)
def test_chunks_equal_the_whole(
    converter: VoiceConverter,
    voice: Voice,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    pieces: int,
    chunk: int,
    count: int,
) -> None:
    wave, made = vowels(seconds), noted_windows(monkeypatch)
    one = whole(converter, voice, wave, 1, 10**6)
    assert len(made) == 1
    np.testing.assert_allclose(whole(converter, voice, wave, pieces, chunk), one, atol=1e-3)  # bytes are rounded
    assert len(made) == 1 + count


def test_guidance_amplifies_the_difference_between_target_and_source(
    converter: VoiceConverter, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converter.bundle, "config", replace(converter.bundle.config, guidance=0.6, guidance_cosines=10))
    mel = log_mel(vowels(2.0, pitch=180.0))[:, :160]
    source, _ = source_of(converter, vowels(2.0, pitch=180.0), voice)
    assert source is not None
    plain = converted(converter, mel, Request(voice, None, ConversionSettings()))
    unchanged = converted(converter, mel, Request(source, None, ConversionSettings()))
    assert np.abs(plain - unchanged).max() > 1e-2
    scale = converter.bundle.mel_std
    difference = lowpass_projection(10) @ ((plain - unchanged) / scale) * scale
    assert np.abs(difference - (plain - unchanged)).max() > 1e-3
    guided = converted(converter, mel, Request(voice, source, ConversionSettings()))
    np.testing.assert_allclose(guided, plain + 0.6 * difference, atol=1e-3)
    to_itself = converted(converter, mel, Request(source, source, ConversionSettings()))
    np.testing.assert_allclose(to_itself, unchanged, atol=1e-3)


def semitones(pitch: np.ndarray, truth: np.ndarray) -> float:
    """Median distance where voiced."""
    voiced = pitch > 0
    assert voiced.mean() > 0.5
    return float(np.median(np.abs(12 * np.log2(pitch[voiced] / truth[voiced]))))


def test_the_melody_moves_to_the_targets_height(converter: VoiceConverter, voice: Voice) -> None:
    """Synthetic vowels of 180 Hz (gliding by 15 %) in the voice of vowels of 210 Hz."""
    wave = vowels(3.0, pitch=180.0)
    mel = log_mel(wave)
    glide = 180.0 * (1 + 0.15 * np.sin(2 * np.pi * 0.7 * (np.arange(mel.shape[1]) + 0.5) * 256 / 22050))
    assert semitones(converter.bundle.pitch(mel), glide) < 0.5
    source, _ = source_of(converter, wave, voice)
    assert source is not None
    assert 170 < source.pitch < 195
    result = log_mel(converter.convert(wave, 22050, voice))
    assert semitones(converter.bundle.pitch(result), glide * voice.pitch / source.pitch) < 0.5


def test_the_vocoder_is_given_the_pitch(
    converter: VoiceConverter, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, bundle, wave = [], converter.bundle, vowels(1.0, pitch=180.0)[: 256 * 80]

    def recorded(*arguments: Any) -> tuple[np.ndarray, float]:
        given.append(arguments[-1])
        return vocode(*arguments)

    monkeypatch.setattr("fastvoicegrad.pipeline.vocode", recorded)
    list(convert_blocks(bundle, [wave], Request(voice, None, ConversionSettings(semitones=12)), gain=1.0))
    np.testing.assert_allclose(given[0], 2 * bundle.pitch(log_mel(wave)), rtol=1e-3)


def test_temperature_scales_the_difference_between_seeds(
    converter: VoiceConverter, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    mel, distances = log_mel(vowels(1.0))[:, :80], []
    for temperature in (0.0, 0.5, 1.0):
        config = replace(converter.bundle.config, temperature=temperature)
        monkeypatch.setattr(converter.bundle, "config", config)
        one, other = (converted(converter, mel, Request(voice, None, ConversionSettings(seed=seed))) for seed in (0, 1))
        distances.append(float(np.abs(one - other).mean()))
    assert distances[0] == 0 < distances[1] < distances[2]
