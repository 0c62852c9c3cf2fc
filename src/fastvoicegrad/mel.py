"""The one mel definition that every network of this project reads (HiFi-GAN V1, arXiv 2010.05646).

22,050 Hz, 80 Slaney bins between 0 and 8 kHz, 1024-point frames every 256 samples, natural log. Nothing is
centred: frame ``i`` covers the samples ``256 i - 384 ... 256 i + 639``, so its middle is the middle of hop
``i`` and ``N`` samples give exactly ``N // 256`` frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class MelConfig:
    """Settings of the front-end. The defaults are those of the paper and of every HiFi-GAN checkpoint."""

    sample_rate: int = 22050
    n_fft: int = 1024
    hop_length: int = 256
    n_mels: int = 80
    fmin: float = 0.0
    fmax: float = 8000.0
    floor: float = 1e-5  # below this magnitude the log is cut

    @property
    def padding(self) -> int:
        """Samples that a frame reaches beyond its own hop, on each side."""
        return (self.n_fft - self.hop_length) // 2


MEL = MelConfig()
MAGNITUDE_EPSILON = 1e-9  # inside the root, as in HiFi-GAN: keeps its gradient finite


def hz_to_mel(hz: Array | float) -> NDArray[np.float64]:
    """Slaney's scale: linear below 1 kHz, logarithmic above."""
    hz = np.asarray(hz, dtype=np.float64)
    return np.where(hz < 1000.0, hz * 3 / 200, 15.0 + 27.0 * np.log(np.maximum(hz, 1e-9) / 1000.0) / np.log(6.4))


def mel_to_hz(mel: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Inverse of `hz_to_mel`."""
    mel = np.asarray(mel, dtype=np.float64)
    return np.where(mel < 15.0, mel * 200 / 3, 1000.0 * np.exp((mel - 15.0) * np.log(6.4) / 27.0))


@lru_cache(maxsize=8)
def filterbank(config: MelConfig = MEL) -> Array:
    """Triangular filters of unit area, shape ``(n_mels, n_fft // 2 + 1)``."""
    edges = mel_to_hz(np.linspace(hz_to_mel(config.fmin), hz_to_mel(config.fmax), config.n_mels + 2))
    bins = np.linspace(0.0, config.sample_rate / 2, config.n_fft // 2 + 1)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return (triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)


@lru_cache(maxsize=8)
def bands_of_bins(config: MelConfig = MEL) -> Array:
    """Share of each mel band in each FFT bin, shape ``(n_fft // 2 + 1, n_mels)``.

    Rows add up to 1. Bins below the first band belong to that band; bins above the last band belong to none.
    """
    filters = filterbank(config)
    shares = (filters / np.maximum(filters.sum(0), 1e-12)).T
    shares[: np.flatnonzero(filters.sum(0))[0], 0] = 1.0
    return np.ascontiguousarray(shares, dtype=np.float32)


@lru_cache(maxsize=8)
def cosine_basis(cosines: int, config: MelConfig = MEL) -> Array:
    """The lowest `cosines` DCT components over the mel bands, orthonormal rows, shape ``(cosines, n_mels)``."""
    bands = (np.arange(config.n_mels) + 0.5) / config.n_mels
    basis = np.cos(np.pi * np.arange(cosines)[:, None] * bands)
    return np.asarray(basis / np.linalg.norm(basis, axis=1, keepdims=True), np.float32)


def lowpass_projection(cosines: int, config: MelConfig = MEL) -> Array:
    """Matrix ``(n_mels, n_mels)`` that keeps the lowest `cosines` DCT components of a log-mel frame.

    3 components are the spectral tilt, about 30 the formants; all 80 are the frame itself.
    """
    basis = cosine_basis(cosines, config)
    return np.asarray(basis.T @ basis)


def lowpass(mel: Array, cosines: int) -> Array:
    """`lowpass_projection` of frames ``(n_mels, T)``."""
    basis = cosine_basis(cosines)
    return np.einsum("cb,ct->bt", basis, np.einsum("cb,bt->ct", basis, mel))


@lru_cache(maxsize=8)
def hann(size: int) -> Array:
    """Periodic Hann window, shape ``(size,)``."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)


@lru_cache(maxsize=8)
def _band_edges(config: MelConfig) -> tuple[NDArray[np.intp], Array, Array]:
    """How the triangular filters overlap: between two edges a bin rises into one band and falls out of the one before.

    Returns:
        the first bin of each of the n_mels + 1 intervals, and the rising and falling weights of each bin (K,).
    """
    filters = filterbank(config)
    edges = mel_to_hz(np.linspace(hz_to_mel(config.fmin), hz_to_mel(config.fmax), config.n_mels + 2))
    bins = np.linspace(0.0, config.sample_rate / 2, config.n_fft // 2 + 1)
    inside = bins < edges[-1]
    interval = np.searchsorted(edges, bins[inside], side="right") - 1
    padded = np.pad(filters[:, inside], ((1, 1), (0, 0)))  # no band before the first, none after the last
    columns = np.arange(int(inside.sum()))
    return (
        np.searchsorted(interval, np.arange(config.n_mels + 1)),
        padded[interval + 1, columns],
        padded[interval, columns],
    )


def log_of_bands(magnitude: Array, config: MelConfig = MEL) -> Array:
    """Natural log of the mel bands of magnitudes ``(T, n_fft // 2 + 1)``: ``(n_mels, T)``.

    Each bin belongs to two bands at most, so sums over intervals replace the product with `filterbank`. They are as
    fast, and unlike BLAS they give the same bytes for every number of threads.
    """
    first, rising, falling = _band_edges(config)
    inside = magnitude[:, : len(rising)]
    up = np.add.reduceat(inside * rising, first, axis=1)
    down = np.add.reduceat(inside * falling, first, axis=1)
    return np.log(np.maximum((up[:, :-1] + down[:, 1:]).T, config.floor)).astype(np.float32)


@lru_cache(maxsize=8)
def _two_bands(config: MelConfig) -> tuple[NDArray[np.intp], Array, Array]:
    """The lower band that a bin belongs to, and its weights in that band and the next: `bands_of_bins` in short."""
    shares = bands_of_bins(config)
    lower = np.minimum((shares > 0).argmax(1), config.n_mels - 2)
    rows = np.arange(len(shares))
    return lower, shares[rows, lower], shares[rows, lower + 1]


def bins_from_bands(bands: Array, config: MelConfig = MEL) -> Array:
    """Values of bands ``(n_mels, T)`` spread to bins, ``(T, n_fft // 2 + 1)``, by `bands_of_bins`."""
    lower, first, second = _two_bands(config)
    columns = np.ascontiguousarray(bands.T)
    return np.asarray(columns[:, lower] * first + columns[:, lower + 1] * second, np.float32)


def log_mel_of_padded(wave: Array, config: MelConfig = MEL) -> Array:
    """Log-mel of a signal that already carries its context, without any padding.

    Args:
        wave: ``(N + n_fft - hop_length,)``, samples at ``config.sample_rate``.
    Returns:
        ``(n_mels, N // hop_length)``, natural log of the mel magnitudes.
    """
    frames = np.lib.stride_tricks.sliding_window_view(wave, config.n_fft)[:: config.hop_length]
    spectrum = np.fft.rfft(frames * hann(config.n_fft))
    power = spectrum.real**2 + spectrum.imag**2
    magnitude = np.sqrt(power + MAGNITUDE_EPSILON).astype(np.float32)
    return log_of_bands(magnitude, config)


def log_mel(wave: Array, config: MelConfig = MEL) -> Array:
    """Log-mel of a whole signal, mirrored at both ends.

    Args:
        wave: ``(N,)``, samples at ``config.sample_rate``; at least one frame's padding plus one long.
    Returns:
        ``(n_mels, N // hop_length)``.
    Raises:
        ValueError: the signal is too short to be mirrored.
    """
    if len(wave) <= config.padding:
        raise ValueError(f"{len(wave)} samples are fewer than one frame ({config.padding + 1} needed)")
    return log_mel_of_padded(np.pad(wave, config.padding, mode="reflect"), config)
