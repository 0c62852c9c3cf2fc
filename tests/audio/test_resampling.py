from __future__ import annotations

import numpy as np

from fastvoicegrad.audio import fit_length
from fastvoicegrad.audio.resampling import resampled


def test_fit_length_cuts_or_fills_with_silence() -> None:
    blocks = [np.ones(5, np.float32), np.ones(5, np.float32)]
    for samples in (3, 5, 9, 10, 14):
        out = np.concatenate(list(fit_length(iter(blocks), samples)))
        assert len(out) == samples
        assert out.sum() == min(samples, 10)


def test_no_stereo_blocks_at_another_rate_give_nothing() -> None:
    """A chained file may end behind the headers of its next part."""
    assert sum(len(block) for block in resampled(iter(()), 48000, 44100, 2)) == 0
