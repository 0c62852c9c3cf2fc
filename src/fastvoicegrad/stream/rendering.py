"""The renderer of streams: every pulse starts one impulse response, forward in time, so nothing waits.

The network predicts two filters for each hop: of a pulse train and of noise. Each becomes a causal impulse response of
minimum phase, to which the network may add a phase. A hop's excitation fades from the response of the hop before to its
own. `training.models.stream_renderer` computes the same in PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..diffusion import NOISE_BLOCK, frame_noise
from ..mel import MEL, Array

TAPS = 512  # of an impulse response: 23 ms
BINS = TAPS // 2 + 1
FFT = TAPS + MEL.hop_length  # what a hop's excitation becomes fits in
TAILS = FFT // MEL.hop_length - 1  # hops after a hop in which it sounds
FADED = 96  # last taps that fade to nothing: what wraps from negative time ends there
UNKNOWN_PITCH = 150.0  # Hz, before the first voiced frame
PITCH_GRID = 0.125  # Hz: keeps rounding errors of the pitch from adding up, except where they cross an edge
NOISE_STREAM = 1 << 21  # far from the draws of the whole-file pipeline
Spectra = NDArray[np.complex64]
Doubles = NDArray[np.float64]
Places = NDArray[np.int64]


@lru_cache(maxsize=2)
def fold(taps: int = TAPS) -> Array:
    """Weights ``(taps,)`` that make a cepstrum causal: its spectrum then has minimum phase."""
    weights = np.zeros(taps, np.float32)
    weights[[0, taps // 2]], weights[1 : taps // 2] = 1.0, 2.0
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


@lru_cache(maxsize=1)
def shares() -> Array:
    """`rise` and the rest, ``(2, 1, 256)``: those of a hop's own response and of the one before."""
    return np.stack([rise(), 1 - rise()])[:, None]


@lru_cache(maxsize=2)
def minimum_phase(taps: int = TAPS) -> Array:
    """Square matrix: log magnitudes times it are the minimum phase, the imaginary part of the folded cepstrum."""
    return np.fft.rfft(np.fft.irfft(np.eye(taps // 2 + 1), taps) * fold(taps)).imag.astype(np.float32)


def responses(log_magnitude: Array, phase: Array) -> Spectra:
    """Spectra ``(n, FFT / 2 + 1)`` of causal impulse responses.

    Args:
        log_magnitude: ``(n, BINS)``, natural log.
        phase: the same, added to the minimum phase.
    """
    gain, angle = np.exp(log_magnitude), log_magnitude @ minimum_phase() + phase
    spectrum = np.empty(gain.shape, np.complex64)
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
        tail: what still sounds, ``(B, 2, 256)``: the hops after the last one.
    """

    held: Doubles
    turns: Doubles
    last: Spectra
    tail: Array

    @classmethod
    def joined(cls, states: Sequence[RenderState]) -> RenderState:
        """Several states as one."""
        held, turns, last, tail = zip(*states, strict=True)
        return cls(np.concatenate(held), np.concatenate(turns), np.concatenate(last), np.concatenate(tail))

    def of(self, stream: int) -> RenderState:
        """The state of one of the streams."""
        row = slice(stream, stream + 1)
        return RenderState(self.held[row], self.turns[row], self.last[row], self.tail[row])


def silence() -> RenderState:
    """The state of one stream before its first hop."""
    last, tail = np.zeros((1, 2, FFT // 2 + 1), np.complex64), np.zeros((1, TAILS, MEL.hop_length), np.float32)
    return RenderState(np.zeros(1), np.zeros(1), last, tail)


def render(
    filters: Sequence[Array], pitch: Array, noise: Array, counts: Sequence[int], before: RenderState
) -> tuple[Array, RenderState]:
    """Samples ``(N, 256)`` of the next hops of B streams, stream by stream, and their next state.

    Args:
        filters: magnitude and phase of the pulses' filter, and magnitude of the noise's, ``(N, BINS)`` each. Magnitudes
            are natural logs.
        pitch: ``(N,)`` in Hz, 0 where unvoiced.
        noise: ``(N, 256)``; see `noise`.
        counts: hops of each stream, at least one; N together.
    """
    magnitude, phase, noise_magnitude = filters
    stream, last = np.repeat(np.arange(len(counts)), counts), np.cumsum(counts, dtype=np.int64) - 1
    first = last + 1 - np.array(counts)
    pulses, held, turns = pulse_train(pitch, stream, first, last, before)
    logs, phases = np.concatenate([magnitude, noise_magnitude]), np.concatenate([phase, np.zeros_like(phase)])
    own = responses(logs, phases).reshape(2, len(pitch), -1)
    earlier = np.concatenate([own[:, :1], own[:, :-1]], 1)
    earlier[:, first] = before.last.swapaxes(0, 1)
    excitations = np.fft.rfft(np.stack([pulses, noise])[:, None] * shares(), FFT)  # (2, 2, N, FFT / 2 + 1)
    spectra = excitations[:, 0] * own + excitations[:, 1] * earlier
    sounds = np.fft.irfft(spectra.sum(0), FFT).astype(np.float32, copy=False)
    wave, tail = _overlapped(sounds, stream, first, last, before.tail)
    return wave, RenderState(held, turns, own[:, last].swapaxes(0, 1), tail)


def pulse_train(
    pitch: Array, stream: Places, first: Places, last: Places, before: RenderState
) -> tuple[Array, Doubles, Doubles]:
    """Band-limited unit pulses ``(N, 256)``, and the next `held` and `turns`; see `RenderState`.

    Args:
        pitch: ``(N,)`` in Hz at the hops' ends, 0 where unvoiced: there the last voiced one goes on.
        stream: of each hop, ``(N,)``.
        first, last: hop of each stream, ``(B,)``.
    """
    known = np.insert(pitch.astype(np.float64), first, np.where(before.held > 0, before.held, UNKNOWN_PITCH))
    known = np.round(known / PITCH_GRID) * PITCH_GRID
    ends = known[np.maximum.accumulate(np.where(known > 0, np.arange(len(known)), 0))]
    place = np.arange(len(pitch)) + stream + 1  # of each hop, as every stream begins with its last end so far
    ends[place[first] - 1] = np.where(before.held > 0, before.held, ends[place[first]])
    steps = (np.arange(MEL.hop_length) + 1) / MEL.hop_length
    f0 = ends[place - 1, None] + (ends[place] - ends[place - 1])[:, None] * steps
    phases = np.cumsum(f0 / MEL.sample_rate, 1)
    turns = np.cumsum(phases[:, -1]) - phases[:, -1]  # before each hop
    phases += (turns + (before.turns - turns[first])[stream])[:, None]
    pulses = np.sinc((phases - np.round(phases)) * MEL.sample_rate / f0).astype(np.float32)
    return pulses, ends[place[last]], phases[last, -1] % 1.0


def _overlapped(sounds: Array, stream: Places, first: Places, last: Places, tail: Array) -> tuple[Array, Array]:
    """Adds sounds ``(N, FFT)`` that start a hop apart, and what sounds from before: ``(N, 256)`` and the next tail."""
    place, tails = np.arange(len(stream)) + TAILS * stream, np.arange(TAILS)
    wave = np.zeros((len(stream) + TAILS * len(first), MEL.hop_length), np.float32)
    wave[place[first, None] + tails] = tail
    for part in range(TAILS + 1):
        wave[place + part] += sounds[:, part * MEL.hop_length : (part + 1) * MEL.hop_length]
    return wave[place], wave[place[last, None] + 1 + tails]
