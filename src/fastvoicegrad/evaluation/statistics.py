"""Means over pairs and their confidence intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A mean over pairs, the ends of its 95 % interval, and the number of utterances that have the figure."""

    mean: float
    low: float
    high: float
    count: int


def bootstrap(values: np.ndarray, weights: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Weighted means of resamples.

    Args:
        values: (N,), one per pair; NaN where a pair has none.
        weights: (N,).
        draws: (R, N), how often each pair is in a resample.
    Returns:
        (R,).
    """
    known = np.isfinite(values)
    share = draws[:, known] * weights[known]
    total = share.sum(1)
    return np.divide(share @ values[known], total, out=np.full(len(draws), np.nan), where=total > 0)


def resamples(count: int, seed: int = 0) -> np.ndarray:
    """Counts (R, N) of each of N pairs in R resamples. All systems and figures share them: differences are paired."""
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(np.float64)


def estimate(values: np.ndarray, weights: np.ndarray, draws: np.ndarray) -> Estimate | None:
    """Mean and percentile interval; None where no pair has the figure."""
    known = np.isfinite(values) & (weights > 0)
    if not known.any():
        return None
    mean = float(np.average(values[known], weights=weights[known]))
    low, high = np.nanpercentile(bootstrap(values, weights, draws), [2.5, 97.5])
    return Estimate(mean, float(low), float(high), int(known.sum()))


def difference(
    a: np.ndarray, b: np.ndarray, weights: tuple[np.ndarray, np.ndarray], draws: np.ndarray
) -> Estimate | None:
    """Mean and paired bootstrap interval of a - b for two systems on the same pairs (Efron and Tibshirani 1993)."""
    both = np.isfinite(a) & np.isfinite(b) & (weights[0] > 0) & (weights[1] > 0)
    if not both.any():
        return None
    a, b = np.where(both, a, np.nan), np.where(both, b, np.nan)
    resampled = bootstrap(a, weights[0], draws) - bootstrap(b, weights[1], draws)
    mean = float(np.average(a[both], weights=weights[0][both]) - np.average(b[both], weights=weights[1][both]))
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return Estimate(mean, float(low), float(high), int(both.sum()))
