"""Log-mel frames of a signal that arrives in blocks, and windows of them with context.

Whatever the blocks are, the frames equal those of the whole signal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from .mel import MEL, Array, log_mel_of_padded


@dataclass(frozen=True)
class Window:
    """Mel frames (80, T) from the absolute frame `start` on, of which those in `keep` are new."""

    mel: Array
    start: int
    keep: slice

    def around(self, left: int, right: int) -> slice:
        """The new frames with so many frames of context, as far as there are any."""
        return slice(max(0, self.keep.start - left), min(self.mel.shape[1], self.keep.stop + right))

    def part(self, frames: slice) -> Window:
        """The window with fewer frames of context."""
        keep = slice(self.keep.start - frames.start, self.keep.stop - frames.start)
        return Window(self.mel[:, frames], self.start + frames.start, keep)


def mel_frames(blocks: Iterable[Array], gain: float, stride: int) -> Iterator[Array]:
    """Log-mel frames (80, n) of blocks of samples at 22,050 Hz, equal to those of `log_mel`.

    Silence fills the signal to whole hops, whose number is a multiple of `stride`.
    """
    pad, hop = MEL.padding, MEL.hop_length
    buffer, total, mirrored = np.zeros(0, np.float32), 0, False
    for block in blocks:
        buffer = np.concatenate([buffer, block * np.float32(gain)])
        total += len(block)
        if not mirrored:
            if len(buffer) <= pad:
                continue
            buffer = np.concatenate([buffer[pad:0:-1], buffer])
            mirrored = True
        # The last samples wait: if the signal ends, they are mirrored.
        count = (len(buffer) - 3 * pad) // hop
        if count > 0:
            yield log_mel_of_padded(buffer[: count * hop + 2 * pad])
            buffer = buffer[count * hop :]
    buffer = np.concatenate([buffer, np.zeros(-total % (hop * stride), np.float32)])
    if not mirrored:
        buffer = np.concatenate([buffer[pad:0:-1], buffer])
    yield log_mel_of_padded(np.concatenate([buffer, buffer[-2 : -pad - 2 : -1]]))


def windows(frames: Iterable[Array], chunk: int, left: int, right: int, stride: int) -> Iterator[Window]:
    """Cut a stream of mel frames into chunks with context.

    Args:
        chunk: new frames of a window.
        left, right: context in frames, to each side.
        stride: every window starts and ends on a multiple of it, or at the signal's end.
    """
    chunk = max(stride, chunk // stride * stride)
    buffer, base, first = np.zeros((MEL.n_mels, 0), np.float32), 0, 0
    for block in frames:
        buffer = np.concatenate([buffer, block], axis=1)
        while base + buffer.shape[1] >= first + chunk + right + stride:
            last = first + chunk
            yield Window(buffer[:, : last + right - base], base, slice(first - base, last - base))
            first = last
            start = max(0, first - left)
            buffer, base = buffer[:, start - base :], start
    yield Window(buffer, base, slice(first - base, buffer.shape[1]))
