"""Train the converter of streams: the full converter's conversions teach it, and recordings of every voice.

- A reconstruction has content of the crop in a perturbed voice, and speaker and reference of the crop's voice. It must
  be the crop's mel.
- A conversion has content of the crop as it is, and another voice of the batch. It must be what the full converter
  makes of the crop, in one step and with all its look-ahead.

A discriminator (adversary.py) judges both. A verifier and a recogniser may judge conversions
(student_losses.py), or what the renderer makes of them (rendered.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ...diffusion import initial_state
from ...mel import MEL
from ...postfilter import PostFilter, sharpen, smooth
from ..checkpoint import read_meta
from ..data.conversion import ConversionData, as_conversions, conditions_of
from ..data.crops import require_multiple, statistics
from ..data.perturb import PerturbConfig
from ..data.stream_crops import StreamConversionCrops, on_time, scored
from ..losses import (
    adversarial_discriminator,
    adversarial_generator,
    feature_matching,
    frechet_distance,
)
from ..models.blocks import inner
from ..models.stream import StreamContentModel, StreamConverter, StreamConverterConfig
from ..models.unet import Denoiser, UNet
from ..networks import VocoderKind, load_unet, load_vocoder
from ..recipe import build
from ..schedule import ScheduleConfig, normal
from ..stream_networks import load_stream_content, load_stream_renderer
from ..task import DISCRIMINATOR, AdversarialTask, Batch, LoopConfig, Scalars
from .adversary import Adversary, AdversaryConfig
from .rendered import SETTLED, RenderedMel
from .student_losses import PretrainedLosses
from .student_recipe import require_networks

VALIDATED, VALIDATION_SEED = 24, 1  # held-out crops
FITTED = 96  # crops on which linear maps from our mel to the pretrained networks' features are fitted
STREAM_WEIGHTS = {"mel": 20.0, "dist": 20.0, "adv": 1.0, "fm": 2.0, "speaker": 0.0, "recogniser": 0.0, "content": 0.0}
CUT = ("mel", "crop_content", "adversary_noise")  # batch keys that the discriminator reads frame by frame


@dataclass(frozen=True)
class StreamConverterRecipe:
    data: ConversionData  # frames: a multiple of 4; reference_frames above 0
    loop: LoopConfig
    content: str  # checkpoint of stream-content
    teacher: str  # checkpoint of the full converter, a student
    vocoder: str  # checkpoint of the full vocoder, for the discriminator of features or waves and for scores
    vocoder_kind: VocoderKind = "spectral"
    model: StreamConverterConfig = field(default_factory=StreamConverterConfig)
    adversary: AdversaryConfig = field(default_factory=AdversaryConfig)
    adversary_start: int = 0  # first step with the discriminator
    temperature: float = 1.0  # standard deviation of the noise from which the teacher starts
    postfilter: PostFilter = field(default_factory=PostFilter)  # of the teacher's conversions; no variance matching
    conversions: int = 4  # crops of a batch that are also converted to another voice
    perturb: PerturbConfig = field(default_factory=PerturbConfig)  # of the reconstructions' sources
    train_content: bool = False  # train the content encoder on, with the converter; the loss "content" anchors it
    speaker: str = ""  # checkpoint of the speaker encoder, for the loss "speaker"
    recogniser: str = ""  # path of a Whisper checkpoint, for the loss "recogniser"
    recogniser_margins: tuple[float, ...] = ()  # see `StudentRecipe`
    renderer: str = ""  # checkpoint of stream-renderer: speaker and recogniser then judge the mel of its sound
    weights: dict[str, float] = field(default_factory=lambda: dict(STREAM_WEIGHTS))

    def __post_init__(self) -> None:
        """Raises InputError where a loss lacks its network, or crops do not fit the full converter."""
        require_networks(self.weights, self.speaker, self.recogniser)
        require_multiple(self.data.frames, UNet.stride, "data.frames")


class StreamConverterTask(AdversarialTask):
    name = "stream-converter"
    scores = ("quality",)

    def __init__(self, recipe: StreamConverterRecipe) -> None:
        self.recipe, self.loop, self.weights = recipe, recipe.loop, recipe.weights
        content = load_stream_content(recipe.content).requires_grad_(recipe.train_content)
        content.units.requires_grad_(False)  # no loss reads them here
        self.lookahead = content.config.lookahead
        self.scored = scored(recipe.data.frames, self.lookahead)
        verified = recipe.weights.get("speaker", 0.0) > 0
        self.train_crops = StreamConversionCrops(recipe.data, "train", content.config.window, verified)
        self.valid_crops = StreamConversionCrops(recipe.data, "valid", content.config.window)
        torch.manual_seed(recipe.loop.seed)
        self.train_crops.require_sizes(recipe.model.content_dim, recipe.model.speaker_dim, "model")
        teacher = load_unet(recipe.teacher).requires_grad_(False).eval()
        self.train_crops.require_sizes(teacher.config.content_dim, teacher.config.speaker_dim, "the teacher's model")
        vocoder = load_vocoder(recipe.vocoder, recipe.vocoder_kind).requires_grad_(False)
        self.schedule = build(ScheduleConfig, read_meta(recipe.teacher)["recipe"]["schedule"])
        self.alpha_bar = self.schedule.alpha_bar()
        self.adversary = Adversary(recipe.adversary, vocoder, teacher, self.alpha_bar)
        model = StreamConverter(recipe.model)
        model.norm.fit(statistics(self.train_crops.store, self.train_crops.crops, "mel"))
        self.frozen = {}
        self.modules = {self.name: model, DISCRIMINATOR: self.adversary.discriminator()}
        (self.modules if recipe.train_content else self.frozen)["content"] = content
        self.pretrained = PretrainedLosses(
            recipe.weights, recipe.speaker, recipe.recogniser, recipe.recogniser_margins, self._waves
        )
        judged = bool(recipe.renderer and self.pretrained.networks)
        self.rendered = RenderedMel(load_stream_renderer(recipe.renderer)) if judged else None
        self.frozen |= {"teacher": teacher, "vocoder": vocoder, **self.pretrained.networks}
        if self.rendered is not None:
            self.frozen["rendered"] = self.rendered

    def _waves(self) -> list[np.ndarray]:
        crops = self.train_crops.crops
        return [wave.numpy() for wave in crops.wave(crops.draw(np.random.default_rng(0), FITTED))]

    def model_config(self) -> StreamConverterConfig:
        return self.recipe.model

    def _drawn(self, crops: StreamConversionCrops, random: np.random.Generator, size: int, conversions: int) -> Batch:
        batch = crops.with_conversions(crops.draw(random, size), conversions, random, self.recipe.perturb)
        batch["start_noise"] = self.recipe.temperature * normal(random, batch["to_source"])
        return batch | self.adversary.draw(random, batch["mel"])

    def batch(self, random: np.random.Generator, size: int) -> Batch:
        batch = self._drawn(self.train_crops, random, size, self.recipe.conversions)
        return batch | RenderedMel.draw(random, batch["mel"]) if self.rendered is not None else batch

    # Mels are (B, 80, T) here, as the discriminator and the full networks read them.

    def encode(self, batch: Batch) -> Tensor:
        """Content embedding (B, T - lookahead, C) of a batch's streams."""
        network = inner((self.frozen | self.modules)["content"])
        late, _ = cast(StreamContentModel, network).encoder(batch["stream"].transpose(1, 2))
        return on_time(late, self.lookahead)

    def convert(self, batch: Batch, content: Tensor) -> Tensor:
        """Log-mel (B, 80, T') of the scored frames of contents in the voices of a batch."""
        model: StreamConverter = inner(self.modules[self.name])
        voice = model.voice(batch["speaker"], batch["reference_content"], batch["reference"])
        mel, _ = model(content, batch["pitch"][:, : content.shape[1]], *voice)
        return mel[:, self.scored].transpose(1, 2)

    @torch.no_grad()
    def teach(self, batch: Batch) -> Tensor:
        """Log-mel (B', 80, T') of the scored frames of the full converter's conversions, behind the post-filter."""
        unet: UNet = inner(self.frozen["teacher"])
        x0, noise = unet.norm(batch["source"]), batch["start_noise"]
        step = torch.full((len(x0),), self.schedule.start, device=x0.device)
        ab = self.alpha_bar.to(x0.device)[step]
        x = initial_state(self.schedule.initial, x0, noise, ab[:, None, None])
        x0 = Denoiser(unet)(x, step, ab, batch["speaker"], batch["content"], conditions_of(unet, batch))[0]
        mel = unet.norm.undo(x0)
        filtered = torch.from_numpy(np.stack([self._filtered(one) for one in mel.cpu().numpy()]))
        return filtered[:, :, self.scored].to(mel)

    def _filtered(self, mel: np.ndarray) -> np.ndarray:
        """Smoothing and sharpening of (80, T). The network learns both, so no stream has to compute them."""
        return sharpen(smooth(mel, self.recipe.postfilter.smoothing), self.recipe.postfilter.sharpening)

    def _normal(self, mel: Tensor) -> Tensor:
        """In the units of the full converter."""
        return inner(self.frozen["teacher"]).norm(mel)

    @property
    def adversarial(self) -> bool:
        wanted = bool(self.recipe.weights["adv"] or self.recipe.weights["fm"])
        return wanted and self.step >= self.recipe.adversary_start

    def forward(self, batch: Batch) -> None:
        """Reconstructions, conversions, the full converter's conversions, and the discriminator's real inputs."""
        conversions = as_conversions(batch)
        self._contents = self.encode(batch), self.encode(conversions)
        self._reconstructed, self._converted = (
            self._normal(self.convert(part, content))
            for part, content in zip((batch, conversions), self._contents, strict=True)
        )
        self._taught = self._normal(self.teach(conversions))
        self._judged = batch | {name: self._cut(batch[name]) for name in CUT if name in batch}
        self._real = self._normal(self._judged["mel"])

    def _cut(self, x: Tensor) -> Tensor:
        """The scored frames of (B, C, T), or their samples of (B, 256 T)."""
        if x.ndim == 3:
            return x[:, :, self.scored]
        return x[:, self.scored.start * MEL.hop_length : self.scored.stop * MEL.hop_length]

    def _inputs(self, *mels: Tensor) -> tuple[Tensor, ...]:
        """The discriminator's arguments for normalised mels; see `Adversary.inputs`."""
        return self.adversary.inputs(torch.cat(mels), self._judged)

    def discriminator_loss(self, batch: Batch) -> Tensor:
        """L_adv(D) of recordings against reconstructions and conversions."""
        discriminator = self.modules[DISCRIMINATOR]
        with torch.no_grad():
            real, fake = self._inputs(self._real), self._inputs(self._reconstructed, self._converted)
        return adversarial_discriminator(discriminator(*real)[0], discriminator(*fake)[0])

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """mel: E|x - x*| of reconstructions. dist: the same of conversions and the full converter's."""
        losses = {
            "mel": (self._reconstructed - self._real).abs().mean(),
            "dist": (self._converted - self._taught).abs().mean(),
        }
        if self.adversarial:
            discriminator = self.modules[DISCRIMINATOR].requires_grad_(False)
            scores, features = discriminator(*self._inputs(self._reconstructed, self._converted))
            features = [[layer[: len(self._reconstructed)] for layer in part] for part in features]
            with torch.no_grad():
                _, real = discriminator(*self._inputs(self._real))
            discriminator.requires_grad_(True)
            losses |= {"adv": adversarial_generator(scores), "fm": feature_matching(real, features)}
        if self.recipe.weights.get("content"):
            losses["content"] = self._anchor(batch)
        if self.pretrained.networks:
            losses |= self.pretrained(*self._sounding(batch), batch)
        return losses

    def _sounding(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Log-mels of reconstructions, of what they should be, and of conversions; as rendered where a renderer is."""
        undo = inner(self.frozen["teacher"]).norm.undo
        made, real, converted = undo(self._reconstructed), undo(self._real), undo(self._converted)
        if self.rendered is None:
            return made, real, converted
        made, converted = (
            self.rendered(mel, part["pitch"][:, self.scored], part)
            for mel, part in ((made, batch), (converted, as_conversions(batch)))
        )
        return made, real[:, :, SETTLED:], converted

    def _anchor(self, batch: Batch) -> Tensor:
        """E|c - c*|^2 of the content embeddings of all crops and the full encoder's, in units of its variance."""
        targets = batch["crop_content"], batch["to_content"]
        target = torch.cat([x.transpose(1, 2)[:, self.scored] for x in targets])
        made = torch.cat([content[:, self.scored] for content in self._contents])
        return ((made - target).square().mean((0, 1)) / target.var((0, 1)).clamp(min=1e-6)).mean()

    def _features(self, x: Tensor) -> Tensor:
        """Features of the frozen vocoder, (B * T', C)."""
        norm = inner(self.frozen["teacher"]).norm
        features: Tensor = self.adversary.vocoder.features(norm.undo(x))
        return features.transpose(1, 2).flatten(0, 1)

    def validate(self) -> Scalars:
        """Scores on held-out voices: "mel" and "dist" as the losses, "quality" minus the `frechet_distance`."""
        random = np.random.default_rng(VALIDATION_SEED)
        batch = self._drawn(self.valid_crops, random, VALIDATED, VALIDATED)
        self.forward(self.on_device(batch))
        distance = frechet_distance(self._features(self._real), self._features(self._converted))
        return {
            "mel": float((self._reconstructed - self._real).abs().mean()),
            "dist": float((self._converted - self._taught).abs().mean()),
            "quality": -float(distance),
        }
