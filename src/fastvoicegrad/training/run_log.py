"""What a run reports while it trains: TensorBoard curves and examples, lines on the console, its cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from ..mel import MEL
from ..memory import peak_mb
from .task import Exhibits, Scalars


class RunLog:
    """Writes scalars and examples of one run.

    Args:
        out: folder for TensorBoard's files.
        every: steps between two lines of training losses on the console.
    """

    def __init__(self, out: Path, name: str, console: Console, every: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.name, self.console, self.every = name, console, every
        self.writer: Any = SummaryWriter(str(out))

    def scalars(self, step: int, kind: str, scalars: Scalars) -> None:
        """`kind` is "train" or "valid"; validation scores always go to the console too."""
        for key, value in scalars.items():
            self.writer.add_scalar(f"{kind}/{key}", value, step)
        self.writer.flush()
        text = "  ".join(f"{key} {value:.4g}" for key, value in scalars.items())
        if kind == "valid" or step % self.every == 0:
            self.console.print(f"{self.name} {step:>7} {kind}  {text}", highlight=False)

    def exhibits(self, step: int, exhibits: Exhibits) -> None:
        """Mels as images, waveforms as sound."""
        for name, (mel, wave) in exhibits.items():
            shade = (mel - mel.min()) / (mel.max() - mel.min()).clamp(min=1e-5)
            self.writer.add_image(name, shade.flip(0)[None].cpu(), step)
            self.writer.add_audio(name, wave.clamp(-1, 1).cpu(), step, MEL.sample_rate)

    def close(self) -> None:
        self.writer.close()


def cost(device: torch.device, steps: int, seconds: float) -> dict[str, Any]:
    """Throughput, validation included, and peak memory; of the GPU where there is one."""
    on_gpu = device.type == "cuda"
    memory = torch.cuda.max_memory_allocated(device) / 2**20 if on_gpu else peak_mb()
    name = torch.cuda.get_device_name(device) if on_gpu else f"CPU, {torch.get_num_threads()} threads"
    return {"steps_per_second": steps / seconds, "peak_mb": memory, "device": name}
