"""The renderer of streams: every pulse starts one impulse response, forward in time, so nothing waits.

The network predicts two filters for each hop: of a pulse train and of noise. Each becomes a causal impulse response of
minimum phase, to which the network may add a phase. A hop's excitation fades from the response of the hop before to its
own. `training.models.stream_renderer` computes the same in PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..diffusion import frame_noise
from ..mel import MEL, Array

TAPS = 512  # of an impulse response: 23 ms
BINS = TAPS // 2 + 1
FFT = 1024  # at least a hop and a response
FADED = 96  # last taps that fade to nothing: what wraps from negative time ends there
UNKNOWN_PITCH = 150.0  # Hz, before the first voiced frame
PITCH_GRID = 0.125  # Hz: keeps rounding errors of different splits from adding up
NOISE_BLOCK, NOISE_STREAM = 64, 1 << 21  # hops that are drawn at once; far from the draws of the whole-file pipeline
Spectra = NDArray[np.complex64]


@lru_cache(maxsize=1)
def fold() -> Array:
    """Weights ``(TAPS,)`` that make a cepstrum causal: its spectrum then has minimum phase."""
    weights = np.zeros(TAPS, np.float32)
    weights[[0, TAPS // 2]], weights[1 : TAPS // 2] = 1.0, 2.0
    return weights


@lru_cache(maxsize=1)
def taper() -> Array:
    """``(TAPS,)``: 1, and a fall to 0 over the last taps."""
    weights = np.ones(TAPS, np.float32)
    weights[-FADED:] = 0.5 + 0.5 * np.cos(np.pi * (np.arange(FADED) + 1) / FADED)
    return weights


@lru_cache(maxsize=1)
def rise() -> Array:
    """``(256,)``: the share of a hop's own response."""
    return ((np.arange(MEL.hop_length) + 0.5) / MEL.hop_length).astype(np.float32)


def responses(log_magnitude: Array, phase: Array | None = None) -> Spectra:
    """Spectra ``(n, FFT / 2 + 1)`` of causal impulse responses.

    Args:
        log_magnitude: ``(n, BINS)``, natural log.
        phase: ``(n, BINS)``, added to the minimum phase.
    """
    spectrum = np.fft.rfft(np.fft.irfft(log_magnitude, TAPS) * fold())
    if phase is not None:
        spectrum += 1j * phase
    return np.fft.rfft(np.fft.irfft(np.exp(spectrum), TAPS) * taper(), FFT).astype(np.complex64)


@lru_cache(maxsize=64)
def _noise_block(seed: int, block: int) -> Array:
    return frame_noise(seed, block * NOISE_BLOCK, NOISE_BLOCK, MEL.hop_length, NOISE_STREAM).T


def noise(seed: int, start: int, hops: int) -> Array:
    """Standard normal noise of the absolute hops start..start+hops-1, ``(hops, 256)``."""
    first, last = start // NOISE_BLOCK, (start + hops - 1) // NOISE_BLOCK
    blocks = np.concatenate([_noise_block(seed, block) for block in range(first, last + 1)])
    return blocks[start - first * NOISE_BLOCK :][:hops]


@dataclass
class RenderState:
    """What passes from hop to hop: pitch, phase of the pulse train in turns, responses, and what still sounds."""

    hop: int = 0
    pitch: float = 0.0  # Hz; 0 before the first hop
    phase: float = 0.0
    responses: Spectra = field(default_factory=lambda: np.zeros((2, 1, FFT // 2 + 1), np.complex64))  # pulses, noise
    tail: Array = field(default_factory=lambda: np.zeros(FFT - MEL.hop_length, np.float32))


def pulse_train(pitch: Array, state: RenderState) -> Array:
    """Band-limited unit pulses ``(n, 256)``; the state's pitch and phase move on.

    Args:
        pitch: ``(n,)`` in Hz at the hops' ends, 0 where unvoiced: there the last voiced one goes on.
    """
    held = _held(np.round(pitch / PITCH_GRID) * PITCH_GRID, state.pitch)
    before = np.concatenate([[state.pitch or held[0]], held[:-1]])
    steps = (np.arange(MEL.hop_length) + 1) / MEL.hop_length
    f0 = (before[:, None] + (held - before)[:, None] * steps).reshape(-1)
    phases = state.phase + np.cumsum(f0 / MEL.sample_rate)
    state.pitch, state.phase = float(held[-1]), float(phases[-1] % 1.0)
    pulses = np.sinc((phases - np.round(phases)) * MEL.sample_rate / f0)
    return pulses.astype(np.float32).reshape(-1, MEL.hop_length)


def _held(pitch: NDArray[np.float64], last: float) -> NDArray[np.float64]:
    """Unvoiced frames take the last voiced pitch."""
    known = np.concatenate([[last or UNKNOWN_PITCH], pitch])
    return known[np.maximum.accumulate(np.where(known > 0, np.arange(len(known)), 0))][1:]


def render(filters: tuple[Array, Array, Array], pitch: Array, seed: int, state: RenderState) -> Array:
    """Samples ``(256 n,)`` of the next n hops; the state moves on.

    Args:
        filters: log-magnitude and phase of the pulses' filter, log-magnitude of the noise's, each ``(n, BINS)``.
        pitch: ``(n,)`` in Hz, 0 where unvoiced.
        seed: of the noise.
    """
    magnitude, phase, noise_magnitude = filters
    count, hop = len(pitch), MEL.hop_length
    excitations = np.stack([pulse_train(pitch, state), noise(seed, state.hop, count)])
    spectra = np.concatenate([state.responses, [responses(magnitude, phase), responses(noise_magnitude)]], axis=1)
    parts = np.fft.rfft(excitations * rise(), FFT) * spectra[:, 1:]
    parts += np.fft.rfft(excitations * (1 - rise()), FFT) * spectra[:, :-1]
    sounds = np.fft.irfft(parts.sum(0), FFT).reshape(count, -1, hop)
    wave = np.zeros((count + sounds.shape[1] - 1, hop))
    wave.reshape(-1)[: len(state.tail)] = state.tail
    for part in range(sounds.shape[1]):
        wave[part : part + count] += sounds[:, part]
    state.hop, state.responses = state.hop + count, spectra[:, -1:].copy()
    state.tail = wave[count:].reshape(-1).astype(np.float32)
    return wave[:count].reshape(-1).astype(np.float32)
