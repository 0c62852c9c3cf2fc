"""How natural it sounds, by models of listeners."""

from __future__ import annotations

import numpy as np
import torch

RATE = 16000


class Dnsmos:
    """DNSMOS P.835, overall score (arXiv 2110.01763), from `speechmos`."""

    name = "DNSMOS P.835 overall"

    def __call__(self, wave: np.ndarray) -> float:
        from speechmos import dnsmos

        peak = max(1.0, float(np.abs(wave).max()))
        return float(dnsmos.run(wave / peak, RATE, return_df=False, verbose=False)["ovrl_mos"])


class DistillMos:
    """DistillMOS (arXiv 2502.05356)."""

    name = "DistillMOS"

    def __init__(self) -> None:
        import distillmos

        self.model = distillmos.ConvTransformerSQAModel().eval()

    @torch.inference_mode()
    def __call__(self, wave: np.ndarray) -> float:
        return float(self.model(torch.from_numpy(wave)[None])[0])
