"""What stays of the source's expression: the range of F0 and the contour of loudness.

They stand for emotion and accent, of which nothing here is a measure.
"""

from __future__ import annotations

import numpy as np

from .metrics import RATE, Column, Figures, Metric, Utterance, fingerprints, load_16k, memoised
from .pitch import contour

FRAME = RATE // 50  # samples of a frame of loudness: 20 ms
SILENCE = 1e-4  # added to each frame's RMS


def semitone_range(f0: np.ndarray) -> float:
    """Distance of the 5th and 95th percentiles of the voiced frames' F0, in semitones; NaN with few of them."""
    voiced = f0[f0 > 0]
    if len(voiced) < 10:
        return float("nan")
    low, high = np.percentile(voiced, [5, 95])
    return float(12 * np.log2(high / low))


def loudness(wave: np.ndarray) -> np.ndarray:
    """Log RMS of each frame, (T,)."""
    frames = wave[: len(wave) // FRAME * FRAME].reshape(-1, FRAME)
    return np.asarray(np.log(np.sqrt(np.square(frames).mean(1)) + SILENCE))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Of the frames that both have; NaN where one does not change."""
    frames = min(len(a), len(b))
    a, b = a[:frames], b[:frames]
    return float(np.corrcoef(a, b)[0, 1]) if frames > 2 and min(a.std(), b.std()) > 1e-6 else float("nan")


class Expression(Metric):
    """Ratio of the F0 ranges of output and source, and correlation of their loudness contours."""

    version = "swift-f0 every 10 ms, RMS every 20 ms"
    columns = (Column("F0 range ratio"), Column("loudness correlation", "higher"))

    def __init__(self) -> None:
        self._contour = memoised(contour)

    def __call__(self, utterance: Utterance) -> Figures:
        if not utterance.repeats_source:
            return {}
        source = load_16k(utterance.pair.source.path)
        ranges = [semitone_range(self._contour(wave)) for wave in (utterance.wave, source)]
        ratio = ranges[0] / ranges[1] if ranges[1] > 0 else float("nan")
        values = (ratio, correlation(loudness(utterance.wave), loudness(source)))
        figures = zip(self.columns, values, strict=True)
        return {column.name: value for column, value in figures if np.isfinite(value)}

    def depends(self, utterance: Utterance) -> tuple[str, ...]:
        return (*fingerprints(utterance.pair.source), str(utterance.repeats_source))
