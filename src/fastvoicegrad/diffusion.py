"""The diffusion process as arithmetic: no network, no framework (NumPy arrays and torch tensors alike).

Notation (FastVoiceGrad, arXiv 2409.02245, section 2): ``x0`` a normalised log-mel, ``t`` in 1..T a step,
``alpha_bar[t]`` the share of signal power at that step, ``eps`` standard normal noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

X = TypeVar("X")  # an array or a tensor: anything with arithmetic
InitialState = Literal["diffused", "clean", "noise"]

NOISE_BLOCK = 64  # frames that share one counter of the noise generator


def cosine_schedule(steps: int = 1000, offset: float = 0.008, max_beta: float = 0.999) -> NDArray[np.float64]:
    """alpha_bar of the cosine schedule (arXiv 2102.09672, eq. 17), shape ``(steps + 1,)``; entry 0 is 1."""
    t = np.arange(steps + 1) / steps
    f = np.cos((t + offset) / (1 + offset) * math.pi / 2) ** 2
    beta = np.minimum(1 - f[1:] / f[:-1], max_beta)
    return np.concatenate([[1.0], np.cumprod(1 - beta)])


def diffuse(x0: X, eps: X, alpha_bar: X | float) -> X:
    """x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps."""
    return alpha_bar**0.5 * x0 + (1 - alpha_bar) ** 0.5 * eps  # type: ignore[operator]


def initial_state(kind: InitialState, x0: X, eps: X, alpha_bar: X | float) -> X:
    """The initial state x_{S_K} (FastVoiceGrad section 3).

    "diffused", the paper's choice: the source diffused to S_K. "clean": the source itself. "noise": noise alone.

    Raises:
        ValueError: there is no such state.
    """
    if kind not in get_args(InitialState):
        raise ValueError(f"initial state '{kind}' is none of {', '.join(get_args(InitialState))}")
    if kind == "diffused":
        return diffuse(x0, eps, alpha_bar)
    return x0 if kind == "clean" else eps


def x0_from_eps(x_t: X, eps: X, alpha_bar: X | float) -> X:
    """The inverse of `diffuse`: x0 = (x_t - sqrt(1 - alpha_bar) eps) / sqrt(alpha_bar)."""
    return (x_t - (1 - alpha_bar) ** 0.5 * eps) / alpha_bar**0.5  # type: ignore[operator]


def eps_from_x0(x_t: X, x0: X, alpha_bar: X | float) -> X:
    """eps = (x_t - sqrt(alpha_bar) x0) / sqrt(1 - alpha_bar)."""
    return (x_t - alpha_bar**0.5 * x0) / (1 - alpha_bar) ** 0.5  # type: ignore[operator]


def guided(x0: X, other: X, weight: float, project: Callable[[X], X]) -> X:
    """Classifier-free guidance (arXiv 2207.12598): x0 + w P(x0 - other). Not in the paper.

    Args:
        x0, other: estimates ``(80, T)`` under the wanted condition and under another one.
        weight: w.
        project: P, which keeps a part of the difference.
    """
    return x0 + weight * project(x0 - other)  # type: ignore[operator,return-value]


def reverse_step(x_t: X, eps: X, noise: X | float, alpha_bar: float, previous_alpha_bar: float) -> X:
    """One ancestral step from alpha_bar to previous_alpha_bar (VoiceGrad, arXiv 2010.02977).

    mu = (x_t - (1 - a) / sqrt(1 - alpha_bar) eps) / sqrt(a) with a = alpha_bar / previous_alpha_bar, plus
    ``noise`` times the posterior's standard deviation, which is 0 on the step to ``previous_alpha_bar = 1``.
    """
    a = alpha_bar / previous_alpha_bar
    mu = (x_t - (1 - a) / (1 - alpha_bar) ** 0.5 * eps) / a**0.5
    sigma = ((1 - previous_alpha_bar) / (1 - alpha_bar) * (1 - a)) ** 0.5
    return mu + sigma * noise


def subsequence(steps: int, last: int) -> list[int]:
    """K evenly spaced steps S_1 < ... < S_K = ``last``.

    Raises:
        ValueError: more steps than there are.
    """
    if not 1 <= steps <= last:
        raise ValueError(f"steps must lie between 1 and {last}, got {steps}")
    return [round(last * k / steps) for k in range(1, steps + 1)]


def sample(
    predict_x0: Callable[[X, int], X],
    x: X,
    steps: list[int],
    alpha_bar: NDArray[np.float64],
    noise: Callable[[int], X],
) -> X:
    """The K-step sampler, from ``x`` at step S_K down to x0. With K = 1 this is the paper's single step.

    The last step to ``alpha_bar = 1`` is the estimate of x0 itself.

    Args:
        predict_x0: (x_t, t) -> x0.
        steps: S_1 < ... < S_K.
        noise: fresh standard normal noise for the k-th step counted from the start (not called on the last).
    """
    for k in range(len(steps) - 1, 0, -1):
        t, previous = float(alpha_bar[steps[k]]), float(alpha_bar[steps[k - 1]])
        eps = eps_from_x0(x, predict_x0(x, steps[k]), t)
        x = reverse_step(x, eps, noise(len(steps) - k), t, previous)
    return predict_x0(x, steps[0])


def frame_noise(seed: int, start: int, frames: int, n_mels: int = 80, stream: int = 0) -> NDArray[np.float32]:
    """Standard normal noise of the absolute frames start..start+frames-1, shape ``(n_mels, frames)``.

    It depends on (seed, stream, frame) alone, so chunks, batches and streams draw the same noise as the whole file.
    ``stream`` numbers the draws of one conversion (0: initial state, k: k-th reverse step). Frames before 0 exist too.
    """
    first, last = start // NOISE_BLOCK, (start + frames - 1) // NOISE_BLOCK
    blocks = []
    for block in range(first, last + 1):
        counter = np.array([0, 0, stream, block % 2**32], dtype=np.uint64)
        generator = np.random.Generator(np.random.Philox(key=seed, counter=counter))
        blocks.append(generator.standard_normal((NOISE_BLOCK, n_mels), dtype=np.float32))
    offset = start - first * NOISE_BLOCK
    return np.ascontiguousarray(np.concatenate(blocks)[offset : offset + frames].T)
