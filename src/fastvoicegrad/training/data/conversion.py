"""Crops for the networks of a conversion: teacher and student train on these.

A reconstruction takes mel, speaker and content from one voice. A conversion asks for the source's content in another
voice of the batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import InputError
from ..models.unet import Conditions, UNet
from ..task import Batch
from .crops import Crop, Crops
from .store import Entry, Store

VOICE = ("speaker", "reference", "reference_content")  # batch keys that condition a network on a voice
UNVOICED_MEDIAN = 150.0  # Hz; for a voice without a voiced frame, where the value has no effect


@dataclass(frozen=True)
class ConversionData:
    """What teacher and student read from a feature store."""

    store: str
    frames: int = 128  # of a crop
    corpora: dict[str, float] = field(default_factory=dict)  # weight of a frame by corpus; default 1
    least_dnsmos: float = 0.0  # crops of recordings with a known DNSMOS below it are left out
    parallel: float = 0.0  # probability that the source is a parallel utterance, where the store has one
    other_recording: float = 0.5  # probability that the speaker embedding is of another recording of the voice
    reference_frames: int = 0  # frames of the voice for retrieval, never from the crop
    reference_windows: int = 3  # windows that these frames come from
    margin: int = 8  # frames around the crop that the reference leaves out; look-ahead of `context`
    context: int = 0  # frames around a crop for a content encoder in training, `margin` of them after it


def require_references(data: ConversionData) -> None:
    """Check that batches hold references.

    Raises:
        InputError: they do not.
    """
    if not data.reference_frames:
        raise InputError("retrieval and attention need data.reference_frames above 0; set it, e.g. to 384")


class ConversionCrops:
    """Random crops of one split, with everything that a conversion network reads.

    Args:
        verified: whether batches hold the speaker teacher's embedding of the voice.
    Raises:
        InputError: no recording is long enough, or with `verified` a voice has no such embedding.
    """

    def __init__(self, data: ConversionData, split: str, verified: bool = False) -> None:
        self.data, self.split, self.verified = data, split, verified
        self.store = Store(data.store)
        chosen = (data.corpora, data.least_dnsmos) if split == "train" else ()
        self.crops = Crops(self.store, split, data.frames, *chosen)
        self.by_voice: dict[str, list[int]] = defaultdict(list)
        for row, entry in enumerate(self.store.entries):
            if entry.recording.split == split:
                self.by_voice[entry.recording.voice].append(row)
        self.median_pitch = {voice: self._median_pitch(rows) for voice, rows in self.by_voice.items()}
        self.starts = np.array([entry.start for entry in self.store.entries])
        drawn = dict.fromkeys(entry.recording.voice for entry in self.crops.entries) if verified else ()
        self.verifier_embeddings = {voice: self.verifier_embedding(voice) for voice in drawn}

    def _median_pitch(self, rows: list[int]) -> float:
        pitch = np.concatenate([self.store.array("pitch")[self.store.entries[row].slice] for row in rows])
        return float(np.median(pitch[pitch > 0])) if (pitch > 0).any() else UNVOICED_MEDIAN

    def verified_speakers(self, voices: Sequence[str]) -> dict[str, Tensor]:
        """The entry "verified_speaker" of a batch, (B, 192), where `verified` asks for it."""
        if not self.verified:
            return {}
        return {"verified_speaker": torch.from_numpy(np.stack([self.verifier_embeddings[v] for v in voices]))}

    def verifier_embedding(self, voice: str) -> np.ndarray:
        """Mean of the speaker teacher's embeddings of a voice, of unit length, (192,).

        Where no recording of this split has one, those of the other split count.

        Raises:
            InputError: no recording of the voice has one.
        """
        embeddings = self._labelled(self.by_voice[voice])
        if not len(embeddings):
            embeddings = self._labelled([i for i, e in enumerate(self.store.entries) if e.recording.voice == voice])
        if not len(embeddings):
            raise InputError(
                f"{self.store.root} has no embedding by the speaker teacher of the voice '{voice}'; delete its "
                "speaker_teacher.npy and make it again with 'fastvoicegrad dev prepare', or leave the corpus out"
            )
        mean = embeddings.mean(0)
        return np.asarray(mean / np.linalg.norm(mean))

    def _labelled(self, rows: list[int]) -> np.ndarray:
        """The speaker teacher's embeddings of those of some recordings that have one, (N, 192)."""
        embeddings = self.store.array("speaker_teacher")[rows]
        return np.asarray(embeddings[np.isfinite(embeddings[:, 0])])

    def require_sizes(self, content_dim: int, speaker_dim: int, owner: str) -> None:
        """Check that a network reads the store's content and speaker embeddings.

        Args:
            owner: of the two settings, for the message.
        Raises:
            InputError: they have other sizes.
        """
        self.store.require_columns("content_unperturbed", content_dim, f"{owner}.content_dim")
        self.store.require_columns("speaker", speaker_dim, f"{owner}.speaker_dim")

    def speaker_row(self, crop: Crop, random: np.random.Generator) -> int:
        """The recording whose speaker embedding conditions the crop: its own, or another one of its voice."""
        if random.random() >= self.data.other_recording:
            return crop.row
        return int(random.choice(self.by_voice[self.store.entries[crop.row].recording.voice]))

    def reference(self, crop: Crop, random: np.random.Generator) -> np.ndarray:
        """Numbers of `reference_frames` frames of the crop's voice, in windows.

        None is of the crop itself, unless the voice has almost nothing else.
        """
        rows = self.by_voice[self.store.entries[crop.row].recording.voice]
        frames = np.concatenate([np.r_[self.store.entries[row].slice] for row in rows])
        first, last = crop.start - self.data.margin, crop.start + crop.frames + self.data.margin
        free = frames[(frames < first) | (frames >= last)]
        free = free if len(free) >= self.data.margin else frames
        starts = random.integers(len(free), size=self.data.reference_windows)
        lengths = [len(part) for part in np.array_split(range(self.data.reference_frames), len(starts))]
        return np.concatenate([free[(a + np.arange(n)) % len(free)] for a, n in zip(starts, lengths, strict=True)])

    def source(self, crop: Crop, random: np.random.Generator) -> np.ndarray:
        """Numbers of the source's frames, (T,): the crop's own, or those of its parallel utterance in this split."""
        crop_frames = np.arange(crop.start, crop.start + crop.frames)
        if random.random() < self.data.parallel:
            parallel = self.store.array("parallel")[crop_frames]
            if (parallel >= 0).all() and self._entries(parallel[:1])[0].recording.split == self.split:
                return np.asarray(parallel)
        return crop_frames

    def _entries(self, frames: np.ndarray) -> list[Entry]:
        """The store's entries that hold some frames."""
        return [self.store.entries[i] for i in np.searchsorted(self.starts, frames, "right") - 1]

    def in_context(self, frames: np.ndarray) -> tuple[Tensor, Tensor]:
        """Mel around frames (B, T) of one recording each.

        A recording's first or last frame repeats beyond its ends. A crop that runs much slower than its source loses
        its start.

        Returns:
            the mel (B, 80, T + context), and the place of each frame in it (B, T).
        """
        length = frames.shape[1] + self.data.context
        first = frames.max(1, keepdims=True) + 1 + self.data.margin - length
        bounds = np.array([(e.start, e.start + e.frames - 1) for e in self._entries(frames[:, 0])])
        window = np.clip(first + np.arange(length), bounds[:, :1], bounds[:, 1:])
        return self._frames("mel", window), torch.from_numpy((frames - first).clip(min=0))

    def _frames(self, name: str, frames: np.ndarray) -> Tensor:
        """An array of the store at frames (B, N), transposed: (B, C, N)."""
        return torch.from_numpy(self.store.array(name)[frames].astype(np.float32)).transpose(1, 2).contiguous()

    def draw(self, random: np.random.Generator, size: int) -> Batch:
        """A batch of crops. Mels are natural logs, T is `data.frames`, N `data.reference_frames`, L `data.context`.

        | key                  | shape          | meaning                                           | present with    |
        |----------------------|----------------|---------------------------------------------------|-----------------|
        | mel                  | (B, 80, T)     | the crop: what a reconstruction must give         | always          |
        | source               | (B, 80, T)     | what is converted: the crop or its parallel       | always          |
        | content              | (B, C, T)      | of the source, encoded from a perturbed voice     | always          |
        | crop_content         | (B, C, T)      | of the crop, encoded without perturbation         | always          |
        | speaker              | (B, S)         | speaker embedding of the crop's voice             | always          |
        | pitch                | (B, T)         | F0 of the crop in Hz, 0 where unvoiced            | always          |
        | median_pitch         | (B,)           | of the voice, in Hz                               | always          |
        | verified_speaker     | (B, 192)       | the speaker teacher's embedding of the voice      | `verified`      |
        | reference            | (B, 80, N)     | frames of the voice, see `reference`              | N > 0           |
        | reference_content    | (B, C, N)      | content of these frames, without perturbation     | N > 0           |
        | units                | (B, T)         | content units of the crop                         | L > 0           |
        | source_context       | (B, 80, T + L) | mel around the source                             | L > 0           |
        | source_context_index | (B, T)         | place of each source frame in it                  | L > 0           |
        | crop_context         | (B, 80, T + L) | mel around the crop                               | L > 0           |
        | crop_context_index   | (B, T)         | place of each crop frame in it                    | L > 0           |
        """
        drawn = self.crops.draw(random, size)
        sources = np.stack([self.source(crop, random) for crop in drawn])
        rows = [self.speaker_row(crop, random) for crop in drawn]
        voices = [self.store.entries[crop.row].recording.voice for crop in drawn]
        batch = {
            "mel": self.crops.take("mel", drawn),
            "source": self._frames("mel", sources),
            "content": self._frames("content", sources),
            "speaker": torch.from_numpy(np.asarray(self.store.array("speaker")[rows], dtype=np.float32)),
            "pitch": self.crops.take("pitch", drawn),
            "median_pitch": torch.tensor([self.median_pitch[v] for v in voices]),
            "crop_content": self.crops.take("content_unperturbed", drawn),
        }
        batch |= self.verified_speakers(voices)
        if self.data.reference_frames:
            frames = np.stack([self.reference(crop, random) for crop in drawn])
            batch["reference"] = self._frames("mel", frames)
            batch["reference_content"] = self._frames("content_unperturbed", frames)
        if self.data.context:
            crop_frames = np.stack([np.arange(crop.start, crop.start + crop.frames) for crop in drawn])
            batch["units"] = self.crops.take("units", drawn)
            batch["source_context"], batch["source_context_index"] = self.in_context(sources)
            batch["crop_context"], batch["crop_context_index"] = self.in_context(crop_frames)
        return batch


def conditions_of(unet: UNet, batch: Batch) -> Conditions:
    """`UNet.conditions` of a batch."""
    return unet.conditions(batch["content"], batch.get("reference_content"), batch.get("reference"), batch.get("pitch"))


def conversion_targets(batch: Batch, count: int) -> Batch:
    """Ask for each of the first items in the voice of the next one, for `count` items, at most all but one.

    Returns:
        what changes against the reconstruction, as "to_" keys. The source is the crop itself, unperturbed, as at run
        time; its pitch is scaled by the ratio of the two medians.
    """
    count = min(count, len(batch["mel"]) - 1)
    names = [name for name in (*VOICE, "verified_speaker", "median_pitch") if name in batch]
    targets = {f"to_{name}": batch[name].roll(-1, 0)[:count] for name in names}
    targets |= {"to_source": batch["mel"][:count], "to_content": batch["crop_content"][:count]}
    if "crop_context" in batch:
        targets["to_source_context"] = batch["crop_context"][:count]
        targets["to_source_context_index"] = batch["crop_context_index"][:count]
    ratio = targets["to_median_pitch"] / batch["median_pitch"][:count]
    return targets | {"to_pitch": batch["pitch"][:count] * ratio[:, None]}


def as_conversions(batch: Batch) -> Batch:
    """The conversions that `conversion_targets` asks for, as a batch of their own."""
    count = len(batch["to_speaker"])
    kept = {name: value[:count] for name, value in batch.items() if not name.startswith("to_")}
    return kept | {n.removeprefix("to_"): v for n, v in batch.items() if n.startswith("to_")}


def speaker_conditions(batch: Batch, count: int) -> Batch:
    """The voice conditions of a batch's first items."""
    return {name: batch[name][:count] for name in VOICE if name in batch}


def unconditional_speaker(batch: Batch, count: int) -> Batch:
    """The mean voice of a batch, `count` times: the unconditional speaker of classifier-free guidance.

    The embedding is the normalised mean. References are every B-th frame of the B references, one after the other.
    """
    mean = {"speaker": F.normalize(batch["speaker"].mean(0, keepdim=True), dim=1)}
    for name in ("reference", "reference_content"):
        if name in batch:
            mean[name] = batch[name][:, :, :: len(batch[name])].transpose(0, 1).flatten(1)[None]
    return {name: value.expand(count, *value.shape[1:]) for name, value in mean.items()}
