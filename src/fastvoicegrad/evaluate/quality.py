"""How natural it sounds, by models of listeners."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from .cache import fingerprint
from .metrics import RATE, Case, Column, Figures, Metric


class Dnsmos(Metric):
    """DNSMOS P.835 (arXiv 2110.01763), from `speechmos`: signal, background, overall."""

    version = "DNSMOS P.835 (speechmos)"
    columns = (Column("DNSMOS", "higher"), Column("DNSMOS signal", "higher"), Column("DNSMOS background", "higher"))

    @cached_property
    def model(self) -> Any:
        from speechmos import dnsmos

        folder = Path(dnsmos.__file__).parent / "dnsmos_models"
        paths = [str(folder / name) for name in ("sig_bak_ovr.onnx", "model_v8.onnx")]
        model = dnsmos.DNSMOS(*paths)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # several processes judge at once, and each would take every core
        model.onnx_sess, model.p808_onnx_sess = (onnxruntime.InferenceSession(path, options) for path in paths)
        return model

    def __call__(self, case: Case) -> Figures:
        peak = max(1.0, float(np.abs(case.wave).max()))
        scores = self.model(case.wave / peak, RATE, False)
        kinds = {"DNSMOS": "ovrl_mos", "DNSMOS signal": "sig_mos", "DNSMOS background": "bak_mos"}
        return {name: float(scores[kind]) for name, kind in kinds.items()}


class DistillMos(Metric):
    """DistillMOS (arXiv 2502.05356)."""

    version = "DistillMOS v7 (distillmos)"
    columns = (Column("DistillMOS", "higher"),)

    @cached_property
    def model(self) -> Any:
        import distillmos

        return distillmos.ConvTransformerSQAModel().eval()

    @torch.inference_mode()
    def __call__(self, case: Case) -> Figures:
        return {"DistillMOS": float(self.model(torch.from_numpy(case.wave)[None])[0])}


class Utmos(Metric):
    """UTMOS (arXiv 2204.02152) as a TorchScript file that maps (B, N) at 16 kHz to (B,)."""

    columns = (Column("UTMOS", "higher"),)

    def __init__(self, weights: str) -> None:
        self.weights = weights
        self.version = f"UTMOS, {fingerprint(weights)[:8]}"

    @cached_property
    def model(self) -> Any:
        return torch.jit.load(self.weights, map_location="cpu").eval()

    @torch.inference_mode()
    def __call__(self, case: Case) -> Figures:
        return {"UTMOS": float(self.model(torch.from_numpy(case.wave)[None]).reshape(-1)[0])}
