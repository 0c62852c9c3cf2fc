"""Every setting of a student's training."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...errors import InputError
from ...mel import MEL
from ...postfilter import PostFilter
from ..data.conversion import ConversionData
from ..data.crops import require_multiple
from ..data.perturb import PerturbConfig
from ..losses import MatchedLayers, Weighting
from ..models.content import ContentEncoder
from ..models.unet import UNet
from ..networks import VocoderKind
from ..schedule import ScheduleConfig
from ..task import LoopConfig
from .adversary import AdversaryConfig

PAPER_WEIGHTS = {"adv": 1.0, "fm": 2.0, "dist": 45.0}
EXTRA_WEIGHTS = dict.fromkeys(("mel", "speaker", "ge2e", "consistency", "recogniser", "content"), 0.0)


@dataclass(frozen=True)
class StudentRecipe:
    data: ConversionData
    loop: LoopConfig
    teacher: str  # checkpoint; the student starts from it too
    vocoder: str  # checkpoint of the frozen vocoder
    vocoder_kind: VocoderKind = "spectral"
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    weighting: Weighting = "sqrt_alpha_bar"  # c(t)
    distill_steps: tuple[int, int] = (1, 1000)  # first and last t of L_dist
    adversary: AdversaryConfig = field(default_factory=AdversaryConfig)
    # Of each loss; 0 switches it off. "adv", "fm" and "dist" are the paper's. "mel" is L1 on reconstructions. The
    # others are in student_losses.py.
    weights: dict[str, float] = field(default_factory=lambda: PAPER_WEIGHTS | EXTRA_WEIGHTS)

    fm_layers: MatchedLayers = "all"  # of each discriminator, in L_FM; the paper: all

    # Everything below is not in the paper.

    # Perturbation of the source's mel in x_{S_K}, and another one of what a trained content encoder reads; None: none.
    # A real other voice comes from data.parallel.
    source_perturbation: PerturbConfig | None = None
    conversions: int = 4  # crops of a batch that are also converted to another voice, where a loss needs conversions
    # Weights of classifier-free guidance (arXiv 2207.12598) for the teacher of conversions: away from the
    # "unconditional" speaker and from the "source" speaker. With both 0 conversions have no teacher.
    guidance: dict[str, float] = field(default_factory=lambda: {"unconditional": 0.0, "source": 0.0})
    # Guidance weight of the student's own conversions, as at run time, so every loss gets the guided result.
    conversion_guidance: float = 0.0
    conversion_guidance_cosines: int = MEL.n_mels  # lowest cosine components of that term that are kept
    speaker: str = ""  # checkpoint of the speaker encoder, for the loss "speaker" and the score "voice"
    # Weights of a second verifier, for the loss "ge2e": the first one's score can rise without another one's.
    ge2e: str = ""
    recogniser: str = ""  # path of a Whisper checkpoint, for the loss "recogniser"
    # Distance of conversions that counts as none, for each block of the recogniser. Two natural speakers differ too, so
    # a smaller distance would keep the source's voice. Reconstructions have no margin.
    recogniser_margins: tuple[float, ...] = ()
    # The losses of student_losses.py read the mel of the vocoder's sound behind `postfilter`, not the student's mel.
    judge_sound: bool = False
    postfilter: PostFilter = field(default_factory=PostFilter)
    content: str = ""  # checkpoint of the content encoder, for the loss "consistency" and the score "words"
    train_content: bool = False  # train that encoder with the student (arXiv 2508.17868)

    def __post_init__(self) -> None:
        """Raises InputError where settings do not fit each other."""
        weights = self.weights
        first, last = self.distill_steps
        if not 1 <= first <= last <= self.schedule.steps:
            raise InputError(
                f"distill_steps must be two steps in order, from 1 to schedule.steps, {self.schedule.steps}"
            )
        if not 1 <= self.conversion_guidance_cosines <= MEL.n_mels:
            raise InputError(f"conversion_guidance_cosines must lie between 1 and {MEL.n_mels}")
        require_networks(weights, self.speaker, self.recogniser)
        if weights.get("ge2e") and not (self.ge2e and self.data.reference_frames):
            raise InputError(
                "the loss 'ge2e' needs ge2e, Resemblyzer's pretrained.pt, and data.reference_frames above 0"
            )
        if weights.get("consistency") and not self.content:
            raise InputError("the loss 'consistency' needs the content encoder; set content to its checkpoint")
        if self.judge_sound and self.vocoder_kind != "spectral":
            raise InputError("judge_sound needs vocoder_kind 'spectral', whose pitch is an input")
        require_multiple(self.data.frames, UNet.stride, "data.frames")
        if self.train_content:
            self._check_context()

    def _check_context(self) -> None:
        """Raises InputError where the content encoder in training has no checkpoint, or would read wrong frames."""
        data = self.data
        if not (self.content and data.context):
            raise InputError("train_content needs content, a checkpoint, and data.context above 0, e.g. 64")
        if data.context < data.margin:
            raise InputError(
                f"train_content needs data.context of {data.margin} or more, as many frames as data.margin has, "
                f"got {data.context}; raise it, or lower data.margin"
            )
        for name in ("context", "reference_frames"):
            require_multiple(getattr(data, name), ContentEncoder.stride, f"with train_content, data.{name}")

    @property
    def guided(self) -> bool:
        """Whether conversions have a teacher."""
        return any(self.guidance.values())

    @property
    def converting(self) -> bool:
        """Whether any loss needs conversions to other voices."""
        losses = any(self.weights.get(name) for name in ("speaker", "ge2e", "consistency", "recogniser"))
        return self.guided or losses or self.train_content


def require_networks(weights: dict[str, float], speaker: str, recogniser: str) -> None:
    """Check that each loss has its pretrained network.

    Raises:
        InputError: one has not.
    """
    if weights.get("speaker") and not speaker:
        raise InputError("the loss 'speaker' needs the speaker encoder; set speaker to its checkpoint")
    if weights.get("recogniser") and not recogniser:
        raise InputError("the loss 'recogniser' needs a recogniser; set recogniser to a Whisper checkpoint")
