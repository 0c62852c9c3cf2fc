from __future__ import annotations

import numpy as np

from fastvoicegrad.audio import fit_length


def test_fit_length_cuts_or_fills_with_silence() -> None:
    blocks = [np.ones(5, np.float32), np.ones(5, np.float32)]
    for samples in (3, 5, 9, 10, 14):
        out = np.concatenate(list(fit_length(iter(blocks), samples)))
        assert len(out) == samples
        assert out.sum() == min(samples, 10)
