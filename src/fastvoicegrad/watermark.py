"""An inaudible watermark: that of Perth (Resemble AI, MIT licence), computed in NumPy.

The package ``resemble-perth`` brings the weights. Its code needs PyTorch, so this module has the networks' arithmetic:
convolutions over magnitudes below 2 kHz predict by how much each bin is raised or lowered. A second network finds the
mark, after lossy codecs too.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .audio.arrays import Samples, checked_array
from .audio.resampling import resampled
from .errors import InputError
from .mel import Array, hann

RATE, N_FFT, HOP = 32000, 2048, 320  # of the networks: Hz, samples, samples
BANDS = 128  # bins below 2 kHz
RANGE, FLOOR = 195.0, -180.0  # dB: what magnitudes are divided by, after this is subtracted
KERNEL, DEEP = 7, 5  # frames, and layers of such a kernel between two of one frame
SLOPE = 0.01  # of the leaky rectifier
OVERLAP = N_FFT // HOP // 2 + 1  # frames to each side that a sample belongs to
CONTEXT = 2 * OVERLAP + DEEP * (KERNEL // 2)  # frames to each side that a sample depends on
CHUNK = 1000  # frames (10 s) that are marked at once
SPEEDS = (1.25, 1.0, 0.75)  # of the three parts of the detector
FOUND = 0.8  # score from which on there is a mark: of 63 conversions without one all lie below, with one all above
LOUD = 0.05  # of the loudest frame's sum of normalised magnitudes: the detector leaves out quieter ones

WEIGHTS = Path("perth_net", "pretrained", "implicit", "perth_net_250000.pth.tar")
SHA256 = "a15bce457ebc53ce5e6c9c3f11df78cf7ee2bf9cdab0a798902135b4c4027670"
NAMES = "archive/data/{}"  # tensors: weight and bias of each layer, first the encoder's, then the detector's parts'

Layers = list[tuple[Array, Array]]


def check_watermark() -> None:
    """Raises InputError where the weights of the watermark are not installed."""
    _network(0)


@cache
def _network(number: int) -> Layers:
    """Weights (out, in, kernel) and biases (out, 1) of the encoder (0), or of a part of the detector (1 to 3)."""
    found = find_spec("perth")
    path = Path(found.origin or "").parent / WEIGHTS if found else None
    if path is None or not path.is_file():
        raise InputError('a watermark needs its weights: run pip install "fastvoicegrad[watermark]"')
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise InputError("the installed resemble-perth has other weights; install version 1.0.1")
    hidden, count = 256, 2 * (DEEP + 2)
    outputs = BANDS if number == 0 else 2
    shapes = [(hidden, BANDS, 1), *[(hidden, hidden, KERNEL)] * DEEP, (outputs, hidden, 1)]
    with zipfile.ZipFile(path) as file:
        arrays = [np.frombuffer(file.read(NAMES.format(number * count + k)), "<f4") for k in range(count)]
    return [(w.reshape(shape), b[:, None]) for w, b, shape in zip(arrays[::2], arrays[1::2], shapes, strict=True)]


def _run(layers: Layers, x: Array) -> Array:
    """A network's output (out, T) for normalised magnitudes (`BANDS`, T)."""
    for index, (weight, bias) in enumerate(layers):
        reach = weight.shape[2] // 2
        padded = np.pad(x, ((0, 0), (reach, reach)))
        x = sum(weight[:, :, k] @ padded[:, k : k + x.shape[1]] for k in range(weight.shape[2])) + bias
        if index < len(layers) - 1:
            x = np.where(x > 0, x, SLOPE * x)
    return x


# -- embedding ------------------------------------------------------------------------------------------------


def marked(blocks: Iterable[Array]) -> Iterator[Array]:
    """The same signal at `RATE` with the watermark. It needs a few seconds of memory; the blocks' sizes change nothing.

    Raises:
        InputError: see `check_watermark`.
    """
    layers, context, size = _network(0), CONTEXT * HOP, CHUNK * HOP
    buffer, total, done = np.zeros(context, np.float32), 0, 0
    for block in blocks:
        buffer, total = np.concatenate([buffer, block]), total + len(block)
        while len(buffer) >= size + 2 * context:
            yield _marked(layers, buffer[: size + 2 * context])
            buffer, done = buffer[size:], done + size
    rest = total - done
    whole = -(-rest // HOP) * HOP
    if rest:
        buffer = np.pad(buffer[: context + rest], (0, whole - rest + context))
        yield _marked(layers, buffer)[:rest]


def _marked(layers: Layers, wave: Array) -> Array:
    """Samples of whole hops without the context at both ends."""
    spectrum = _stft(wave)[:, :BANDS]
    change = _run(layers, _normalised(spectrum).T).T * (RANGE / 20)
    added = _inverse_stft(spectrum * (10.0**change - 1), len(wave))
    kept = slice(CONTEXT * HOP, len(wave) - CONTEXT * HOP)
    return np.asarray(wave[kept] + added[kept], np.float32)


def _stft(wave: Array) -> NDArray[np.complex64]:
    """Frames in the middle of which every `HOP`-th sample lies, (T, 1025); silence beyond the ends."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wave, N_FFT // 2), N_FFT)[::HOP]
    return np.fft.rfft(frames * hann(N_FFT)).astype(np.complex64)


def _inverse_stft(bins: NDArray[np.complex64], samples: int) -> Array:
    """Overlap-add of windowed frames whose higher bins are 0: the inverse of `_stft`."""
    frames = np.fft.irfft(bins, N_FFT) * hann(N_FFT)
    wave, weight = (np.zeros(samples + N_FFT) for _ in range(2))
    for index, frame in enumerate(frames):
        place = slice(index * HOP, index * HOP + N_FFT)
        wave[place] += frame
        weight[place] += np.square(hann(N_FFT))
    kept = slice(N_FFT // 2, N_FFT // 2 + samples)
    return np.asarray(wave[kept] / np.maximum(weight[kept], 1e-3), np.float32)


def _normalised(spectrum: NDArray[np.complex64]) -> Array:
    decibels = 20 * np.log10(np.maximum(np.abs(spectrum), 1e-9))
    return np.asarray((decibels - FLOOR) / RANGE, np.float32)


# -- detection ------------------------------------------------------------------------------------------------


def watermark_score(wave: Samples, rate: int) -> float:
    """How surely a recording carries the watermark: near 1 with it, below `FOUND` without. Some seconds are enough.

    Args:
        wave: ``(N,)`` or ``(N, channels)``.
        rate: in Hz.
    Raises:
        InputError: see `check_watermark`; also other shapes, and samples that are no numbers.
    """
    (track,), rate = checked_array(wave, rate, lambda sentence: None)
    samples = np.concatenate(list(resampled(iter([track]), rate, RATE)))
    magnitudes = _normalised(_stft(samples)).T
    loudness = magnitudes.sum(0)
    loud = loudness > LOUD * loudness.max()
    if not loud.any():
        return 0.0
    scores, weights = zip(*(_part(number, magnitudes[:BANDS], loud) for number in (1, 2, 3)), strict=True)
    shares = np.exp(np.array(weights) - max(weights))
    return float(np.clip(np.dot(scores, shares / shares.sum()), 0.0, 1.0))


def _part(number: int, magnitudes: Array, loud: NDArray[np.bool_]) -> tuple[float, float]:
    """Score and weight by a part of the detector, which reads the frames at another speed."""
    count = magnitudes.shape[1]
    at = np.linspace(0, count - 1, max(1, int(count * SPEEDS[number - 1])))
    before = np.minimum(at.astype(int), max(count - 2, 0))
    after, share = np.minimum(before + 1, count - 1), (at - before).astype(np.float32)
    stretched = magnitudes[:, before] * (1 - share) + magnitudes[:, after] * share
    weight, score = _run(_network(number), stretched)[:, loud[(np.arange(len(at)) * count) // len(at)]].mean(1)
    return float(score), float(weight)
