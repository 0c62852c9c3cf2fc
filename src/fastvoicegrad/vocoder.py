"""The vocoder's arithmetic: a pulse train and noise, filtered frame by frame (the network gives the filters).

The same as `models.vocoder.SpectralVocoder.render`, in NumPy. Frame ``i`` stands over the samples of mel frame
``i``: 1,024 of them around the middle of hop ``i``.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from .diffusion import frame_noise
from .mel import MAGNITUDE_EPSILON, MEL, Array, bands_of_bins, filterbank, hann

PIECE = 256  # frames (3 s) that are rendered at once
LARGEST_CORRECTION = 1.5  # natural log: 13 dB
NOISE_STREAM = 1 << 20  # far from the sampler's draws


def reach(corrections: int) -> int:
    """Frames to each side that a sample depends on: two windows' overlap, twice, and the pitch's slope; and the
    former again for every correction."""
    return 5 + 4 * corrections


def pulse_train(pitch: Array, anchor: int, turns: float) -> tuple[Array, NDArray[np.float64]]:
    """Band-limited unit pulses.

    Args:
        pitch: ``(T,)`` in Hz at the middles of the frames.
        anchor: the frame before whose first sample the phase is known ...
        turns: ... and that phase, in turns.
    Returns:
        ``(256 T,)`` samples, and the phase after each of them in turns.
    """
    hop = MEL.hop_length
    f0 = np.interp(np.arange(len(pitch) * hop), np.arange(len(pitch)) * hop + (hop - 1) / 2, pitch)
    phase = np.cumsum(f0 / MEL.sample_rate)
    phase += turns - (phase[anchor * hop - 1] if anchor else 0.0)
    return np.sinc((phase - np.round(phase)) * MEL.sample_rate / f0).astype(np.float32), phase


def noise(seed: int, start: int, frames: int) -> Array:
    """White noise of the absolute frames start..start+frames-1, ``(256 frames,)``."""
    return frame_noise(seed, start, frames, MEL.hop_length, NOISE_STREAM).T.reshape(-1)


def stft(wave: Array) -> NDArray[np.complex64]:
    """``(256 T,)`` -> ``(T, 513)``, silence beyond the ends."""
    padded = np.pad(wave, MEL.padding)
    frames = np.lib.stride_tricks.sliding_window_view(padded, MEL.n_fft)[:: MEL.hop_length]
    return np.fft.rfft(frames * hann(MEL.n_fft)).astype(np.complex64)


def inverse_stft(spectrum: NDArray[np.complex64]) -> Array:
    """Overlap-add of the windowed frames ``(T, 513)`` -> ``(256 T,)``: the inverse of `stft`."""
    window, hop = hann(MEL.n_fft), MEL.hop_length
    frames = np.fft.irfft(spectrum, MEL.n_fft).astype(np.float32) * window
    count, parts = len(frames), MEL.n_fft // hop
    wave = np.zeros((count + parts - 1, hop), np.float32)
    envelope = np.zeros((count + parts - 1, hop), np.float32)
    for part in range(parts):
        piece = slice(part * hop, (part + 1) * hop)
        wave[part : part + count] += frames[:, piece]
        envelope[part : part + count] += np.square(window[piece])
    keep = slice(MEL.padding, MEL.padding + count * hop)
    return (wave.reshape(-1)[keep] / np.maximum(envelope.reshape(-1)[keep], 1e-5)).astype(np.float32)


def filtered(pulses: Array, hiss: Array, real: Array, imaginary: Array, gain: Array) -> Array:
    """Filter both sources and add them.

    Args:
        pulses: ``(256 T,)`` of `pulse_train`.
        hiss: ``(256 T,)`` of `noise`.
        real: ``(513, T)``, with `imaginary` the pulses' filter.
        gain: ``(513, T)``, the noise's filter.
    Returns:
        ``(256 T,)``.
    """
    return inverse_stft(stft(pulses) * (real + 1j * imaginary).T + stft(hiss) * gain.T)


def match_mel(wave: Array, mel: Array, times: int) -> Array:
    """Bring the mel of samples ``(256 T,)`` nearer to a given one ``(80, T)``, by its gain in every band and frame."""
    for _ in range(times):
        spectrum = stft(wave)
        magnitude = np.sqrt(spectrum.real**2 + spectrum.imag**2 + MAGNITUDE_EPSILON)
        heard = np.log(np.maximum(filterbank() @ magnitude.T, MEL.floor))
        change = np.clip(mel - heard, -LARGEST_CORRECTION, LARGEST_CORRECTION)
        wave = inverse_stft(spectrum * np.exp(bands_of_bins() @ change).T)
    return wave


def render(pulses: Array, hiss: Array, filters: Sequence[Array], mel: Array, corrections: int, threads: int) -> Array:
    """`filtered` and `match_mel`, in pieces that a core's cache can hold, several at once; the seams are exact.

    Args:
        filters: the last three arguments of `filtered`.
        mel: ``(80, T)``.
    """
    total, hop, beyond = mel.shape[1], MEL.hop_length, reach(corrections)

    def piece(first: int) -> Array:
        start, stop = max(0, first - beyond), min(total, first + PIECE + beyond)
        frames, samples = slice(start, stop), slice(start * hop, stop * hop)
        wave = filtered(pulses[samples], hiss[samples], *(x[:, frames] for x in filters))
        kept = slice((first - start) * hop, (min(first + PIECE, total) - start) * hop)
        return match_mel(wave, mel[:, frames], corrections)[kept]

    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(piece, range(0, total, PIECE))))
