"""Sounds without speech: each function gives samples (N,) at 22,050 Hz with a peak of 0.3."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.conftest import RATE


def scaled(wave: np.ndarray) -> np.ndarray:
    return (0.3 * wave / np.abs(wave).max()).astype(np.float32)


def times(seconds: float) -> np.ndarray:
    return np.arange(int(seconds * RATE)) / RATE


def noise(seconds: float, tilt: float = 0.0, seed: int = 0) -> np.ndarray:
    """White with a tilt of 0, pink with 0.5, brown with 1."""
    n = int(seconds * RATE)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(n))
    spectrum[1:] /= np.arange(1, len(spectrum)) ** tilt
    return scaled(np.fft.irfft(spectrum, n))


def tone(seconds: float, pitch: float, harmonics: int = 1) -> np.ndarray:
    return scaled(sum(np.sin(2 * np.pi * k * pitch * times(seconds)) / k for k in range(1, harmonics + 1)))


def beeps(seconds: float, pitch: float) -> np.ndarray:
    """0.3 s on, 0.3 s off."""
    return tone(seconds, pitch) * (times(seconds) % 0.6 < 0.3).astype(np.float32)


def sweep(seconds: float) -> np.ndarray:
    frequency = 100 * 2 ** (4 * (times(seconds) % 2) / 2)
    return scaled(np.sin(2 * np.pi * np.cumsum(frequency) / RATE))


def chords(seconds: float, duration: float, decay: float) -> np.ndarray:
    """Major chords on changing roots; a decay of 0 is an organ, of 3 a piano."""
    time = times(seconds)
    roots = np.array([0, 5, 7, 2, 9])[(time // duration).astype(int) % 5]
    envelope = np.exp(-decay * (time % duration)) * np.minimum(1, time % duration / 0.01)
    wave = np.zeros(len(time))
    for step in (0, 4, 7):
        phase = 2 * np.pi * np.cumsum(130.8 * 2 ** ((roots + step) / 12)) / RATE
        wave += sum(np.sin(k * phase) / k for k in range(1, 11))
    return scaled(wave * envelope)


def engine(seconds: float) -> np.ndarray:
    """A pulse train of slowly drifting pitch."""
    time = times(seconds)
    phase = np.cumsum(100 * (1 + 0.2 * np.sin(2 * np.pi * 0.1 * time))) / RATE
    kernel = np.exp(-np.arange(400) / 60) * np.cos(np.arange(400) * 0.15)
    return scaled(np.convolve(np.diff(np.floor(phase), prepend=0), kernel)[: len(time)])


def drums(seconds: float) -> np.ndarray:
    time = times(seconds)
    kick = np.sin(2 * np.pi * 60 * (time % 1)) * np.exp(-12 * (time % 1))
    snare = noise(seconds) * np.exp(-20 * ((time + 0.5) % 1))
    return scaled(kick + snare)


NO_SPEECH: dict[str, Callable[[float], np.ndarray]] = {
    "white noise": noise,
    "pink noise": lambda s: noise(s, 0.5),
    "brown noise": lambda s: noise(s, 1.0),
    "pulsing noise": lambda s: noise(s, 0.5) * (1 + np.sin(2 * np.pi * 4 * times(s))).astype(np.float32) / 2,
    "hum of 50 Hz": lambda s: tone(s, 50, 12),
    "hum of 60 Hz": lambda s: tone(s, 60, 12),
    "hum of 150 Hz": lambda s: tone(s, 150, 12),
    "sine of 220 Hz": lambda s: tone(s, 220),
    "sine of 440 Hz": lambda s: tone(s, 440),
    "beeps of 440 Hz": lambda s: beeps(s, 440),
    "beeps of 1000 Hz": lambda s: beeps(s, 1000),
    "sweep": sweep,
    "piano, quick": lambda s: chords(s, 0.25, 3.0),
    "piano, slow": lambda s: chords(s, 1.0, 3.0),
    "organ, quick": lambda s: chords(s, 0.25, 0.0),
    "organ, slow": lambda s: chords(s, 1.0, 0.0),
    "engine": engine,
    "drums": drums,
}
