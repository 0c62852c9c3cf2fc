"""Several streams at once: their calls of a network become one call, which takes far less time than one for each."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from ..mel import Array
from .bundle import StreamBundle

TIMED = ("mel", "content", "pitch")  # inputs of networks whose second axis is the frames
Answer = Sequence[Any] | InputError


class Call(NamedTuple):
    """What a stream waits for: a step of its conversion.

    Attributes:
        step: a network's name, or a function of arrays that gives arrays.
        inputs: of one stream. The first axis of each array is a batch of one. The second axis of a network's first
            input is the frames.
    """

    step: str | Callable[..., Sequence[Any]]
    inputs: dict[str, Any]

    @property
    def frames(self) -> int:
        """Of a network's call."""
        return int(next(iter(self.inputs.values())).shape[1])


def run_all(bundle: StreamBundle, calls: Sequence[Call]) -> list[Answer]:
    """For each call its outputs, the next state last, or the error that `StreamBundle.run` raises for it."""
    groups = dict[Hashable, list[int]]()
    for number, call in enumerate(calls):
        groups.setdefault(_kind(call), []).append(number)
    answers = dict[int, Answer]()
    for numbers in groups.values():
        answers.update(zip(numbers, _run_alike(bundle, [calls[number] for number in numbers]), strict=True))
    return [answers[number] for number in range(len(calls))]


def _kind(call: Call) -> Hashable:
    """Calls of one kind become one. Networks are causal, so frames that a stream lacks can be filled up."""
    if callable(call.step):
        return call.step, *[array.shape for array in call.inputs.values()]
    filled = 1 << max(1, (call.frames - 1).bit_length())  # the next power of two
    return call.step, filled, *[array.shape for name, array in call.inputs.items() if name not in TIMED]


def _run_alike(bundle: StreamBundle, calls: Sequence[Call]) -> list[Answer]:
    """Answers of calls of one kind."""
    step, inputs = calls[0]
    if len(calls) > 1:
        inputs = {name: _stacked([call.inputs[name] for call in calls]) for name in inputs}
    try:
        outputs = step(**inputs) if callable(step) else bundle.run(step, **inputs)
    except InputError as error:  # perhaps of one stream alone
        return [error] if len(calls) == 1 else [_run_alike(bundle, [call])[0] for call in calls]
    if callable(step):
        return [[x[row : row + 1] for x in outputs] for row in range(len(calls))]
    return [_of_stream(outputs, row, call.frames) for row, call in enumerate(calls)]


def _stacked(arrays: Sequence[Array]) -> Array:
    """Arrays ``(1, n, ...)`` as one; those with fewer frames end with zeros."""
    if len({array.shape for array in arrays}) == 1:
        return np.concatenate(arrays)
    longest = max(array.shape[1] for array in arrays)
    stacked = np.zeros((len(arrays), longest, *arrays[0].shape[2:]), np.float32)
    for row, array in zip(stacked, arrays, strict=True):
        row[: array.shape[1]] = array[0]
    return stacked


def _of_stream(outputs: Sequence[Array], row: int, frames: int) -> list[Array]:
    """A stream's share of a network's outputs, the next state last."""
    *results, windows = (x[row : row + 1] for x in outputs)
    past = windows.shape[1] - results[0].shape[1]
    return [x[:, :frames] for x in results] + [windows[:, frames : frames + past]]
