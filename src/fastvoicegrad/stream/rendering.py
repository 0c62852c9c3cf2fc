"""The renderer of streams: every pulse starts one impulse response, forward in time, so nothing waits.

The network predicts two filters for each hop: of a pulse train and of noise. Each becomes a causal impulse response of
minimum phase, to which the network may add a phase. A hop's excitation fades from the response of the hop before to its
own. `training.models.stream_renderer` computes the same in PyTorch.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..diffusion import NOISE_BLOCK, frame_noise
from ..mel import MEL, Array

TAPS = 512  # of an impulse response: 23 ms
BINS = TAPS // 2 + 1
FFT = TAPS + MEL.hop_length  # what a hop's excitation becomes fits in
FADED = 96  # last taps that fade to nothing: what wraps from negative time ends there
UNKNOWN_PITCH = 150.0  # Hz, before the first voiced frame
PITCH_GRID = 0.125  # Hz: keeps rounding errors of different splits from adding up, except where they cross an edge
NOISE_STREAM = 1 << 21  # far from the draws of the whole-file pipeline
Spectra = NDArray[np.complex64]
Doubles = NDArray[np.float64]


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
    """Spectra ``(..., FFT / 2 + 1)`` of causal impulse responses.

    Args:
        log_magnitude: ``(..., BINS)``, natural log.
        phase: the same, added to the minimum phase.
    """
    logs = np.fft.rfft(np.fft.irfft(log_magnitude, TAPS) * fold())
    gain, angle = np.exp(logs.real), logs.imag if phase is None else logs.imag + phase
    spectrum = np.empty(logs.shape, np.complex64)
    spectrum.real, spectrum.imag = gain * np.cos(angle), gain * np.sin(angle)  # np.exp takes seven times as long
    return np.fft.rfft(np.fft.irfft(spectrum, TAPS) * taper(), FFT).astype(np.complex64, copy=False)


@lru_cache(maxsize=128)
def _noise_block(seed: int, block: int) -> Array:
    return frame_noise(seed, block * NOISE_BLOCK, NOISE_BLOCK, MEL.hop_length, NOISE_STREAM).T


def noise(seed: int, start: int, hops: int) -> Array:
    """Standard normal noise of the absolute hops start..start+hops-1, ``(hops, 256)``."""
    parts, stop = [], start + hops
    for block in range(start // NOISE_BLOCK, (stop - 1) // NOISE_BLOCK + 1):
        first = block * NOISE_BLOCK
        parts.append(_noise_block(seed, block)[max(start - first, 0) : stop - first])
    return np.concatenate(parts)


class RenderState(NamedTuple):
    """What passes from hop to hop, of B streams.

    Attributes:
        held: last voiced pitch ``(B,)`` in Hz; 0 before the first hop.
        turns: phase of the pulse train ``(B,)``.
        last: responses of pulses and noise ``(B, 2, FFT / 2 + 1)``.
        tail: what still sounds, ``(B, FFT - 256)``.
    """

    held: Doubles
    turns: Doubles
    last: Spectra
    tail: Array


def silence() -> RenderState:
    """The state of one stream before its first hop."""
    last, tail = np.zeros((1, 2, FFT // 2 + 1), np.complex64), np.zeros((1, FFT - MEL.hop_length), np.float32)
    return RenderState(np.zeros(1), np.zeros(1), last, tail)


def render(
    magnitude: Array,
    phase: Array,
    noise_magnitude: Array,
    pitch: Array,
    noise: Array,
    held: Doubles,
    turns: Doubles,
    last: Spectra,
    tail: Array,
) -> tuple[Array, Doubles, Doubles, Spectra, Array]:
    """Samples ``(B, 256 n)`` of the next n hops, and the next state.

    Args:
        magnitude, phase: of the pulses' filter, ``(B, n, BINS)``, the magnitude as a natural log.
        noise_magnitude: of the noise's filter, the same.
        pitch: ``(B, n)`` in Hz, 0 where unvoiced.
        noise: ``(B, n, 256)``; see `noise`.
        held, turns, last, tail: see `RenderState`.
    """
    pulses, held, turns = pulse_train(pitch, held, turns)
    phases = np.stack([phase, np.zeros_like(phase)], 1)
    own = responses(np.stack([magnitude, noise_magnitude], 1), phases)
    before = np.concatenate([last[:, :, None], own[:, :, :-1]], 2)
    excitations = np.stack([pulses, noise], 1)
    spectra = np.fft.rfft(excitations * rise(), FFT) * own + np.fft.rfft(excitations * (1 - rise()), FFT) * before
    wave, tail = _overlapped(np.fft.irfft(spectra.sum(1), FFT).astype(np.float32, copy=False), tail)
    return wave, held, turns, own[:, :, -1], tail


def pulse_train(pitch: Array, held: Doubles, turns: Doubles) -> tuple[Array, Doubles, Doubles]:
    """Band-limited unit pulses ``(B, n, 256)``, and the next `held` and `turns`; see `RenderState`.

    Args:
        pitch: ``(B, n)`` in Hz at the hops' ends, 0 where unvoiced: there the last voiced one goes on.
    """
    known = np.concatenate([np.where(held > 0, held, UNKNOWN_PITCH)[:, None], pitch], 1)
    known = np.round(known / PITCH_GRID) * PITCH_GRID
    places = np.maximum.accumulate(np.where(known > 0, np.arange(known.shape[1]), 0), 1)
    ends = np.take_along_axis(known, places, 1)
    ends[:, 0] = np.where(held > 0, held, ends[:, 1])
    steps = (np.arange(MEL.hop_length) + 1) / MEL.hop_length
    f0 = (ends[:, :-1, None] + np.diff(ends)[:, :, None] * steps).reshape(len(pitch), -1)
    phases = turns[:, None] + np.cumsum(f0 / MEL.sample_rate, 1)
    pulses = np.sinc((phases - np.round(phases)) * MEL.sample_rate / f0).astype(np.float32)
    return pulses.reshape(*pitch.shape, MEL.hop_length), ends[:, -1], phases[:, -1] % 1.0


def _overlapped(sounds: Array, tail: Array) -> tuple[Array, Array]:
    """Adds sounds ``(B, n, FFT)`` that start a hop apart, and what sounds from before: ``(B, 256 n)`` and the rest."""
    batch, count, hop = len(sounds), sounds.shape[1], MEL.hop_length
    wave = np.zeros((batch, count + FFT // hop - 1, hop), np.float32)
    wave.reshape(batch, -1)[:, : tail.shape[1]] = tail
    for part in range(FFT // hop):
        wave[:, part : part + count] += sounds[:, :, part * hop : (part + 1) * hop]
    return wave[:, :count].reshape(batch, -1), wave[:, count:].reshape(batch, -1)
