"""The melody: whether it stands at the target's height and moves as the source's does."""

from __future__ import annotations

import numpy as np

from ..training.data.corpus import Recording
from ..training.data.teachers import pitch
from .metrics import RATE, Case, Column, Figures, Metric, heard, once, prints

STEP = 0.01  # seconds between two looks


def contour(wave: np.ndarray) -> np.ndarray:
    """(N,) at 16 kHz -> F0 in Hz every 10 ms, 0 where unvoiced."""
    return pitch(wave, np.arange(0, len(wave) / RATE, STEP))


def median(*contours: np.ndarray) -> float:
    """Of the voiced frames; not a number where there is none."""
    voiced = np.concatenate(contours)
    voiced = voiced[voiced > 0]
    return float(np.median(voiced)) if len(voiced) else float("nan")


def agreement(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """(correlation of log F0 where both are voiced, share in % of frames on whose voicing they differ)."""
    frames = min(len(ours), len(theirs))
    ours, theirs = ours[:frames], theirs[:frames]
    both = (ours > 0) & (theirs > 0)
    errors = 100 * float(((ours > 0) != (theirs > 0)).mean())
    if both.sum() < 3:
        return float("nan"), errors
    a, b = np.log(ours[both]), np.log(theirs[both])
    flat = a.std() < 1e-6 or b.std() < 1e-6
    return float("nan") if flat else float(np.corrcoef(a, b)[0, 1]), errors


class Melody(Metric):
    """F0 by swift-f0: medians of output, source and target in Hz, how far the output's lies from the target's in
    semitones, correlation of log F0 with the source's, voicing errors. Duration, against the source's."""

    version = "swift-f0, every 10 ms"
    columns = (
        Column("F0 Hz", digits=0),
        Column("F0 source Hz", digits=0),
        Column("F0 target Hz", digits=0),
        Column("F0 off target semitones", "lower"),
        Column("F0 correlation", "higher"),
        Column("voicing errors %", "lower", digits=1),
        Column("duration of source", digits=3),
    )

    def __init__(self) -> None:
        self._contour = once(contour)

    def _of(self, *recordings: Recording) -> list[np.ndarray]:
        return [self._contour(heard(recording.path)) for recording in recordings]

    def __call__(self, case: Case) -> Figures:
        ours, source = self._contour(case.wave), self._of(case.pair.source)[0]
        own, target = median(ours), median(*self._of(*case.pair.references))
        correlation, errors = agreement(ours, source)
        length = len(case.wave) / len(heard(case.pair.source.path))
        off = abs(12 * np.log2(own / target))
        if case.text != case.pair.source.text:  # natural speech says something else: nothing to follow
            correlation = errors = length = float("nan")
        values = (own, median(source), target, off, correlation, errors, length)
        figures = zip(self.columns, values, strict=True)
        return {column.name: float(value) for column, value in figures if np.isfinite(value)}

    def depends(self, case: Case) -> tuple[str, ...]:
        return (*prints(*case.pair.references, case.pair.source), str(case.text == case.pair.source.text))
