"""Train the pitch tracker of streams: as the full one, with the mel and the look-ahead of the stream."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..data.crops import Crop, Crops, statistics
from ..data.perturb import PerturbConfig
from ..data.store import Store
from ..data.stream_crops import StreamMel, on_time, scored
from ..models.stream import StreamPitch, StreamPitchConfig
from ..task import Batch, LoopConfig
from .pitch import PitchRecipe, PitchTask


@dataclass(frozen=True)
class StreamPitchRecipe:
    """See `PitchRecipe`."""

    store: str
    loop: LoopConfig
    model: StreamPitchConfig = field(default_factory=StreamPitchConfig)
    augmented_voices: float = PitchRecipe.augmented_voices
    voice_augmentation: PerturbConfig = field(default_factory=lambda: PerturbConfig(formant=1.2, pitch=1.5))
    perturb: PerturbConfig = field(
        default_factory=lambda: PerturbConfig(formant=1.0, pitch=1.0, equaliser=0.3, gain=0.4, noise=0.3)
    )
    frames: int = 192
    corpora: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=lambda: {"pitch": 1.0, "voicing": 1.0})


class StreamPitchTask(PitchTask):
    name = "stream-pitch"
    recipe: StreamPitchRecipe  # type: ignore[assignment]

    def __init__(self, recipe: StreamPitchRecipe) -> None:
        self.recipe, self.loop, self.weights = recipe, recipe.loop, recipe.weights
        self.store = Store(recipe.store)
        self.crops = Crops(self.store, "train", recipe.frames, recipe.corpora)
        self.held_out = Crops(self.store, "valid", recipe.frames)
        self.log_mel = StreamMel(recipe.model.window)
        self.scored = scored(recipe.frames, recipe.model.lookahead)
        torch.manual_seed(recipe.loop.seed)
        model = StreamPitch(recipe.model)
        model.norm.fit(statistics(self.store, self.crops, "mel"))
        self.modules = {self.name: model}
        self.frozen = {}

    def model_config(self) -> StreamPitchConfig:  # type: ignore[override]
        return self.recipe.model

    def _take(self, crops: Crops, drawn: list[Crop]) -> Batch:
        """Mel (B, 80, T) of the stream and pitch (B, T) in Hz."""
        return {"mel": self.log_mel(crops.wave(drawn)), "pitch": crops.take("pitch", drawn)}

    def _outputs(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """See `PitchTask._outputs`: the frames that have their past and their look-ahead."""
        logits, voicing, _ = self.modules[self.name](batch["mel"].transpose(1, 2))
        lookahead = self.recipe.model.lookahead
        logits = on_time(logits.transpose(1, 2), lookahead)[:, self.scored].transpose(1, 2)
        return logits, on_time(voicing, lookahead)[:, self.scored], batch["pitch"][:, self.scored]
