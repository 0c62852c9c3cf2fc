"""Speaker verification: scores of pairs of embeddings, and the point of equal error."""

from __future__ import annotations

import numpy as np


def verification_scores(embeddings: np.ndarray, voices: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of all pairs of embeddings (N, S) of unit length: (same voice, different voices)."""
    cosine = embeddings @ embeddings.T
    same = np.array(voices)[:, None] == np.array(voices)
    upper = np.triu(np.ones_like(same), 1)
    return cosine[same & upper], cosine[~same & upper]


def equal_error(same: np.ndarray, different: np.ndarray) -> tuple[float, float]:
    """The rate and the threshold of equal error.

    Args:
        same: scores of trials with one voice, (N,).
        different: scores of trials with two voices, (M,).
    Returns:
        The error rate (0 to 1) where false rejects equal false accepts. The score from which it accepts a trial.
    """
    candidates = np.unique(np.concatenate([same, different]))
    rejects = np.searchsorted(np.sort(same), candidates) / len(same)
    accepts = 1 - np.searchsorted(np.sort(different), candidates) / len(different)
    best = int(np.argmin(np.abs(rejects - accepts)))
    below = candidates[best - 1] if best else candidates[best] - 1.0
    return float((rejects[best] + accepts[best]) / 2), float((candidates[best] + below) / 2)
