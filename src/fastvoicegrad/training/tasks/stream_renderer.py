"""Train the renderer of streams: the losses of the full vocoder, on sound that waits for nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ...mel import MEL
from ..data.crops import Crops, statistics
from ..data.store import Store
from ..data.stream_crops import WARM_UP, scored
from ..losses import LogMel, multi_resolution_stft
from ..models.blocks import inner
from ..models.discriminators import WaveDiscriminator, WaveDiscriminatorConfig
from ..models.stream_renderer import StreamRenderer, StreamRendererConfig
from ..task import DISCRIMINATOR, Batch, LoopConfig, Scalars
from .vocoder import VALIDATED, VALIDATION_SEED, VocoderTask, below


@dataclass(frozen=True)
class StreamRendererRecipe:
    store: str
    loop: LoopConfig
    model: StreamRendererConfig = field(default_factory=StreamRendererConfig)
    discriminator: WaveDiscriminatorConfig = field(default_factory=WaveDiscriminatorConfig)
    frames: int = 48  # of a crop; the first 16 are not scored
    adversary_start: int = 0  # first step with the discriminator
    corpora: dict[str, float] = field(default_factory=dict)  # weight of a frame by corpus; default 1
    weights: dict[str, float] = field(default_factory=lambda: {"mel": 45.0, "stft": 10.0, "adv": 1.0, "fm": 2.0})


class StreamRendererTask(VocoderTask):
    name = "stream-renderer"
    recipe: StreamRendererRecipe  # type: ignore[assignment]

    def __init__(self, recipe: StreamRendererRecipe) -> None:
        self.recipe, self.loop, self.weights = recipe, recipe.loop, recipe.weights
        scored(recipe.frames, 0)
        store = Store(recipe.store)
        self.crops = Crops(store, "train", recipe.frames, recipe.corpora)
        self.held_out = Crops(store, "valid", recipe.frames)
        torch.manual_seed(recipe.loop.seed)
        model = StreamRenderer(recipe.model)
        model.norm.fit(statistics(store, self.crops, "mel"))
        self.modules = {self.name: model, DISCRIMINATOR: WaveDiscriminator(recipe.discriminator)}
        self.log_mel = LogMel()
        self.frozen = {"log_mel": self.log_mel}

    def check(self) -> None:
        """Nothing: its filters always have minimum phase, and what the network adds."""

    def model_config(self) -> StreamRendererConfig:  # type: ignore[override]
        return self.recipe.model

    def _rendered(self, batch: Batch) -> Tensor:
        """The recording's mel with its true pitch as sound, (B, N)."""
        model: StreamRenderer = inner(self.modules[self.name])
        filters, _ = model(self.log_mel(batch["wave"]).transpose(1, 2), batch["pitch"])
        noise = batch["noise"].unflatten(1, (-1, MEL.hop_length))
        return model.render(filters, batch["pitch"], noise, batch["start"])

    def forward(self, batch: Batch) -> None:
        """The recording and its rendering, both in the recording's band and without the first frames."""
        first = WARM_UP * MEL.hop_length
        self._fake = below(self._rendered(batch)[:, first:], batch["band"])
        self._real = below(batch["wave"][:, first:], batch["band"])

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """mel, stft, adv, fm: see `VocoderTask.losses`."""
        return self.sound_losses(self._real, self._fake)

    def validate(self) -> Scalars:
        """Spectral distances on held-out voices."""
        random = np.random.default_rng(VALIDATION_SEED)
        drawn = self._take(random, self.held_out.draw(random, VALIDATED))
        self.forward(self.on_device(drawn))
        return {
            "mel_l1": (self.log_mel(self._fake) - self.log_mel(self._real)).abs().mean().item(),
            "stft": multi_resolution_stft(self._real, self._fake).item(),
        }
