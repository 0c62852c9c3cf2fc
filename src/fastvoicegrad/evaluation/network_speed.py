"""Real-time factors of encoder and converter alone, at the published and at our own size.

One step of the converter is measured and counted K times. PyTorch runs converters of random weights, and ONNX Runtime
the bundle's content encoder, each on one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..bundle import Bundle
from ..mel import MEL
from ..training.models.diffvc import PUBLISHED as PUBLISHED_DIFFVC
from ..training.models.diffvc import DiffVc, DiffVcConfig
from ..training.models.unet import UNet, UNetConfig

FRAMES = 256  # of the mel that is converted, 3 s
REPEATS = 2  # of which the faster counts
SMALL_UNET = UNetConfig(channels=(128, 192, 240), step_dim=64)
PUBLISHED = {  # (GPU; CPU) of the papers
    "FastVoiceGrad": ".0056; .135",
    "DiffVC-30": ".19;",
}


@dataclass(frozen=True)
class NetworkSpeed:
    """A row of the table.

    Attributes:
        name: of the system.
        size: "published" or "small".
        millions: of parameters, encoders left out.
        factor: seconds of computing for a second of speech.
        published: the papers' figures.
    """

    name: str
    size: str
    millions: float
    factor: float
    published: str


def network_speed(bundle: str | None = None, frames: int = FRAMES, published: bool = True) -> list[NetworkSpeed]:
    """Measure VoiceGrad and FastVoiceGrad in 1, 6 and 30 steps, and DiffVC in 6 and 30.

    Args:
        bundle: its content encoder counts for the former two; None is the default one.
        frames: of the mel, a multiple of 4.
        published: measure the published sizes too, which takes minutes.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        opened, mel = Bundle.open(bundle, 1), _mel(frames)[0].numpy()
        content = _seconds(lambda: opened.content(mel))
        sizes = ("published", "small") if published else ("small",)
        return [row for size in sizes for row in (*_unet(size, frames, content), *_diffvc(size, frames))]
    finally:
        torch.set_num_threads(threads)


def _mel(frames: int) -> Tensor:
    return torch.randn(1, MEL.n_mels, frames)


def _millions(*modules: nn.Module) -> float:
    return sum(p.numel() for module in modules for p in module.parameters()) / 1e6


@torch.inference_mode()
def _seconds(run: Callable[[], object]) -> float:
    """Time of the fastest of some runs, after one that warms up."""
    run()
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return min(times)


def _rows(
    size: str, names: dict[str, int], millions: float, encoder: float, step: float, frames: int
) -> list[NetworkSpeed]:
    speech = frames * MEL.hop_length / MEL.sample_rate
    published = PUBLISHED if size == "published" else {}
    return [
        NetworkSpeed(name, size, millions, (encoder + steps * step) / speech, published.get(name, ""))
        for name, steps in names.items()
    ]


def _unet(size: str, frames: int, encoder: float) -> list[NetworkSpeed]:
    unet = UNet(UNetConfig() if size == "published" else SMALL_UNET).eval()
    config = unet.config
    content, speaker = torch.randn(1, config.content_dim, frames), torch.randn(1, config.speaker_dim)
    step = _seconds(lambda: unet(_mel(frames), torch.tensor([950]), speaker, content))
    names = {"FastVoiceGrad": 1, "VoiceGrad-6": 6, "VoiceGrad-30": 30}
    return _rows(size, names, _millions(unet), encoder, step, frames)


def _diffvc(size: str, frames: int) -> list[NetworkSpeed]:
    model = DiffVc(PUBLISHED_DIFFVC if size == "published" else DiffVcConfig()).eval()
    mel, speaker = _mel(frames), torch.randn(1, model.config.score.speaker_dim)
    encoder = _seconds(lambda: model.average(mel))
    step = _seconds(lambda: model(mel, mel, torch.tensor([0.5]), speaker, (mel, mel)))
    return _rows(size, {"DiffVC-6": 6, "DiffVC-30": 30}, _millions(model.score), encoder, step, frames)
