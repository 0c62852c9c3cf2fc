"""Pitch of the output: its height against the target's, its contour and duration against the source's."""

from __future__ import annotations

import numpy as np

from ..training.data.corpus import Recording
from ..training.data.teachers import pitch
from .metrics import RATE, Column, Figures, Metric, Utterance, fingerprints, load_16k, memoised

HOP = 0.01  # seconds between two frames


def contour(wave: np.ndarray) -> np.ndarray:
    """(N,) at 16 kHz -> F0 in Hz every 10 ms, 0 where unvoiced."""
    return pitch(wave, np.arange(0, len(wave) / RATE, HOP))


def median(*contours: np.ndarray) -> float:
    """Median F0 of the voiced frames; NaN where there is none."""
    voiced = np.concatenate(contours)
    voiced = voiced[voiced > 0]
    return float(np.median(voiced)) if len(voiced) else float("nan")


def correlation_and_voicing_errors(output: np.ndarray, source: np.ndarray) -> tuple[float, float]:
    """Compare two contours.

    Returns:
        The correlation of log F0 where both are voiced; NaN if undefined. The per cent of frames whose voicing differs.
    """
    frames = min(len(output), len(source))
    output, source = output[:frames], source[:frames]
    both = (output > 0) & (source > 0)
    errors = 100 * float(((output > 0) != (source > 0)).mean())
    if both.sum() < 3:
        return float("nan"), errors
    a, b = np.log(output[both]), np.log(source[both])
    constant = a.std() < 1e-6 or b.std() < 1e-6
    return float("nan") if constant else float(np.corrcoef(a, b)[0, 1]), errors


class Pitch(Metric):
    """F0 by swift-f0: medians, deviation from the target's, correlation with the source's; ratio of durations."""

    version = "swift-f0 every 10 ms"
    columns = (
        Column("F0 Hz", digits=0),
        Column("F0 source Hz", digits=0),
        Column("F0 target Hz", digits=0),
        Column("F0 deviation semitones", "lower"),
        Column("F0 correlation", "higher"),
        Column("voicing errors %", "lower", digits=1),
        Column("duration ratio", digits=3),
    )

    def __init__(self) -> None:
        self._contour = memoised(contour)

    def _contours(self, *recordings: Recording) -> list[np.ndarray]:
        return [self._contour(load_16k(recording.path)) for recording in recordings]

    def __call__(self, utterance: Utterance) -> Figures:
        pair = utterance.pair
        output, source = self._contour(utterance.wave), self._contours(pair.source)[0]
        f0, target = median(output), median(*self._contours(*pair.references))
        correlation, errors = correlation_and_voicing_errors(output, source)
        ratio = len(utterance.wave) / len(load_16k(pair.source.path))
        if not utterance.repeats_source:  # other words have another contour
            correlation = errors = ratio = float("nan")
        deviation = abs(12 * np.log2(f0 / target))
        values = (f0, median(source), target, deviation, correlation, errors, ratio)
        figures = zip(self.columns, values, strict=True)
        return {column.name: float(value) for column, value in figures if np.isfinite(value)}

    def depends(self, utterance: Utterance) -> tuple[str, ...]:
        pair = utterance.pair
        return (*fingerprints(*pair.references, pair.source), str(utterance.repeats_source))
