"""Naturalness by models of listeners' ratings."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from .cache import fingerprint
from .metrics import RATE, Column, Figures, Metric, Utterance

P835 = "sig_bak_ovr.onnx"  # a model that `speechmos` ships
DNSMOS_WINDOW = 9.01  # seconds


def dnsmos_windows(wave: np.ndarray) -> np.ndarray:
    """Windows (W, 144160) of a wave (N,), one every second, as `speechmos` cuts them.

    A shorter clip is repeated until it fills a window. A last window that rounding makes shorter is left out.
    """
    wave = wave / max(1.0, float(np.abs(wave).max()))
    while len(wave) < int(DNSMOS_WINDOW * RATE):
        wave = np.append(wave, wave)
    hops = int(len(wave) // RATE - DNSMOS_WINDOW) + 1
    windows = [wave[hop * RATE : int((hop + DNSMOS_WINDOW) * RATE)] for hop in range(hops)]
    return np.stack([window for window in windows if len(window) == len(windows[0])])


def dnsmos_session(model: str) -> onnxruntime.InferenceSession:
    """One of the models that `speechmos` ships."""
    from speechmos import dnsmos

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # several processes run at once, and each would take every core
    return onnxruntime.InferenceSession(str(Path(dnsmos.__file__).parent / "dnsmos_models" / model), options)


def dnsmos_scores(session: onnxruntime.InferenceSession, wave: np.ndarray) -> tuple[float, float, float]:
    """Signal, background and overall score (DNSMOS P.835) of a wave (N,) at 16 kHz. The session is of its model."""
    from speechmos.dnsmos import DNSMOS

    (raw,) = session.run(None, {"input_1": dnsmos_windows(wave).astype(np.float32)})
    signal, background, overall = (float(scores.mean()) for scores in DNSMOS.get_polyfit_val(None, *raw.T, False))
    return signal, background, overall


class Dnsmos(Metric):
    """DNSMOS P.835 (arXiv 2110.01763), weights and scales of `speechmos`: signal, background, overall."""

    version = "DNSMOS P.835 (speechmos)"
    columns = (Column("DNSMOS", "higher"), Column("DNSMOS signal", "higher"), Column("DNSMOS background", "higher"))

    @cached_property
    def session(self) -> onnxruntime.InferenceSession:
        return dnsmos_session(P835)

    def __call__(self, utterance: Utterance) -> Figures:
        signal, background, overall = dnsmos_scores(self.session, utterance.wave)
        return {"DNSMOS": overall, "DNSMOS signal": signal, "DNSMOS background": background}


class DnsmosP808(Metric):
    """DNSMOS P.808 (arXiv 2010.15258), weights of `speechmos`: one figure, trained on P.808 ratings.

    Natural speech has about 3.75 on this scale, as in the paper's tables. On P.835's overall scale it has about 3.1.
    """

    version = "DNSMOS P.808 (speechmos)"
    columns = (Column("DNSMOS P.808", "higher"),)

    @cached_property
    def session(self) -> onnxruntime.InferenceSession:
        return dnsmos_session("model_v8.onnx")

    def __call__(self, utterance: Utterance) -> Figures:
        from speechmos.dnsmos import DNSMOS

        mels = [DNSMOS.audio_melspec(None, window[:-160]) for window in dnsmos_windows(utterance.wave)]
        (scores,) = self.session.run(None, {"input_1": np.stack(mels).astype(np.float32)})
        return {"DNSMOS P.808": float(scores.mean())}


class DistillMos(Metric):
    """DistillMOS (arXiv 2502.05356)."""

    version = "DistillMOS v7 (distillmos)"
    columns = (Column("DistillMOS", "higher"),)

    @cached_property
    def model(self) -> Any:
        import distillmos

        return distillmos.ConvTransformerSQAModel().eval()

    @torch.inference_mode()
    def __call__(self, utterance: Utterance) -> Figures:
        return {"DistillMOS": float(self.model(torch.from_numpy(utterance.wave)[None])[0])}


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
    def __call__(self, utterance: Utterance) -> Figures:
        return {"UTMOS": float(self.model(torch.from_numpy(utterance.wave)[None]).reshape(-1)[0])}
