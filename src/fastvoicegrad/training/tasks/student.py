"""Distil the teacher into one step: adversarial conditional diffusion distillation (FastVoiceGrad section 3).

The student is one step of the teacher's network, at S_K:

    x_phi = mu_phi(x_{S_K}, S_K, s, p),    x_{S_K} = sqrt(alpha_bar_{S_K}) x + sqrt(1 - alpha_bar_{S_K}) eps
    L = L_adv + 2 L_FM + 45 L_dist    (each of them in losses.py)

with x the source's mel, s the speaker embedding, p the content embedding, phi the student and theta the teacher.
The paper trains reconstruction: x, s and p are of one voice. A recipe may add conversions to other voices of the batch,
and the losses of student_losses.py. adversary.py has the discriminator's inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from ...diffusion import diffuse, guided, initial_state
from ...errors import InputError
from ...mel import MEL, lowpass_projection
from ..checkpoint import read_meta
from ..data.conversion import (
    ConversionCrops,
    as_conversions,
    conditions_of,
    conversion_targets,
    require_references,
    speaker_conditions,
    unconditional_speaker,
)
from ..data.crops import Crops
from ..data.perturb import perturb
from ..losses import (
    adversarial_discriminator,
    adversarial_generator,
    feature_matching,
    frechet_distance,
    score_distillation,
)
from ..models.blocks import MelNorm, inner
from ..models.unet import Denoiser, UNet, UNetConfig
from ..models.vocoder import SpectralVocoder
from ..networks import load_content, load_speaker, load_unet, load_vocoder
from ..recipe import build
from ..schedule import ScheduleConfig, draw_steps, normal
from ..task import DISCRIMINATOR, AdversarialTask, Batch, Exhibits, Scalars
from .adversary import Adversary, rendered
from .rendered import VocodedMel
from .student_losses import ExtraLosses
from .student_recipe import StudentRecipe

VALIDATED, VALIDATION_SEED, SHOWN = 48, 1, 4  # held-out crops that are converted; of these, examples for TensorBoard
SAME_NORM = 0.02  # natural log: what half precision changes
FITTED = 96  # crops on which linear maps from our mel to the pretrained networks' features are fitted


@dataclass(frozen=True)
class Outputs:
    """What the student makes of a batch. Mels are normalised.

    Attributes:
        reconstructed: x_phi of the crops in their own voices, (B, 80, T).
        conversions: the batch of conversions as the student reads it; empty where the recipe has none.
        converted: x_phi of the conversions, (B', 80, T).
        real: the discriminator's inputs for real mels; empty without an adversary.
    """

    reconstructed: Tensor
    conversions: Batch
    converted: Tensor
    real: tuple[Tensor, ...] = ()


class StudentTask(AdversarialTask):
    name = "student"
    scores = ("score", "quality", "words", "voice")
    outputs: Outputs

    def __init__(self, recipe: StudentRecipe) -> None:
        self.recipe, self.loop, self.weights = recipe, recipe.loop, recipe.weights
        self.train_crops = ConversionCrops(recipe.data, "train", verified=recipe.converting)
        self.valid_crops = ConversionCrops(recipe.data, "valid")
        torch.manual_seed(recipe.loop.seed)
        self._check_schedule()
        teacher = load_unet(recipe.teacher).requires_grad_(False).eval()
        self.train_crops.require_sizes(teacher.config.content_dim, teacher.config.speaker_dim, "the teacher's model")
        if teacher.config.examples:
            require_references(recipe.data)
        vocoder = load_vocoder(recipe.vocoder, recipe.vocoder_kind).requires_grad_(False)
        student = load_unet(recipe.teacher)
        self.alpha_bar = recipe.schedule.alpha_bar()
        self.adversary = Adversary(recipe.adversary, vocoder, student, self.alpha_bar)
        self.modules = {"student": student, DISCRIMINATOR: self.adversary.discriminator()}
        if recipe.train_content:
            content = load_content(recipe.content).train()
            self.train_crops.store.require_units(content.config.units, "the content encoder's model.units")
            if content.heads.features is not None:
                content.heads.features.requires_grad_(False)  # no loss of the student reads it
            self.modules["content"] = content
        self.extra = ExtraLosses(recipe, self._waves)
        self.frozen = {"teacher": teacher, "vocoder": vocoder, **self.extra.networks}
        if recipe.judge_sound:
            self.frozen["vocoded"] = VocodedMel(cast(SpectralVocoder, vocoder), recipe.postfilter)
        if recipe.speaker and "speaker" not in self.frozen:
            self.frozen["speaker"] = load_speaker(recipe.speaker).requires_grad_(False)

    def _check_schedule(self) -> None:
        """Raises InputError where the teacher knows another noise schedule: its steps would mean other levels."""
        schedule = build(ScheduleConfig, read_meta(self.recipe.teacher)["recipe"].get("schedule", {}))
        if not self.recipe.schedule.same_noise(schedule):
            raise InputError(
                f"the teacher has the noise schedule '{schedule.kind}', this recipe '{self.recipe.schedule.kind}', or "
                "they differ in steps, offset or scale; set the teacher's schedule, or train a teacher with this one"
            )

    def check(self) -> None:
        """Raises InputError where student and teacher normalise mels in other ways: L_dist would compare the two."""
        own, of_teacher = self.norm, cast(UNet, self.frozen["teacher"]).norm
        if not all(
            torch.allclose(a, b, rtol=0.0, atol=SAME_NORM)
            for a, b in zip(own.buffers(), of_teacher.buffers(), strict=True)
        ):
            raise InputError(
                "loop.start_from and the teacher have other means or deviations of mels; "
                "start the teacher's training from that student, or leave loop.start_from out"
            )

    def _waves(self) -> list[np.ndarray]:
        crops = Crops(self.train_crops.store, "train", self.recipe.data.frames)
        return [wave.numpy() for wave in crops.wave(crops.draw(np.random.default_rng(0), FITTED))]

    @property
    def student(self) -> UNet:
        return cast(UNet, inner(self.modules["student"]))

    @property
    def norm(self) -> MelNorm:
        return self.student.norm

    def model_config(self) -> UNetConfig:
        return self.student.config

    def _with_noise(self, batch: Batch, random: np.random.Generator) -> Batch:
        """A batch with everything random: eps of x_{S_K}, t and eps of L_dist, the adversary's, perturbed sources."""
        perturbation = self.recipe.source_perturbation
        names = [name for name in ("source", "source_context") if name in batch]
        perturbed = {name: perturb(batch[name], random, perturbation) for name in names} if perturbation else {}
        return batch | {
            **perturbed,
            "start_noise": normal(random, batch["mel"]),
            "step": draw_steps(random, len(batch["mel"]), *self.recipe.distill_steps),
            "step_noise": normal(random, batch["mel"]),
            **self.adversary.draw(random, batch["mel"]),
        }

    def batch(self, random: np.random.Generator, size: int) -> Batch:
        batch = self._with_noise(self.train_crops.draw(random, size), random)
        if self.recipe.judge_sound:
            batch |= VocodedMel.draw(random, batch["mel"])
        return batch | (conversion_targets(batch, self.recipe.conversions) if self.recipe.converting else {})

    # The student and the teacher as estimates of x0. Mels are normalised, (B, 80, T).

    def _estimate(self, unet: nn.Module, x_t: Tensor, step: Tensor, ab: Tensor, batch: Batch) -> Tensor:
        """mu(x_t, t, s, p): a network's x0 under the conditions of a batch."""
        conditions = conditions_of(self.student, batch)
        x0: Tensor = Denoiser(unet)(x_t, step, ab, batch["speaker"], batch["content"], conditions)[0]
        return x0

    def convert(self, batch: Batch) -> Tensor:
        """x_phi of a batch."""
        start = torch.full_like(batch["step"], self.recipe.schedule.start)
        ab = self.alpha_bar.to(start.device)[start]
        source, noise = self.norm(batch["source"]), batch["start_noise"]
        x = initial_state(self.recipe.schedule.initial, source, noise, ab[:, None, None])
        return self._estimate(self.modules["student"], x, start, ab, batch)

    def teacher_estimate(self, x_phi: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """x_theta of the student's output diffused to t, and alpha_bar_t (B,)."""
        step = batch["step"]
        ab = self.alpha_bar.to(x_phi.device)[step]
        x_t = diffuse(x_phi, batch["step_noise"], ab[:, None, None])
        return self._estimate(self.frozen["teacher"], x_t, step, ab, batch), ab

    # Conversions to other voices, which the paper does not train.

    def encode(self, batch: Batch) -> Batch:
        """A batch with the contents, unit logits and prosody of a content encoder in training; else as it is."""
        if "content" not in self.modules:
            return batch
        index = batch["source_context_index"][:, None]
        outputs = self.modules["content"](batch["source_context"])
        encoded = {name: x.gather(2, index.expand(-1, x.shape[1], -1)) for name, x in outputs.items()}
        if "reference" in batch:
            with torch.no_grad():  # else keys could move towards the source
                encoded["reference_content"] = inner(self.modules["content"]).encoder(batch["reference"])
        return batch | encoded

    def _guided_conversions(self, conversions: Batch, encoded: Batch) -> Tensor:
        """x_phi of conversions, (B', 80, T), guided away from the source's speaker where the recipe asks for it.

        Args:
            encoded: the batch that lends its first crops as sources.
        """
        x = self.convert(conversions)
        if weight := self.recipe.conversion_guidance:
            source = self.convert(conversions | speaker_conditions(encoded, len(x)))
            projection = torch.from_numpy(lowpass_projection(self.recipe.conversion_guidance_cosines)).to(x.device)
            x = guided(x, source, weight, lambda difference: projection @ difference)
        return x

    def guided_teacher_estimate(self, x_phi: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """`teacher_estimate` of conversions: x + sum over speakers of w (x - x_speaker), and alpha_bar_t."""
        conversions = as_conversions(batch)
        target, ab = self.teacher_estimate(x_phi, conversions)
        speakers = {
            "unconditional": unconditional_speaker(batch, len(x_phi)),
            "source": speaker_conditions(batch, len(x_phi)),
        }
        x = target
        for name, speaker in speakers.items():
            if weight := self.recipe.guidance.get(name):
                x = x + weight * (target - self.teacher_estimate(x_phi, conversions | speaker)[0])
        return x, ab

    # The losses.

    @property
    def adversarial(self) -> bool:
        return bool(self.recipe.weights["adv"] or self.recipe.weights["fm"])

    def forward(self, batch: Batch) -> None:
        """x_phi of reconstructions and conversions, and the discriminator's inputs for real mels."""
        encoded = self.encode(batch)
        reconstructed = self.convert(encoded)
        conversions, converted = Batch(), reconstructed[:0]
        if "to_speaker" in batch:
            conversions = self.encode(as_conversions(batch))
            converted = self._guided_conversions(conversions, encoded)
        with torch.no_grad():
            real = self.adversary.inputs(self.norm(batch["mel"]), batch) if self.adversarial else ()
        self.outputs = Outputs(reconstructed, conversions, converted, real)

    def discriminator_loss(self, batch: Batch) -> Tensor:
        """L_adv(D) of reconstructions and conversions."""
        with torch.no_grad():
            fake = self.adversary.inputs(torch.cat([self.outputs.reconstructed, self.outputs.converted]), batch)
        discriminator = self.modules[DISCRIMINATOR]
        return adversarial_discriminator(discriminator(*self.outputs.real)[0], discriminator(*fake)[0])

    def _distillation(self, batch: Batch) -> Tensor:
        """L_dist of reconstructions, and of conversions where they have a teacher."""
        x_phi, conversions = self.outputs.reconstructed, self.outputs.converted
        with torch.no_grad():
            x_theta, ab = self.teacher_estimate(x_phi.detach(), batch)
            if self.recipe.guided:
                converted, converted_ab = self.guided_teacher_estimate(conversions, batch)
                x_theta, ab = torch.cat([x_theta, converted]), torch.cat([ab, converted_ab])
        if self.recipe.guided:
            x_phi = torch.cat([x_phi, conversions])
        return score_distillation(x_phi, x_theta, ab, self.recipe.weighting)

    def _adversarial_losses(self, batch: Batch) -> dict[str, Tensor]:
        """L_adv of reconstructions and conversions, L_FM of reconstructions."""
        discriminator = self.modules[DISCRIMINATOR].requires_grad_(False)
        reconstructed = self.outputs.reconstructed
        fake = torch.cat([reconstructed, self.outputs.converted])
        scores, features = discriminator(*self.adversary.inputs(fake, batch))
        features = [[layer[: len(reconstructed)] for layer in part] for part in features]
        with torch.no_grad():
            _, real = discriminator(*self.outputs.real)
        discriminator.requires_grad_(True)
        matched = feature_matching(real, features, self.recipe.fm_layers)
        return {"adv": adversarial_generator(scores), "fm": matched}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """L_dist, L_adv and L_FM of the paper; mel: E[|x_phi - x|]; and the extra losses."""
        outputs, x0 = self.outputs, self.norm(batch["mel"])
        x = outputs.reconstructed
        losses = {"mel": (x - x0).abs().mean()}
        if self.recipe.weights["dist"]:
            losses["dist"] = self._distillation(batch)
        if self.adversarial:
            losses |= self._adversarial_losses(batch)
        made, converted = self._judged(batch)
        return losses | self.extra(made, converted, batch, outputs.conversions)

    def _judged(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Log-mels of reconstructions and conversions as the extra losses read them: the student's or their sound's."""
        outputs = self.outputs
        made, converted = self.norm.undo(outputs.reconstructed), self.norm.undo(outputs.converted)
        if self.recipe.judge_sound:
            vocoded, noise = self.frozen["vocoded"], batch["sound_noise"]
            made = vocoded(made, batch["pitch"], noise)
            if len(converted):
                converted = vocoded(converted, outputs.conversions["pitch"], noise[: len(converted)])
        return made, converted

    # Validation.

    def _held_out(self) -> Batch:
        """Crops of held-out voices with their conversions, always the same."""
        random = np.random.default_rng(VALIDATION_SEED)
        batch = self._with_noise(self.valid_crops.draw(random, VALIDATED), random)
        return self.on_device(batch | conversion_targets(batch, VALIDATED))

    def _features(self, x: Tensor) -> Tensor:
        """Features of the frozen vocoder, (B * T', C)."""
        features: Tensor = self.adversary.vocoder.features(self.norm.undo(x))
        return features.transpose(1, 2).flatten(0, 1)

    def validate(self) -> Scalars:
        """Scores on held-out voices.

        Reconstructions: "mel", the L1 distance; "sharpness", the ratio of the mean change over time (blur lowers it).
        Conversions: "quality", minus the `frechet_distance` of vocoder features; "words", 1 minus the consistency loss,
        with `recipe.content`; "voice", the cosine to the target, with `recipe.speaker`; "score", their sum.
        """
        batch = self._validated = self._held_out()
        self.forward(batch)
        x, converted, x0 = self.outputs.reconstructed, self.outputs.converted, self.norm(batch["mel"])
        conversion = self.norm.undo(converted)
        scores = {"quality": -float(frechet_distance(self._features(x0), self._features(converted)))}
        if self.extra.content_encoder is not None:
            scores["words"] = 1 - float(self.extra.consistency(conversion, batch))
        if "speaker" in self.frozen:
            scores["voice"] = float((self.frozen["speaker"](conversion) * batch["to_speaker"]).sum(1).mean())
        return {
            "mel": float((x - x0).abs().mean()),
            "sharpness": float(x.diff(dim=2).abs().mean() / x0.diff(dim=2).abs().mean()),
            **scores,
            "score": sum(scores.values()),
        }

    def exhibits(self) -> Exhibits:
        """Conversions of the last validation with their sources and targets."""
        batch = self._validated
        mels = {
            "conversion": self.norm.undo(self.outputs.converted),
            "source": batch["to_source"],
            "target": batch["mel"].roll(-1, 0),
        }
        shape = SHOWN, batch["mel"].shape[2] * MEL.hop_length
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(batch["mel"].device)
        waves = {name: rendered(self.adversary.vocoder, mel[:SHOWN], noise) for name, mel in mels.items()}
        return {f"{name}/{i}": (mels[name][i], waves[name][i]) for name in mels for i in range(SHOWN)}
