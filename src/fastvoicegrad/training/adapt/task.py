"""Train an adapter for one voice, or a whole converter for several, with what a bundle holds.

Reconstructions are the voice's own crops, converted back from another voice. They must equal the crops in the mel, and
in features inside the frozen speaker encoder and vocoder (a perceptual loss, arXiv 1603.08155). Conversions are shipped
speech in the voice. Their features must have the voice's statistics over time (the style loss of the same paper), their
speaker embedding the voice's direction, and their content embedding must stay.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ...bundle import Bundle
from ...diffusion import guided, initial_state
from ...mel import MEL, lowpass_projection
from ...voice import evenly_spaced
from ..losses import content_consistency_loss, speaker_similarity_loss
from ..models.blocks import inner
from ..models.unet import Denoiser, UNet
from ..onnx_graphs import fold_weight_norm
from ..task import Batch, Scalars, Task
from .batches import Batches, Target, inside, window
from .features import FrozenFeatures
from .networks import BundleNetworks, VoiceAdapter
from .recordings import Recordings
from .settings import MOST_USED, AdaptConfig
from .shipped import Shipped, Source
from .speakers import mean_cosine, mean_embedding

ADAPTER, CONVERTER = "adapter", "student"  # names of the trained network; checkpoints of converters are students'
VALIDATED = 4  # voices that a validation converts to
VALIDATION_FRAMES = 512  # of the reference


class AdaptTask(Task):
    """Args:
    voices: to adapt to; an adapter takes one.
    sources: shipped speech; what is held back validates.
    name: ADAPTER trains offsets of the frozen converter, CONVERTER the converter itself.
    """

    scores = ("score", "likeness", "words", "quality")

    def __init__(
        self,
        bundle: Bundle,
        networks: BundleNetworks,
        voices: Sequence[Recordings],
        sources: Shipped,
        config: AdaptConfig,
        name: str = ADAPTER,
    ) -> None:
        self.name, self.bundle, self.config = name, bundle, config
        self.loop, self.weights = config.loop, config.weights
        self.networks, self.voices, self.sources = networks, voices, sources.held
        self.batches = Batches(bundle, [Target.of(recordings) for recordings in voices], sources.train, config)
        torch.manual_seed(config.loop.seed)
        self.alpha_bar = torch.from_numpy(bundle.alpha_bar).float()
        self.frozen = {"content": networks.content, "speaker": networks.speaker, "vocoder": networks.vocoder}
        if name == ADAPTER:
            fold_weight_norm(networks.unet)
            self.frozen["converter"] = networks.unet.requires_grad_(False).eval()
            self.modules = {name: VoiceAdapter(networks.unet)}
        else:
            self.modules = {name: networks.unet}
        self.embeddings = torch.from_numpy(np.stack([recordings.voice.embedding for recordings in voices]))
        with torch.no_grad():
            encode = networks.speaker
            self.trained_voices = torch.stack([mean_embedding(encode, r.train) for r in voices])
            self.held_voices = torch.stack([mean_embedding(encode, r.held) for r in voices])
            self.natural = [
                mean_cosine(encode, r.train, held) for r, held in zip(voices, self.held_voices, strict=True)
            ]
        self.features = FrozenFeatures(networks)
        self.styles = [self.features.style([clip.mel for clip in r.train]) for r in voices]

    def model_config(self) -> object:
        return self.networks.unet.config

    def batch(self, random: np.random.Generator, size: int) -> Batch:
        return self.batches.draw(random)

    # The conversion, as at run time. Mels are normalised, (B, 80, T).

    def _estimate(self, batch: Batch, voice: Batch, adapter: Tensor | None) -> Tensor:
        """x0 of a batch in a voice: "speaker" (B, S), "reference", "reference_content"."""
        unet, config = self._converter, self.bundle.config
        conditions = inner(unet).conditions(
            batch["content"], voice["reference_content"], voice["reference"], batch["pitch"], adapter
        )
        step = torch.full((len(batch["pitch"]),), config.start, device=batch["pitch"].device)
        alpha_bar = self.alpha_bar.to(step.device)[step]
        source = inner(unet).norm(inside(batch["window"]))
        x = initial_state(config.initial, source, batch["noise"], alpha_bar[:, None, None])
        x0: Tensor = Denoiser(unet)(x, step, alpha_bar, voice["speaker"], batch["content"], conditions)[0]
        return x0

    @property
    def _converter(self) -> nn.Module:
        return self.frozen["converter"] if self.name == ADAPTER else self.modules[CONVERTER]

    def convert(self, batch: Batch, strength: float = 1.0) -> Tensor:
        """Log-mel (B, 80, T) of all items in their targets' voices; fills "content" of the batch.

        Args:
            strength: share of the adapter that is used.
        """
        with torch.no_grad():
            around = self.networks.content(batch["window"])
        batch["content"] = inside(around)
        speaker = self.embeddings.to(around.device)[batch["target"]]
        adapter = self._adapter(strength) if self.name == ADAPTER else None
        x0 = self._estimate(batch, batch | {"speaker": speaker}, adapter)
        if weight := self.bundle.config.guidance:
            with torch.no_grad():
                source = {"reference": batch["window"], "reference_content": around}
                source["speaker"] = self.networks.speaker(batch["window"])
                source_x0 = self._estimate(batch, source, None)
            projection = torch.from_numpy(lowpass_projection(self.bundle.config.guidance_cosines)).to(x0.device)
            x0 = guided(x0, source_x0, weight, lambda difference: projection @ difference)
        return inner(self._converter).norm.undo(x0)

    def _adapter(self, strength: float) -> Tensor:
        values: Tensor = self.modules[ADAPTER]()
        return values if strength == 1 else inner(self._converter).weakened(values, strength)

    # The losses.

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Of reconstructions "features"; of conversions the rest."""
        reconstructed, converted = self.convert(batch).tensor_split([len(batch["mel"])])
        source = inside(batch["window"])[len(batch["mel"]) :]
        style, features = self.styles[int(batch["target"][0])], self.features(converted)
        return {
            "speaker": self._similarity(self.features.embedding(features), source, batch),
            "features": self.features.distance(self.features(reconstructed), batch["mel"], style),
            "style": self.features.style_distance(features, style),
            "consistency": self._content_loss(converted, batch["source"]),
        }

    def _content_loss(self, made: Tensor, source: Tensor) -> Tensor:
        """`content_consistency_loss` of log-mels (B, 80, T).

        A crop and its source are both encoded without their neighbours: content at the ends depends on these.
        """
        with torch.no_grad():
            kept = self.networks.content(source)
        return content_consistency_loss(self.networks.content(made), kept)

    def _similarity(self, embedding: Tensor, source: Tensor, batch: Batch) -> Tensor:
        """`speaker_similarity_loss` of conversions' embeddings (B', S) from the sources (B', 80, T)."""
        target = self.trained_voices.to(source.device)[batch["target"]][len(batch["mel"]) :]
        with torch.no_grad():
            other = self.networks.speaker(source)
        return speaker_similarity_loss(embedding, target, other)

    # Validation.

    def validate(self) -> Scalars:
        """Scores of the held-back shipped recordings in the voices, with as much of an adapter as a voice may take.

        "likeness": the cosine to what is held back. It counts up to that of the voice's own recordings.
        "words": 1 minus the consistency loss. "quality": minus the `frechet_distance` of the vocoder's features to
        those of what is held back. "score", their sum.
        """
        scores = [self._validate(index) for index in range(min(VALIDATED, len(self.voices)))]
        mean = {name: float(np.mean([score[name] for score in scores])) for name in scores[0]}
        return mean | {"score": sum(mean.values())}

    def _validate(self, index: int) -> Scalars:
        device = self.device
        held, cosines, words, mels = self.held_voices[index].to(device), list[float](), list[float](), list[Tensor]()
        for number, source in enumerate(self.sources):
            batch = {name: x.to(device) for name, x in self._whole(source, index, number).items()}
            mel = self.convert(batch, MOST_USED)
            mels.append(mel)
            cosines.append(float(self.networks.speaker(mel)[0] @ held))
            words.append(1 - float(self._content_loss(mel, inside(batch["window"]))))
        real = [torch.from_numpy(clip.mel)[None].to(device) for clip in self.voices[index].held]
        quality = -self.features.frechet_distance(real, mels)
        likeness = min(float(np.mean(cosines)), self.natural[index])
        return {"likeness": likeness, "words": float(np.mean(words)), "quality": quality}

    def _whole(self, source: Source, index: int, number: int) -> Batch:
        """A shipped recording as a batch of one conversion, always the same."""
        voice, crop = self.voices[index].voice, slice(0, source.clip.frames // UNet.stride * UNet.stride)
        kept = evenly_spaced(voice.mel.shape[1], VALIDATION_FRAMES)
        noise = np.random.default_rng(number).standard_normal((MEL.n_mels, crop.stop), dtype=np.float32)
        arrays = {
            "window": window(source.clip.mel, crop),
            "pitch": source.clip.pitch[crop] * np.float32(voice.pitch / source.voice.pitch),
            "reference": voice.mel[:, kept],
            "reference_content": voice.keys[:, kept],
            "noise": np.float32(self.bundle.config.temperature) * noise,
        }
        batch = {name: torch.from_numpy(np.ascontiguousarray(x))[None] for name, x in arrays.items()}
        return batch | {"target": torch.tensor([index])}
