"""The mel front-end of streams: frames of `mel.log_mel` with a narrower window, which waits for fewer samples.

Frame ``k`` has its middle in the middle of hop ``k``. With a window of 1,024 samples it is that of `mel.log_mel`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..mel import MAGNITUDE_EPSILON, MEL, Array, hann, log_of_bands

WINDOWS = (512, 768, 1024)  # samples


def beyond(width: int) -> int:
    """Samples after a hop that its frame waits for."""
    return (width - MEL.hop_length) // 2


@lru_cache(maxsize=4)
def front_window(width: int) -> Array:
    """Hann window ``(width,)`` whose frames are as loud as those of the full one."""
    return np.asarray(hann(width) * np.float32(MEL.n_fft / width))


def framed(samples: Array, width: int, hop: int = 1) -> Array:
    """Windows of samples, which share their memory: ``(..., N)`` in one piece -> ``(..., n, width)``.

    It does what `sliding_window_view` does, in a tenth of the time.
    """
    count, size = (samples.shape[-1] - width) // hop + 1, samples.itemsize
    strides = (*samples.strides[:-1], hop * size, size)
    return np.ndarray((*samples.shape[:-1], count, width), samples.dtype, samples, strides=strides)


def stream_mel(samples: Array, width: int) -> Array:
    """Log-mel ``(n, 80)`` of samples ``(256 n + width - 256,)``, which carry their context."""
    return mel_of_windows(framed(samples, width, MEL.hop_length))


def mel_of_windows(windows: Array) -> Array:
    """Log-mel ``(n, 80)`` of windows of samples ``(n, width)``."""
    spectrum = np.fft.rfft(windows * front_window(windows.shape[1]), MEL.n_fft)
    magnitude = np.sqrt(spectrum.real**2 + spectrum.imag**2 + MAGNITUDE_EPSILON).astype(np.float32)
    return np.ascontiguousarray(log_of_bands(magnitude).T)
