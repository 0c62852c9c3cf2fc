"""Several streams at once: their calls of a network become one call, which takes far less time than one for each."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from ..mel import Array
from .bundle import StreamBundle

TIMED = ("mel", "content", "pitch")  # inputs whose second axis is the frames
Inputs = dict[str, Array]  # of one stream: the first axis is a batch of one, the second of the first one the frames


def run_all(bundle: StreamBundle, name: str, streams: Sequence[Inputs]) -> list[list[Array]]:
    """A network's outputs for each stream, its next state last.

    Raises:
        InputError: `StreamBundle.run` raises it for at least one of them.
    """
    groups = dict[Hashable, list[int]]()
    for number, inputs in enumerate(streams):
        groups.setdefault(_kind(inputs), []).append(number)
    outputs: list[list[Array]] = [[]] * len(streams)
    for numbers in groups.values():
        for number, output in zip(numbers, _run_alike(bundle, name, [streams[n] for n in numbers]), strict=True):
            outputs[number] = output
    return outputs


def _frames(inputs: Inputs) -> int:
    return next(iter(inputs.values())).shape[1]


def _kind(inputs: Inputs) -> Hashable:
    """Streams of one kind share a call. Networks are causal, so frames that a stream lacks can be filled up."""
    filled = 1 << max(1, (_frames(inputs) - 1).bit_length())  # the next power of two
    return filled, *[array.shape for name, array in inputs.items() if name not in TIMED]


def _run_alike(bundle: StreamBundle, name: str, streams: Sequence[Inputs]) -> list[list[Array]]:
    """Outputs for streams of one kind."""
    inputs = streams[0]
    if len(streams) > 1:
        inputs = {key: _stacked([one[key] for one in streams]) for key in inputs}
    *outputs, windows = bundle.run(name, **inputs)
    past = windows.shape[1] - outputs[0].shape[1]
    counts = [_frames(one) for one in streams]
    return [
        [x[row : row + 1, :count] for x in outputs] + [windows[row : row + 1, count : count + past]]
        for row, count in enumerate(counts)
    ]


def _stacked(arrays: Sequence[Array]) -> Array:
    """Arrays ``(1, n, ...)`` as one; those with fewer frames end with zeros."""
    if len({array.shape for array in arrays}) == 1:
        return np.concatenate(arrays)
    longest = max(array.shape[1] for array in arrays)
    stacked = np.zeros((len(arrays), longest, *arrays[0].shape[2:]), np.float32)
    for row, array in zip(stacked, arrays, strict=True):
        row[: array.shape[1]] = array[0]
    return stacked
