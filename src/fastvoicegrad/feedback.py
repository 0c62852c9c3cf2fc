"""Speaker feedback: a short first conversion corrects the speaker embedding that the real one reads.

A one-step converter misses its target a little, and the source decides how. So a few seconds of the source are
converted first. With the speaker encoder E, that conversion G(x, s) of the source x, and the target's embedding s, the
converter then reads

    s' = s + w (s - E(G(x, s))).

This is one step of a fixed-point iteration; more of them gain nothing (docs/experiments/speaker-feedback.md).
"""

from __future__ import annotations

import numpy as np

from .bundle import Bundle
from .frames import Window
from .mel import Array
from .pipeline import Request, convert_mel
from .postfilter import NO_SUMS
from .reference import speaker_embedding
from .speech import Frames

LONGEST = 344  # frames (4 s) of the source that are converted first
LEAST_SPOKEN = 43  # frames (0.5 s) of speech among them below which an embedding means little


def corrected_embedding(bundle: Bundle, frames: Frames, request: Request) -> Array | None:
    """The embedding s' ``(S,)`` that the converter reads, longer than 1.

    It is None, and s stays, where the bundle has no feedback, for an adapted voice, and with hardly any speech.

    Args:
        frames: of the source.
    """
    target = request.target
    if not bundle.config.feedback or request.source is None or target.adapter:
        return None
    part = _densest(frames, LONGEST, bundle.stride)
    spoken = frames.spoken[part]
    if spoken.sum() < LEAST_SPOKEN:
        return None
    made = speaker_embedding(bundle, _converted(bundle, frames, part, request)[:, spoken])
    return target.embedding + np.float32(bundle.config.feedback) * (target.embedding - made)


def _densest(frames: Frames, longest: int, stride: int) -> slice:
    """The stretch with most of what describes the speaker, in whole strides."""
    size = min(longest, len(frames.pitch)) // stride * stride
    count = np.convolve(frames.spoken, np.ones(size), "valid") if size else np.zeros(1)
    start = int(count.argmax())
    return slice(start, start + size)


def _converted(bundle: Bundle, frames: Frames, part: slice, request: Request) -> Array:
    """The mel ``(80, T)`` of a stretch in the target's voice.

    Formants are not moved here, else feedback would move them back.
    """
    window = Window(frames.mel[:, part], 0, slice(0, part.stop - part.start))
    pitch = frames.pitch[part] * np.float32(request.pitch_ratio)
    mel = convert_mel(bundle, window, bundle.content(window.mel), pitch, request)
    return bundle.config.postfilter(mel, request.target.mel, window.keep, NO_SUMS)[0]
