"""Distil the teacher into one step: adversarial conditional diffusion distillation (FastVoiceGrad section 3).

The student is the teacher read once, at S_K: x_phi = mu_phi(x_{S_K}, S_K, s, p). Reconstruction only: x, s and
p are of one voice. L = L_adv + 2 L_FM + 45 L_dist; adversary.py has the discriminators.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from ...diffusion import diffuse, guided, initial_state
from ...errors import InputError
from ...mel import MEL, lowpass_projection
from ..checkpoint import DISCRIMINATOR, load_network, read_meta
from ..data.crops import Crops
from ..data.embed import load_content, load_speaker
from ..data.perturb import PerturbConfig, perturb
from ..data.teachers import MelRecogniser, MelSpeakerTeacher
from ..loop import Batch, Exhibits, LoopConfig, Scalars, Task
from ..losses import (
    Weighting,
    adversarial_discriminator,
    adversarial_generator,
    content_consistency_loss,
    feature_matching,
    frechet_distance,
    recogniser_loss,
    score_distillation,
    speaker_similarity_loss,
    weighted_sum,
)
from ..models.blocks import MelNorm, inner
from ..models.unet import Denoiser, UNet, UNetConfig
from ..models.vocoder import HiFiGAN, SpectralVocoder, VocoderConfig
from .adversary import Adversary, AdversaryConfig, Vocoder, rendered
from .content import CONTENT_WEIGHTS, ContentModel, content_losses, prosody_of
from .others import as_conversions, conversion_targets, speaker_conditions, unconditional_speaker
from .teacher import (
    ConversionCrops,
    ConversionData,
    ScheduleConfig,
    draw_steps,
    hints_of,
    load_unet,
    normal,
    require_references,
)

VALIDATED, SHOWN = 48, 4  # held-out crops that are converted, and of these, that TensorBoard shows


@dataclass(frozen=True)
class StudentRecipe:
    data: ConversionData
    loop: LoopConfig
    teacher: str  # checkpoint; also where the student starts
    vocoder: str  # checkpoint of the frozen vocoder
    vocoder_kind: Literal["spectral", "hifigan"] = "spectral"
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    # Another voice for every source that is to be reconstructed, in x_{S_K} alone; the paper: none. A real other
    # voice, where there is one, comes by `data.parallel`.
    source_perturbation: PerturbConfig | None = None
    weighting: Weighting = "sqrt_alpha_bar"  # c(t)
    distill_steps: tuple[int, int] = (1, 1000)  # first and last t at which the teacher is asked
    adversary: AdversaryConfig = field(default_factory=AdversaryConfig)
    verifier: str = ""  # CAM++ weights, for the "voice" loss
    content: str = ""  # checkpoint of the content encoder, for the "words" loss and for validation
    train_content: bool = False  # whether it is trained with the student (arXiv 2508.17868), which then hears by it
    recogniser: str = ""  # a Whisper checkpoint, for the "recognised" loss
    # How far a conversion may be from its source for each of the recogniser's blocks: two voices that say the same are
    # apart, too, and what is nearer has the source's voice. Reconstructions may not be at all.
    recogniser_margins: tuple[float, ...] = ()
    conversions: int = 4  # crops of a batch that are also converted to another's voice, where something hears them
    # How far the teacher of conversions goes beyond what it says for the voice asked for (classifier-free guidance,
    # arXiv 2207.12598), away from what it says for "unconditional" and for the "source"'s own; all 0: conversions have no
    # teacher, as in the paper.
    guidance: dict[str, float] = field(default_factory=lambda: {"unconditional": 0.0, "source": 0.0})
    # How far conversions themselves go beyond what the student says for the voice asked for, away from what it says for
    # the source's own: as in use (a bundle's `guidance` and `guidance_cosines`), so that all that hears and judges them
    # has that, too.
    conversion_guidance: float = 0.0
    conversion_guidance_cosines: int = MEL.n_mels
    draft_tolerance: float = 0.0  # of conversions, in use as here; reconstructions are the network's alone
    # Not in the paper, useful where the budget is small: "mel", plain reconstruction; "voice", a verifier's opinion
    # of conversions to another voice, as the authors train later (ADCD, arXiv 2508.17868); "words", that the content
    # encoder hears in such conversions what it hears in their sources; "recognised", that a recogniser hears in all it
    # makes what it hears in the real speech; "content", a learning content encoder's own losses. 0 switches a term off.
    weights: dict[str, float] = field(
        default_factory=lambda: (
            {"adv": 1.0, "fm": 2.0, "dist": 45.0}
            | dict.fromkeys(("mel", "speaker", "consistency", "recogniser", "content"), 0.0)
        )
    )


def load_vocoder(path: str, kind: str) -> Vocoder:
    """A frozen vocoder, in evaluation mode."""
    if kind == "hifigan":
        return HiFiGAN.from_checkpoint(path)
    model = SpectralVocoder(VocoderConfig(**read_meta(path)["model"]))
    load_network(path, model)
    return model.eval()


class StudentTask(Task):
    name = "student"

    def __init__(self, recipe: StudentRecipe) -> None:
        self.recipe, self.loop = recipe, recipe.loop
        self.train_crops = ConversionCrops(recipe.data, "train", describe=self.converting)
        self.valid_crops = ConversionCrops(recipe.data, "valid")
        torch.manual_seed(recipe.loop.seed)
        if max(recipe.distill_steps[1], recipe.adversary.steps[1]) > recipe.schedule.steps:
            raise InputError(f"distill_steps and adversary.steps end at schedule.steps, {recipe.schedule.steps}")
        if not 1 <= recipe.conversion_guidance_cosines <= MEL.n_mels:
            raise InputError(f"conversion_guidance_cosines must lie between 1 and {MEL.n_mels}")
        teacher = load_unet(recipe.teacher)
        if teacher.config.retrieval:
            require_references(recipe.data)
        vocoder = load_vocoder(recipe.vocoder, recipe.vocoder_kind)
        student = load_unet(recipe.teacher)
        student.config = replace(student.config, draft_tolerance=recipe.draft_tolerance)
        self.alpha_bar = recipe.schedule.alpha_bar()
        self.adversary = Adversary(recipe.adversary, vocoder, student.norm, self.alpha_bar)
        self.modules = {"student": student, DISCRIMINATOR: self.adversary.discriminator()}
        self.frozen = {
            "teacher": teacher.requires_grad_(False).eval(),
            "vocoder": vocoder.requires_grad_(False),
        }
        if recipe.weights.get("speaker"):
            if not recipe.verifier:
                raise InputError("the loss 'voice' needs a verifier; set verifier to the path of CAM++'s weights")
            self.frozen["verifier"] = MelSpeakerTeacher(recipe.verifier, self._waves()).eval()
        if recipe.weights.get("recogniser"):
            if not recipe.recogniser:
                raise InputError("the loss 'recognised' needs a recogniser; set recogniser to a Whisper checkpoint")
            recogniser = MelRecogniser(recipe.recogniser, self._waves()).eval()
            if recipe.recogniser_margins and len(recipe.recogniser_margins) != recogniser.depth:
                raise InputError(
                    f"the recogniser has {recogniser.depth} blocks; give recogniser_margins as many figures"
                )
            self.frozen["recogniser"] = recogniser
        if recipe.content:
            self.frozen["content"] = load_content(recipe.content).requires_grad_(False)
        elif recipe.weights.get("consistency"):
            raise InputError("the loss 'words' needs the content encoder; set content to the path of its checkpoint")
        if recipe.train_content:
            if not (recipe.content and recipe.data.context):
                raise InputError("train_content needs content, a checkpoint, and data.context above 0, e.g. 64")
            self.modules["content"] = load_content(recipe.content).train()
        if recipe.data.speaker:
            self.frozen["speaker"] = load_speaker(recipe.data.speaker).requires_grad_(False)

    @property
    def converting(self) -> bool:
        """Whether crops are also converted to other voices."""
        heard = any(self.recipe.weights.get(name) for name in ("speaker", "consistency", "recogniser"))
        return self.guided or heard or self.recipe.train_content

    @property
    def guided(self) -> bool:
        """Whether conversions have a teacher."""
        return any(self.recipe.guidance.values())

    def _waves(self) -> list[np.ndarray]:
        """Recordings on which teachers of mels are fitted."""
        crops = Crops(self.train_crops.store, "train", self.recipe.data.frames)
        return [wave.numpy() for wave in crops.wave(crops.draw(np.random.default_rng(0), 96))]

    @property
    def student(self) -> UNet:
        """The network itself, without the wrapper that several processes need."""
        return cast(UNet, inner(self.modules["student"]))

    @property
    def norm(self) -> MelNorm:
        return self.student.norm

    def model_config(self) -> UNetConfig:
        return self.student.config

    def _noised(self, batch: Batch, random: np.random.Generator) -> Batch:
        voices = self.recipe.source_perturbation
        augmented = {n: perturb(batch[n], random, voices) for n in ("source", "heard") if voices and n in batch}
        return batch | {
            **augmented,
            "start_noise": normal(random, batch["mel"]),
            "step": draw_steps(random, len(batch["mel"]), *self.recipe.distill_steps),
            "step_noise": normal(random, batch["mel"]),
            **self.adversary.draw(random, batch["mel"]),
        }

    def batch(self, random: np.random.Generator, size: int) -> Batch:
        batch = self._noised(self.train_crops.draw(random, size), random)
        return batch | (conversion_targets(batch, self.recipe.conversions) if self.converting else {})

    def _diffuse(self, x0: Tensor, noise: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """x_t and alpha_bar (B,) of each item's step."""
        ab = self.alpha_bar.to(x0.device)[step]
        return diffuse(x0, noise, ab[:, None, None]), ab

    def listen(self, batch: Batch) -> Batch:
        """A batch with what a learning content encoder hears for contents, and what its heads tell."""
        if "content" not in self.modules:
            return batch
        at = batch["source_context_index"][:, None]
        told = (x.gather(2, at.expand(-1, x.shape[1], -1)) for x in self.modules["content"](batch["heard"]))
        heard = dict(zip(("content", "units_heard", "prosody_heard"), told, strict=True))
        if "reference" in batch:
            with torch.no_grad():  # keys do not move towards the source
                heard["reference_content"] = inner(self.modules["content"]).encoder(batch["reference"])
        return batch | heard

    def convert(self, batch: Batch) -> Tensor:
        """x_phi of a batch, normalised."""
        start = torch.full_like(batch["step"], self.recipe.schedule.start)
        ab = self.alpha_bar.to(start.device)[start]
        source, noise = self.norm(batch["source"]), batch["start_noise"]
        x = initial_state(self.recipe.schedule.initial, source, noise, ab[:, None, None])
        return self._estimate(self.modules["student"], x, start, ab, batch)

    def _estimate(self, unet: nn.Module, x_t: Tensor, step: Tensor, ab: Tensor, batch: Batch) -> Tensor:
        """x0 as a network sees it in x_t of a batch."""
        hints = hints_of(self.student, batch)
        x0: Tensor = Denoiser(unet)(x_t, step, ab, batch["speaker"], batch["content"], hints)[0]
        return x0

    def _teacher_says(self, x: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """x_theta of the student's output diffused to a random step, and alpha_bar there."""
        x_t, ab = self._diffuse(x, batch["step_noise"], batch["step"])
        return self._estimate(self.frozen["teacher"], x_t, batch["step"], ab, batch), ab

    def _features(self, x: Tensor) -> Tensor:
        """Features of the frozen vocoder; the gradient passes through it to x."""
        features: Tensor = self.frozen["vocoder"].features(self.norm.undo(x))  # type: ignore[operator]
        return features

    def _convert_to_others(self, batch: Batch) -> Tensor:
        """Conversions of a batch's first crops; of none where nothing hears them."""
        if "to_speaker" not in batch:
            return self._reconstructed[:0]
        others = self._others = self.listen(as_conversions(batch))
        x = self.convert(others)
        if share := self.recipe.conversion_guidance:
            own = self.convert(others | speaker_conditions(self._listened, len(x)))
            onto = torch.from_numpy(lowpass_projection(self.recipe.conversion_guidance_cosines)).to(x.device)
            x = guided(x, own, share, onto)
        return self.student.towards_draft(x, hints_of(self.student, others))

    def _guided(self, x: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """`_teacher_says` of a batch's conversions, with guidance."""
        others = as_conversions(batch)
        asked, ab = self._teacher_says(x, others)
        guided = asked
        for name, voice in {
            "unconditional_speaker": unconditional_speaker(batch, len(x)),
            "source": speaker_conditions(batch, len(x)),
        }.items():
            if weight := self.recipe.guidance.get(name):
                guided = guided + weight * (asked - self._teacher_says(x, others | voice)[0])
        return guided, ab

    @property
    def adversarial(self) -> bool:
        return bool(self.recipe.weights["adv"] or self.recipe.weights["fm"])

    def forward(self, batch: Batch) -> None:
        """Reconstructions and conversions, (B, 80, T) each, and what the discriminator sees of the real."""
        self._listened = self.listen(batch)
        self._reconstructed = self.convert(self._listened)
        self._converted = self._convert_to_others(batch)
        if self.adversarial:
            with torch.no_grad():
                self._real = self.adversary.see(self.norm(batch["mel"]), batch)

    def discriminator_loss(self, batch: Batch) -> Tensor:
        with torch.no_grad():
            fake = self.adversary.see(torch.cat([self._reconstructed, self._converted]), batch)
        judge = self.modules["discriminator"]
        return adversarial_discriminator(judge(*self._real)[0], judge(*fake)[0])

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        x, x0, weights = self._reconstructed, self.norm(batch["mel"]), self.recipe.weights
        losses: dict[str, Tensor] = {"mel": (x - x0).abs().mean()}
        if weights["dist"]:
            with torch.no_grad():
                estimate, ab = self._teacher_says(x.detach(), batch)
                if self.guided:
                    guided, guided_ab = self._guided(self._converted, batch)
                    estimate, ab = torch.cat([estimate, guided]), torch.cat([ab, guided_ab])
            outputs = torch.cat([x, self._converted]) if self.guided else x
            losses["dist"] = score_distillation(outputs, estimate, ab, self.recipe.weighting)
        if self.adversarial:
            judge = self.modules["discriminator"].requires_grad_(False)
            scores, features = judge(*self.adversary.see(x, batch))
            if len(self._converted):
                others, _ = judge(*self.adversary.see(self._converted, batch))
                scores = [torch.cat(pair) for pair in zip(scores, others, strict=True)]
            with torch.no_grad():
                _, real = judge(*self._real)
            judge.requires_grad_(True)
            losses["adv"] = adversarial_generator(scores)
            losses["fm"] = feature_matching(real, features)
        return losses | self._heard(batch)

    def _heard(self, batch: Batch) -> dict[str, Tensor]:
        """What is heard in conversions: whose voice, which words."""
        losses, mel = {}, self.norm.undo(self._converted)
        if "verifier" in self.frozen:
            asked, left = self._verified(batch, "to_", len(mel)), self._verified(batch, "", len(mel))
            losses["speaker"] = speaker_similarity_loss(self.frozen["verifier"](mel), asked, left)
        if self.recipe.weights.get("consistency"):
            hear = cast(ContentModel, self.frozen["content"]).encoder
            losses["consistency"] = content_consistency_loss(hear(mel), hear(batch["to_source"]))
        if "recogniser" in self.frozen:
            losses["recogniser"] = self._recogniser_loss(self.norm.undo(self._reconstructed), batch["mel"])
            if len(mel):
                losses["recogniser"] += self._recogniser_loss(mel, batch["to_source"], self.recipe.recogniser_margins)
        if "content" in self.modules:
            told = {"units": self._others["units"]} | prosody_of(
                batch["to_source"], self._others["pitch"], self._others["median_pitch"]
            )
            heads = content_losses(self._others["units_heard"], self._others["prosody_heard"], told)
            losses["content"] = weighted_sum(heads, CONTENT_WEIGHTS)
        return losses

    def _recogniser_loss(self, made: Tensor, real: Tensor, allowed: tuple[float, ...] = ()) -> Tensor:
        recognise = self.frozen["recogniser"]
        with torch.no_grad():
            said = recognise(real)
        return recogniser_loss(recognise(made), said, allowed)

    @torch.no_grad()
    def _verified(self, batch: Batch, prefix: str, count: int) -> Tensor:
        """What the verifier makes of voices: known where they are somebody's, heard now where they are new."""
        known = {
            n: batch[f"{prefix}{n}"][:count] for n in ("voice", "reference", "augmented") if f"{prefix}{n}" in batch
        }
        voices = known["voice"].clone()
        if "augmented" in known and (augmented := known["augmented"]).any():
            voices[augmented] = self.frozen["verifier"](known["reference"][augmented])
        return voices

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        return weighted_sum(losses, self.recipe.weights)

    def _held_out(self) -> Batch:
        """Crops of held-out voices, each to be reconstructed and to be said in the voice of the next one."""
        random = np.random.default_rng(1)
        device = next(self.modules["student"].parameters()).device
        batch = self._noised(self.valid_crops.draw(random, VALIDATED), random)
        return {k: v.to(device) for k, v in (batch | conversion_targets(batch, VALIDATED)).items()}

    def validate(self) -> Scalars:
        """Of reconstructions, the distance of mels and of their spread along time (blur lowers it). Of conversions,
        "quality": how far their features in the vocoder are from real ones (`frechet_distance`), below 0; "words",
        where there is a content encoder: 1 - `content_consistency_loss`; "voice", where there is a speaker encoder (data.speaker):
        cosine to the target; and their sum, "score"."""
        batch = self._held = self._held_out()
        self.forward(batch)
        x, x0, y = self._reconstructed, self.norm(batch["mel"]), self._converted
        real, fake = (self._features(mel).transpose(1, 2).flatten(0, 1) for mel in (x0, y))
        scores = {"quality": -float(frechet_distance(real, fake))}
        if "content" in self.frozen:
            hear = cast(ContentModel, self.frozen["content"]).encoder
            scores["words"] = 1 - float(content_consistency_loss(hear(self.norm.undo(y)), hear(batch["to_source"])))
        if "speaker" in self.frozen:
            heard = self.frozen["speaker"](self.norm.undo(y))
            scores["voice"] = float((heard * batch["to_speaker"]).sum(1).mean())
        return {
            "mel": float((x - x0).abs().mean()),
            "sharpness": float(x.diff(dim=2).abs().mean() / x0.diff(dim=2).abs().mean()),
            **scores,
            "score": sum(scores.values()),
        }

    def exhibits(self) -> Exhibits:
        """Conversions of the last validation beside their sources and targets."""
        batch = self._held
        mels = {
            "conversion": self.norm.undo(self._converted),
            "source": batch["to_source"],
            "target": batch["mel"].roll(-1, 0),
        }
        noise = torch.zeros(SHOWN, batch["mel"].shape[2] * MEL.hop_length, device=batch["mel"].device)
        waves = {name: rendered(self.adversary.vocoder, mel[:SHOWN], noise) for name, mel in mels.items()}
        return {f"{name}/{i}": (mels[name][i], waves[name][i]) for name in mels for i in range(SHOWN)}
