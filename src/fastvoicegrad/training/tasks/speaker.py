"""Train the speaker encoder: a pretrained verifier's embeddings from this project's mel, for windows of any length.

The targets are the verifier's embeddings of recordings, of the first `speaker_seconds` of each, from the store. With
`published` training starts from the verifier itself. Then a few hundred steps are enough: only the mel is new to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import InputError
from ...files import shown
from ...mel import MEL, log_mel
from ..data.crops import Crops
from ..data.perturb import PerturbConfig, perturb
from ..data.store import Store
from ..data.teachers import TEACHER_RATE, UNREADABLE, kaldi_features, to_teacher_rate
from ..models.speaker import RATE, SpeakerConfig, SpeakerEncoder, resampled
from ..task import Batch, LoopConfig, Scalars, Task
from ..verification import equal_error, verification_scores

LENGTHS = 4  # window lengths, from `shortest` to `longest`
FITTED = 512  # windows on which the front-end is fitted
RIDGE = 0.1  # of that fit
DELAY = round((0.0125 - 0.5 / RATE) * TEACHER_RATE)  # samples between the first frames of the two mels
VALIDATED, VALIDATION_SEED = 192, 1  # held-out windows


@dataclass(frozen=True)
class SpeakerRecipe:
    store: str
    loop: LoopConfig
    model: SpeakerConfig = field(default_factory=SpeakerConfig)
    published: str = ""  # path of CAM++'s checkpoint, from which training starts; "": from random weights
    # Room and microphone, which leave the voice as it is: no stretching.
    perturb: PerturbConfig = field(
        default_factory=lambda: PerturbConfig(formant=1.0, pitch=1.0, equaliser=0.15, gain=0.2, noise=0.2)
    )
    shortest: int = 96  # frames of a window: 1.1 s
    longest: int = 320
    corpora: dict[str, float] = field(default_factory=dict)  # weight by corpus; default 1
    weights: dict[str, float] = field(default_factory=lambda: {"cosine": 1.0, "geometry": 1.0})


class LabelledCrops(Crops):
    """Crops of recordings that have the speaker teacher's embedding, every recording equally often.

    Raises:
        InputError: no recording that is long enough has one.
    """

    def __init__(self, store: Store, split: str, frames: int, weights: dict[str, float] | None = None) -> None:
        super().__init__(store, split, frames, weights)
        labelled = np.isfinite(store.array("speaker_teacher")[self.rows, 0])
        self.entries = [e for e, known in zip(self.entries, labelled, strict=True) if known]
        self.rows = self.rows[labelled]
        if not self.entries:
            raise InputError(
                f"{store.root} has no '{split}' recording of {frames} frames with an embedding by the speaker teacher; "
                "add more of the split to the manifest and make the store again, or lower the number of frames"
            )
        mass = np.array([(weights or {}).get(e.recording.corpus, 1.0) for e in self.entries])
        self.probability = mass / mass.sum()


class SpeakerTask(Task):
    name = "speaker"
    scores = ("cosine",)

    def __init__(self, recipe: SpeakerRecipe) -> None:
        self.recipe, self.loop, self.weights = recipe, recipe.loop, recipe.weights
        self.store = Store(recipe.store)
        self.store.require_columns("speaker_teacher", recipe.model.dim, "model.dim")
        self.crops = {
            frames: LabelledCrops(self.store, "train", frames, recipe.corpora)
            for frames in np.linspace(recipe.shortest, recipe.longest, LENGTHS).astype(int).tolist()
        }
        self.held_out = LabelledCrops(self.store, "valid", recipe.shortest * 2)
        torch.manual_seed(recipe.loop.seed)
        model = SpeakerEncoder(recipe.model)
        if recipe.published:
            fill_published(model, recipe.published)
            crops = self.crops[recipe.longest]
            fit_front(model, [wave.numpy() for wave in crops.wave(crops.draw(np.random.default_rng(0), FITTED))])
        self.modules = {"speaker": model}
        self.frozen = {}

    def model_config(self) -> SpeakerConfig:
        return self.recipe.model

    def batch(self, random: np.random.Generator, size: int) -> Batch:
        """mel (B, 80, T) and target (B, S). Batches of longer windows have fewer of them, at about the same cost."""
        crops = self.crops[int(random.choice(list(self.crops)))]
        drawn = crops.draw(random, self._count(size, crops.frames))
        target = torch.from_numpy(self.store.array("speaker_teacher")[[c.row for c in drawn]])
        return {"mel": perturb(crops.take("mel", drawn), random, self.recipe.perturb), "target": target}

    def _count(self, size: int, frames: int) -> int:
        """Windows of `frames` frames in a batch."""
        return size * self.recipe.longest // frames // 2

    def smallest_batch(self, size: int) -> int:
        return self._count(size, self.recipe.longest)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """cosine: E[1 - cos(e, e*)]. geometry: 10 E[(e_i e_j - e*_i e*_j)^2] over the pairs of a batch.

        The second compares the angles between embeddings, which is what a verifier is used for.
        """
        target, embedding = batch["target"], self.modules["speaker"](batch["mel"])
        angles = (embedding @ embedding.T - target @ target.T).square().mean()
        return {"cosine": (1 - (embedding * target).sum(1)).mean(), "geometry": angles * 10}

    def validate(self) -> Scalars:
        """Cosine to the teacher and equal error rate on held-out voices, windows of twice `shortest`."""
        drawn = self.held_out.draw(np.random.default_rng(VALIDATION_SEED), VALIDATED)
        embedding = self.modules["speaker"](self.held_out.take("mel", drawn).to(self.device)).cpu().numpy()
        target = self.store.array("speaker_teacher")[[c.row for c in drawn]]
        voices = [self.store.entries[c.row].recording.voice for c in drawn]
        return {
            "cosine": float((embedding * target).sum(1).mean()),
            "eer": equal_error(*verification_scores(embedding, voices))[0],
            "teacher_eer": equal_error(*verification_scores(target, voices))[0],
        }


def fill_published(model: SpeakerEncoder, path: str) -> None:
    """Take over the verifier's published weights from a file.

    Raises:
        InputError: it does not hold them, or they do not fit the model.
    """
    try:
        model.fill(torch.load(path, map_location="cpu", weights_only=True))
    except (*UNREADABLE, AttributeError, ValueError) as error:
        raise InputError(
            f"published={shown(path)} does not hold CAM++'s weights in the sizes of model; "
            "name campplus_cn_en_common.pt, or leave published out"
        ) from error


@torch.no_grad()
def fit_front(model: SpeakerEncoder, waves: Sequence[np.ndarray]) -> None:
    """Fit the front-end to the verifier's own features, by least squares on samples (N,) at 22,050 Hz."""
    kernel, inputs = model.front.kernel_size[0], model.front.in_channels
    size = kernel * inputs + 1
    gram, cross = torch.zeros(size, size).double(), torch.zeros(size, inputs).double()
    for wave in waves:
        target = kaldi_features(np.pad(to_teacher_rate(wave, MEL.sample_rate), (DELAY, 0))).double()
        mel = F.pad(resampled(torch.from_numpy(log_mel(wave))[None]), (kernel // 2, kernel // 2), mode="replicate")
        x = F.pad(mel[0].unfold(1, kernel, 1).permute(1, 2, 0).flatten(1), (0, 1), value=1.0).double()
        count = min(len(x), len(target))
        gram, cross = gram + x[:count].T @ x[:count], cross + x[:count].T @ target[:count]
    found = torch.linalg.solve(gram + RIDGE * torch.eye(size), cross).float()
    model.front.weight.copy_(found[:-1].unflatten(0, (kernel, inputs)).permute(2, 1, 0))
    assert model.front.bias is not None
    model.front.bias.copy_(found[-1])
