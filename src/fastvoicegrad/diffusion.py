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
ScheduleKind = Literal["cosine", "linear", "sigmoid", "laplace"]

NOISE_BLOCK = 64  # frames that share one counter of the noise generator


def cosine_schedule(steps: int = 1000, offset: float = 0.008, max_beta: float = 0.999) -> NDArray[np.float64]:
    """alpha_bar of the cosine schedule (arXiv 2102.09672, eq. 17), shape ``(steps + 1,)``; entry 0 is 1."""
    t = np.arange(steps + 1) / steps
    return _clipped(np.cos((t + offset) / (1 + offset) * math.pi / 2) ** 2, max_beta)


def linear_schedule(steps: int = 1000, max_beta: float = 0.999) -> NDArray[np.float64]:
    """alpha_bar of DDPM (arXiv 2006.11239, section 4): beta rises evenly from 1e-4 to .02, in units of 1000 / T."""
    beta = np.linspace(1e-4, 0.02, steps) * 1000 / steps
    return np.concatenate([[1.0], np.cumprod(1 - np.minimum(beta, max_beta))])


def sigmoid_schedule(steps: int = 1000, scale: float = 1.0, max_beta: float = 0.999) -> NDArray[np.float64]:
    """alpha_bar falls as a sigmoid from -3 to 3 (arXiv 2301.10972, algorithm 1); `scale` is its tau."""
    falling = 1 / (1 + np.exp((6 * np.arange(steps + 1) / steps - 3) / scale))
    return _clipped((falling - falling[-1]) / (falling[0] - falling[-1]), max_beta)


def laplace_schedule(steps: int = 1000, scale: float = 0.5, max_beta: float = 0.999) -> NDArray[np.float64]:
    """log SNR at evenly spaced t / T follows a Laplace distribution about 0 (arXiv 2407.03297, table 1).

    ``log SNR(t) = -b sgn(1/2 - t / T) log(1 - 2 |t / T - 1/2|)``, where `scale` is b.
    """
    t = np.arange(1, steps) / steps - 0.5
    log_snr = scale * np.sign(t) * np.log1p(-2 * np.abs(t))
    return _clipped(np.concatenate([[1.0], 1 / (1 + np.exp(-log_snr)), [0.0]]), max_beta)


def _clipped(signal: NDArray[np.float64], max_beta: float) -> NDArray[np.float64]:
    """alpha_bar of a closed form, with every beta at most `max_beta`; entry 0 becomes 1."""
    beta = np.minimum(1 - signal[1:] / signal[:-1], max_beta)
    return np.concatenate([[1.0], np.cumprod(1 - beta)])


def noise_schedule(
    kind: ScheduleKind, steps: int, *, offset: float = 0.008, scale: float = 1.0, max_beta: float = 0.999
) -> NDArray[np.float64]:
    """alpha_bar of a schedule, shape ``(steps + 1,)``. The paper's is "cosine".

    Args:
        offset: of "cosine".
        scale: tau of "sigmoid", b of "laplace".
        max_beta: largest beta of a step.
    """
    match kind:
        case "linear":
            return linear_schedule(steps, max_beta)
        case "sigmoid":
            return sigmoid_schedule(steps, scale, max_beta)
        case "laplace":
            return laplace_schedule(steps, scale, max_beta)
        case _:
            return cosine_schedule(steps, offset, max_beta)


def signal_to_noise(alpha_bar: X) -> X:
    """SNR = alpha_bar / (1 - alpha_bar) in dB; infinite at step 0."""
    with np.errstate(divide="ignore"):
        return 10 * np.log10(alpha_bar / (1 - alpha_bar))  # type: ignore[operator]


def step_at_snr(alpha_bar: NDArray[np.float64], decibels: float) -> int:
    """The step whose SNR is nearest to `decibels`: S_K of another schedule at the same noise."""
    return 1 + int(np.abs(signal_to_noise(alpha_bar[1:]) - decibels).argmin())


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
