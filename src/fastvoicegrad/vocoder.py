"""The vocoder: a pulse train and noise, filtered frame by frame (Vocos, arXiv 2306.00814; DDSP, arXiv 2001.04643).

The network predicts the filters; this module computes the sound in NumPy, as
`training.models.vocoder.SpectralVocoder.render` does in PyTorch, where nothing is relaxed. Frame ``i`` covers the
samples of mel frame ``i``: 1,024 of them around the middle of hop ``i``.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from .bundle import Bundle
from .diffusion import frame_noise
from .mel import MAGNITUDE_EPSILON, MEL, Array, bins_from_bands, hann, log_of_bands

LARGEST_CORRECTION = 1.5  # natural log: 13 dB
FILTERED = 1024  # frames (12 s) whose filters the network predicts at once
PIECE = 256  # frames (3 s) that one thread renders at once
NOISE_STREAM = 1 << 20  # far from the sampler's draws
PITCH_GRID = 0.125  # Hz: at 100 Hz two hundredths of a semitone


def reach(corrections: int) -> int:
    """Frames to each side that a sample depends on.

    These are two overlaps of the window and the pitch's slope; each correction adds two overlaps.
    """
    return 5 + 4 * corrections


def vocode(
    bundle: Bundle, mel: Array, start: int, keep: slice, phase: float, seed: int, pitch: Array | None = None
) -> tuple[Array, float]:
    """Render a window of mel frames, a few seconds at a time: the filters take much memory.

    Args:
        mel: ``(80, T)``, natural log; its first frame is the absolute frame `start`.
        keep: the frames of the window whose samples are wanted.
        phase: of the pulse train before the first of them, in turns.
        seed: of the noise.
        pitch: ``(T,)`` in Hz, 0 where unvoiced; there the vocoder's own prediction counts.
    Returns:
        the samples of the kept frames, and the phase after the last one.
    """
    network, parts = bundle.config.networks["vocoder"], []
    for first in range(keep.start, keep.stop, FILTERED):
        last = min(first + FILTERED, keep.stop)
        part = slice(max(0, first - network.left), last + network.right)
        new = slice(first - part.start, last - part.start)
        part_pitch = None if pitch is None else pitch[part]
        wave, phase = _vocode_part(bundle, mel[:, part], start + part.start, new, phase, seed, part_pitch)
        parts.append(wave)
    return np.concatenate(parts), phase


def _vocode_part(
    bundle: Bundle, mel: Array, start: int, keep: slice, phase: float, seed: int, pitch: Array | None
) -> tuple[Array, float]:
    """`vocode` at once."""
    predicted, *filters = (x[0] for x in bundle.run("vocoder", mel=np.ascontiguousarray(mel)[None]))
    pitch = predicted if pitch is None else np.where(pitch > 0, pitch, predicted)
    # The phase is a sum of pitch values: a grid keeps rounding errors of different chunk sizes from adding up.
    pitch = (np.round(pitch / PITCH_GRID) * PITCH_GRID).astype(np.float32)
    pulses, phases = pulse_train(pitch, keep.start, phase)
    hiss = noise(seed, start, mel.shape[1])
    config = bundle.config
    wave = render(pulses, hiss, filters, mel, config.corrections, config.relaxation, bundle.threads)
    samples = slice(keep.start * MEL.hop_length, keep.stop * MEL.hop_length)
    return wave[samples], float(phases[samples.stop - 1] % 1.0)


def pulse_train(pitch: Array, anchor: int, phase: float) -> tuple[Array, NDArray[np.float64]]:
    """Band-limited unit pulses.

    Args:
        pitch: ``(T,)`` in Hz at the middles of the frames.
        anchor: a frame.
        phase: in turns, before the first sample of that frame.
    Returns:
        ``(256 T,)`` samples, and the phase after each of them in turns.
    """
    hop = MEL.hop_length
    f0 = np.interp(np.arange(len(pitch) * hop), np.arange(len(pitch)) * hop + (hop - 1) / 2, pitch)
    phases = np.cumsum(f0 / MEL.sample_rate)
    phases += phase - (phases[anchor * hop - 1] if anchor else 0.0)
    return np.sinc((phases - np.round(phases)) * MEL.sample_rate / f0).astype(np.float32), phases


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
    weight = np.zeros((count + parts - 1, hop), np.float32)
    for part in range(parts):
        piece = slice(part * hop, (part + 1) * hop)
        wave[part : part + count] += frames[:, piece]
        weight[part : part + count] += np.square(window[piece])
    keep = slice(MEL.padding, MEL.padding + count * hop)
    return (wave.reshape(-1)[keep] / np.maximum(weight.reshape(-1)[keep], 1e-5)).astype(np.float32)


def filtered(pulses: Array, hiss: Array, real: Array, imaginary: Array, gain: Array) -> Array:
    """Filter both sources and add them.

    Args:
        pulses: ``(256 T,)`` of `pulse_train`.
        hiss: ``(256 T,)`` of `noise`.
        real, imaginary: ``(513, T)``, the pulses' filter.
        gain: ``(513, T)``, the noise's filter.
    Returns:
        ``(256 T,)``.
    """
    return inverse_stft(stft(pulses) * (real + 1j * imaginary).T + stft(hiss) * gain.T)


def match_mel(wave: Array, mel: Array, iterations: int, relaxation: float = 1.0) -> Array:
    """Bring the mel of samples ``(256 T,)`` nearer to a given one ``(80, T)`` by a gain in every band and frame.

    Frames overlap, so an iteration reaches only a part of what it corrects.

    Args:
        relaxation: factor on each correction; above 1 (over-relaxation) it makes up for a part of that.
    """
    for _ in range(iterations):
        spectrum = stft(wave)
        magnitude = np.sqrt(spectrum.real**2 + spectrum.imag**2 + MAGNITUDE_EPSILON)
        change = np.float32(relaxation) * (mel - log_of_bands(magnitude))
        change = np.clip(change, -LARGEST_CORRECTION, LARGEST_CORRECTION)
        wave = inverse_stft(spectrum * np.exp(bins_from_bands(change)))
    return wave


def render(
    pulses: Array,
    hiss: Array,
    filters: Sequence[Array],
    mel: Array,
    corrections: int,
    relaxation: float,
    threads: int,
) -> Array:
    """`filtered` and `match_mel`, in pieces that fit a core's cache, several at once; the seams are exact.

    Args:
        filters: the last three arguments of `filtered`.
        mel: ``(80, T)``.
        corrections, relaxation: iterations of `match_mel` and its factor.
    """
    total, hop, beyond = mel.shape[1], MEL.hop_length, reach(corrections)

    def piece(first: int) -> Array:
        start, stop = max(0, first - beyond), min(total, first + PIECE + beyond)
        frames, samples = slice(start, stop), slice(start * hop, stop * hop)
        wave = filtered(pulses[samples], hiss[samples], *(x[:, frames] for x in filters))
        kept = slice((first - start) * hop, (min(first + PIECE, total) - start) * hop)
        return match_mel(wave, mel[:, frames], corrections, relaxation)[kept]

    with ThreadPoolExecutor(threads) as pool:
        try:
            pieces = list(map(Future.result, [pool.submit(piece, first) for first in range(0, total, PIECE)]))
        except RuntimeError:  # no thread starts: too many run, or the interpreter ends
            pieces = [piece(first) for first in range(0, total, PIECE)]
    return np.concatenate(pieces)
