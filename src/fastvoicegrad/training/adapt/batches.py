"""Batches of an adaptation: crops of the voice given in other voices, and shipped speech to convert."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...bundle import Bundle
from ...mel import MEL, Array
from ..data.perturb import PerturbConfig, perturb
from ..task import Batch
from .recordings import Recordings
from .settings import AdaptConfig
from .shipped import Source

WINDOWS = 3  # that the reference's frames come from
BEFORE, AFTER = 48, 24  # frames around a crop that the content encoder reads; it may see more at run time


@dataclass(frozen=True)
class Target:
    """A voice in training.

    Attributes:
        recordings: its clips and its zero-shot voice.
        starts: of each clip among the frames of `content` (C, N) and `mel` (80, N), which hold all clips.
    """

    recordings: Recordings
    starts: np.ndarray
    content: Array
    mel: Array

    @classmethod
    def of(cls, recordings: Recordings) -> Target:
        clips = recordings.train
        starts = np.cumsum([0, *(clip.frames for clip in clips)])
        content, mel = (np.concatenate([getattr(c, name) for c in clips], axis=1) for name in ("content", "mel"))
        return cls(recordings, starts, content, mel)

    def others(self, clip: int) -> np.ndarray:
        """Numbers of the frames of all clips but one; of all where there is one only."""
        first, last = self.starts[clip], self.starts[clip + 1]
        others = np.r_[:first, last : self.starts[-1]]
        return others if len(others) else np.arange(self.starts[-1])


@dataclass
class _Item:
    """One crop with everything that is drawn for it."""

    window: Array  # (80, BEFORE + T + AFTER): the source around the crop
    pitch: Array  # (T,) of the result
    reference: tuple[Array, Array]  # mel (80, N) and content (C, N)
    perturbation: PerturbConfig  # of the window
    mel: Array | None = None  # (80, T): what a reconstruction must give
    source: Array | None = None  # (80, T): whose content a conversion must keep, the source without perturbation


class Batches:
    """Draws batches of reconstructions, then conversions.

    | key                 | shape           | meaning                                               |
    |---------------------|-----------------|-------------------------------------------------------|
    | window              | (B, 80, T + 72) | the perturbed source around each crop, log-mel        |
    | pitch               | (B, T)          | F0 of the result in Hz                                |
    | reference           | (B, 80, N)      | frames of the target, none from the crop's clip       |
    | reference_content   | (B, C, N)       | content of these frames                               |
    | target              | (B,)            | number of the target, one for the batch               |
    | noise               | (B, 80, T)      | of x_{S_K}, times the bundle's temperature            |
    | mel                 | (R, 80, T)      | what the reconstructions must give, log-mel           |
    | source              | (B - R, 80, T)  | the conversions' sources, not perturbed, log-mel      |
    """

    def __init__(self, bundle: Bundle, targets: Sequence[Target], sources: Sequence[Source], config: AdaptConfig):
        self.bundle, self.targets, self.sources, self.config = bundle, targets, sources, config

    def draw(self, random: np.random.Generator) -> Batch:
        """The batch of a step."""
        config, index = self.config, int(random.integers(len(self.targets)))
        items = [self._reconstruction(self.targets[index], random) for _ in range(config.reconstructions)]
        items += [self._conversion(self.targets[index], random) for _ in range(config.conversions)]
        windows = [perturb(_tensor([item.window]), random, item.perturbation) for item in items]
        size, shape = len(items), (len(items), MEL.n_mels, config.frames)
        noise = np.float32(self.bundle.config.temperature) * random.standard_normal(shape, dtype=np.float32)
        return {
            "window": torch.cat(windows),
            "pitch": _tensor([item.pitch for item in items]),
            "reference": _tensor([item.reference[0] for item in items]),
            "reference_content": _tensor([item.reference[1] for item in items]),
            "target": torch.full((size,), index),
            "noise": torch.from_numpy(noise),
            "mel": _tensor([item.mel for item in items if item.mel is not None]),
            "source": _tensor([item.source for item in items if item.source is not None]),
        }

    def _reconstruction(self, target: Target, random: np.random.Generator) -> _Item:
        """A crop of a target. Its source is the crop in a perturbed voice, or a view of it in another one."""
        clips = target.recordings.train
        weights = np.array([clip.frames for clip in clips], float)
        number = int(random.choice(len(clips), p=weights / weights.sum()))
        clip = clips[number]
        viewed = bool(clip.views) and random.random() < self.config.view
        source = clip.views[int(random.integers(len(clip.views)))] if viewed else clip.mel
        start = int(random.integers(clip.frames - self.config.frames + 1))
        crop = slice(start, start + self.config.frames)
        perturbation = self.config.other_perturbation if viewed else self.config.own_perturbation
        reference = self._reference(target, target.others(number), random)
        return _Item(window(source, crop), clip.pitch[crop], reference, perturbation, clip.mel[:, crop])

    def _conversion(self, target: Target, random: np.random.Generator) -> _Item:
        """A crop of shipped speech, to be converted to a target."""
        source = self.sources[int(random.integers(len(self.sources)))]
        start = int(random.integers(source.clip.frames - self.config.frames + 1))
        crop = slice(start, start + self.config.frames)
        pitch = source.clip.pitch[crop] * np.float32(target.recordings.voice.pitch / source.voice.pitch)
        reference = self._reference(target, np.arange(target.starts[-1]), random)
        perturbation, mel = self.config.shipped_perturbation, source.clip.mel
        return _Item(window(mel, crop), pitch, reference, perturbation, source=mel[:, crop])

    def _reference(self, target: Target, frames: np.ndarray, random: np.random.Generator) -> tuple[Array, Array]:
        """Mel and content of frames in random windows."""
        starts = random.integers(len(frames), size=WINDOWS)
        lengths = [len(part) for part in np.array_split(range(self.config.reference_frames), WINDOWS)]
        places = [(first + np.arange(n)) % len(frames) for first, n in zip(starts, lengths, strict=True)]
        chosen = frames[np.concatenate(places)]
        return target.mel[:, chosen], target.content[:, chosen]


def window(mel: Array, crop: slice) -> Array:
    """Frames (80, BEFORE + T + AFTER) around a crop of a log-mel; the ends repeat where it lacks some."""
    place = np.arange(crop.start - BEFORE, crop.stop + AFTER).clip(0, mel.shape[1] - 1)
    return mel[:, place]


def inside(x: Tensor) -> Tensor:
    """The crops of windows (B, C, BEFORE + T + AFTER)."""
    return x[:, :, BEFORE : x.shape[2] - AFTER]


def _tensor(arrays: Sequence[Array]) -> Tensor:
    return torch.from_numpy(np.stack(arrays).astype(np.float32))
