from __future__ import annotations

import numpy as np
import pytest

from fastvoicegrad import VoiceConverter
from fastvoicegrad.mel import log_mel
from fastvoicegrad.vocoder import filtered, inverse_stft, match_mel, noise, pulse_train, reach, render, stft, vocode


def test_stft_inverts(speech: np.ndarray) -> None:
    wave = speech[: 256 * 100]
    np.testing.assert_allclose(inverse_stft(stft(wave)), wave, atol=1e-5)


def test_flat_filters_add_the_sources() -> None:
    pulses, _ = pulse_train(np.full(40, 200.0), 0, 0.0)
    hiss, one = noise(0, 0, 40), np.ones((513, 40), np.float32)
    np.testing.assert_allclose(filtered(pulses, hiss, one, 0 * one, 0.5 * one), pulses + 0.5 * hiss, atol=1e-4)


@pytest.mark.parametrize("pitch", [60.0, 120.0, 331.0])
def test_pulses_come_at_the_pitch(pitch: float) -> None:
    pulses, phase = pulse_train(np.full(200, pitch), 0, 0.0)
    spectrum = np.abs(np.fft.rfft(pulses * np.hanning(len(pulses))))
    hertz = np.fft.rfftfreq(len(pulses), 1 / 22050)
    around = (hertz > 0.7 * pitch) & (hertz < 1.3 * pitch)
    assert abs(hertz[around][spectrum[around].argmax()] - pitch) < 0.5
    assert phase[-1] == pytest.approx(len(pulses) * pitch / 22050)
    # All harmonics are equally strong: a pulse, not a tone.
    harmonics = [spectrum[np.argmin(np.abs(hertz - k * pitch))] for k in range(1, int(8000 / pitch))]
    assert max(harmonics) / min(harmonics) < 2


def test_a_pulse_train_can_be_taken_up_anywhere() -> None:
    pitch = (150 + 40 * np.sin(np.arange(300) / 9)).astype(np.float32)
    whole, phase = pulse_train(pitch, 0, 0.1)
    part, again = pulse_train(pitch[100:], 50, float(phase[150 * 256 - 1] % 1))
    inside = slice(256, None)  # the pitch's slope at the very edge needs the frame before
    np.testing.assert_allclose(part[inside], whole[100 * 256 :][inside], atol=1e-4)
    assert (again[-1] - phase[-1]) % 1 == pytest.approx(0, abs=1e-9) or (again[-1] - phase[-1]) % 1 > 1 - 1e-9


def test_a_known_pitch_reaches_the_pulses(converter: VoiceConverter) -> None:
    frames, pitch = 44, 101.75
    mel = np.full((80, frames), -6.0, np.float32)
    known = np.full(frames, pitch, np.float32)
    _, phase = vocode(converter.bundle, mel, 0, slice(0, frames), 0.0, 0, known)
    assert phase == pytest.approx(frames * 256 * pitch / 22050 % 1, abs=1e-3)


def test_noise_belongs_to_frames() -> None:
    np.testing.assert_array_equal(noise(5, 10, 20), noise(5, 0, 64)[10 * 256 : 30 * 256])
    assert abs(noise(5, 0, 400).std() - 1) < 0.01


def test_corrections_bring_the_mel_nearer(speech: np.ndarray) -> None:
    wave = speech[: 256 * 100]
    wanted, inside = log_mel(wave), (slice(None), slice(3, -3))
    random = np.random.default_rng(0)
    dull = inverse_stft(stft(wave) * np.exp(0.5 * random.standard_normal((100, 513))).astype(np.float32))
    errors = [np.abs(log_mel(match_mel(dull, wanted, times)) - wanted)[inside].mean() for times in range(4)]
    assert errors == sorted(errors, reverse=True)
    assert errors[3] < 0.5 * errors[0]
    assert np.abs(log_mel(match_mel(dull, wanted, 2, 1.2)) - wanted)[inside].mean() < errors[2]
    same = match_mel(wave, wanted, 1)
    np.testing.assert_allclose(same[2048:-2048], wave[2048:-2048], atol=1e-3)


@pytest.mark.parametrize("times", [0, 1, 2])
def test_reach_is_how_far_corrections_look(times: int) -> None:
    random = np.random.default_rng(0)
    wave = 0.1 * random.standard_normal(256 * 60).astype(np.float32)
    mel = log_mel(wave) + 0.3
    augmented, first = mel.copy(), reach(times) + 25
    augmented[:, first:] += 0.5
    change = np.abs(match_mel(wave, mel, times) - match_mel(wave, augmented, times)).reshape(60, 256).max(1)
    assert change[:25].max() == 0.0
    assert times == 0 or change[first:].max() > 0.01


@pytest.mark.parametrize(("corrections", "relaxation"), [(0, 1.0), (2, 1.0), (1, 1.3)])
def test_pieces_equal_the_whole(corrections: int, relaxation: float) -> None:
    random, frames = np.random.default_rng(0), 600
    pulses, _ = pulse_train(np.full(frames, 130.0), 0, 0.0)
    filters = np.abs(random.standard_normal((3, 513, frames))).astype(np.float32) * 0.1
    hiss, mel = noise(0, 0, frames), random.standard_normal((80, frames)).astype(np.float32) - 3
    whole = match_mel(filtered(pulses, hiss, *filters), mel, corrections, relaxation)
    rendered = render(pulses, hiss, filters, mel, corrections, relaxation, 2)
    np.testing.assert_allclose(rendered, whole, atol=1e-5)
