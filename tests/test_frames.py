from __future__ import annotations

import numpy as np

from fastvoicegrad.frames import mel_frames, windows
from fastvoicegrad.mel import log_mel


def testmel_frames_do_not_depend_on_blocks(speech: np.ndarray) -> None:
    speech = speech[: 1024 * 40]
    for pieces in (1, 2, 17, 400):
        frames = np.concatenate(list(mel_frames(iter(np.array_split(speech, pieces)), 1.0, 4)), axis=1)
        np.testing.assert_allclose(frames, log_mel(speech), atol=1e-5)


def test_windows_cover_every_frame_once_with_context() -> None:
    frames = np.arange(1000, dtype=np.float32)[None].repeat(80, 0)
    kept = []
    for window in windows(iter(np.array_split(frames, 13, axis=1)), 96, 20, 12, 4):
        length = window.mel.shape[1]
        first, last = window.start + window.keep.start, window.start + window.keep.stop
        np.testing.assert_array_equal(window.mel[0], np.arange(window.start, window.start + length))
        assert window.start == max(0, first - 20)
        assert window.start + length >= min(1000, last + 12)
        assert window.start % 4 == length % 4 == 0
        kept.append(window.mel[0, window.keep])
    np.testing.assert_array_equal(np.concatenate(kept), np.arange(1000))
