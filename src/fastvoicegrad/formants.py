"""Formants of a mel moved up or down, as a shorter or longer vocal tract moves them; the pitch stays.

The low cosines of a log-mel frame over the bands are its envelope, which holds the formants; the higher ones hold the
harmonics. Only the envelope is stretched along the frequency axis (vocal tract length normalisation: Lee and Rose,
IEEE Trans. Speech and Audio Processing, 1998).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .errors import InputError
from .mel import MEL, Array, cosine_basis, hz_to_mel, mel_to_hz

MOST_FORMANT = 12.0  # semitones to each side
COSINES = 32  # that are moved at most: more detail is no formant
BELOW_HARMONICS = 0.7  # as a share of the cosine whose period over the low bands is the distance of two harmonics
TAPER = 6.0  # cosines over which the share that is moved falls to 0
SPACING = float(hz_to_mel(MEL.fmax)) / (MEL.n_mels + 1)  # mels between two bands


def check_formant(semitones: float) -> None:
    """Raises InputError where formants are not moved by so much."""
    if not -MOST_FORMANT <= semitones <= MOST_FORMANT:
        raise InputError(f"formant must lie between -{MOST_FORMANT:g} and {MOST_FORMANT:g}, got {semitones:g}")


def move_formants(mel: Array, pitch: Array, semitones: float) -> Array:
    """Move the formants of log-mel frames; each frame depends on itself alone.

    Args:
        mel: ``(80, T)``.
        pitch: ``(T,)`` in Hz, 0 where unvoiced: up to which detail a frame's harmonics stay.
        semitones: by which the formants rise.
    Returns:
        ``(80, T)``.
    """
    if semitones == 0:
        return mel
    envelope = np.einsum("cb,bt->ct", cosine_basis(COSINES), mel) * envelope_shares(pitch)
    return np.asarray(mel + np.einsum("cb,ct->bt", _change(semitones), envelope), np.float32)


def envelope_shares(pitch: Array) -> Array:
    """Share of each cosine (`COSINES`, T) that belongs to the envelope at a pitch (T,) in Hz."""
    harmonics = 2 * MEL.n_mels * mel_to_hz(SPACING) / np.maximum(pitch, 1.0)
    last = np.minimum(BELOW_HARMONICS * harmonics, COSINES)
    return np.clip((last - np.arange(COSINES)[:, None]) / TAPER, 0.0, 1.0).astype(np.float32)


@lru_cache(maxsize=8)
def _change(semitones: float) -> Array:
    """The cosines at the bands from which a stretched envelope comes, less those at its own: (`COSINES`, 80).

    The stretched envelope at a frequency f is the envelope at f / ratio. Beyond the last band it stays level.
    """
    own = np.arange(MEL.n_mels, dtype=np.float64)
    origin = hz_to_mel(mel_to_hz((own + 1) * SPACING) / 2.0 ** (semitones / 12)) / SPACING - 1
    order = np.pi * np.arange(COSINES)[:, None]
    here, there = (np.cos(order * (bands + 0.5) / MEL.n_mels) for bands in (own, np.clip(origin, 0, own[-1])))
    return np.asarray((there - here) / np.linalg.norm(here, axis=1, keepdims=True), np.float32)
