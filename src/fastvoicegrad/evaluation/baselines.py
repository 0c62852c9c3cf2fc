"""DiffVC (arXiv 2109.13821) as a system. It runs in PyTorch; a bundle lends its speaker encoder and its vocoder."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .. import audio
from ..audio.level import TARGET_LEVEL, speech_level
from ..diffusion import frame_noise
from ..frames import mel_frames
from ..mel import MEL
from .cache import digest, fingerprint
from .intermediate import rendered
from .pairs import Pair
from .systems import Conversion, program_key

if TYPE_CHECKING:
    from ..training.models.diffvc import DiffVc

MOST_REFERENCE = 1024  # frames (12 s) of the target that the score network reads at every step


class DiffVcConversion(Conversion):
    """A DiffVC checkpoint with a number of steps of the maximum-likelihood solver.

    Args:
        checkpoint: of `dev train diffvc`.
        bundle: lends speaker encoder and vocoder; None is the default bundle.
    """

    def __init__(self, checkpoint: str, bundle: str | None, steps: int) -> None:
        super().__init__(bundle, steps)
        self.checkpoint = checkpoint
        code = program_key("evaluation/*.py", "training/sde.py", "training/models/*.py")
        self.key = digest("diffvc", fingerprint(checkpoint), code, self.key)

    @cached_property
    def model(self) -> DiffVc:
        from ..training.networks import load_diffvc

        return load_diffvc(self.checkpoint)

    def __call__(self, pair: Pair) -> np.ndarray:
        import torch

        wave, voice, bundle = audio.read(pair.source.path), self.voice(pair), self.converter.bundle
        stride = math.lcm(bundle.stride, self.model.stride)
        mel = np.concatenate(list(mel_frames([wave], TARGET_LEVEL / speech_level(wave), stride)), axis=1)
        noise = np.stack([frame_noise(0, 0, mel.shape[1], MEL.n_mels, k) for k in range(self.steps + 1)])
        source, speaker, reference = map(torch.from_numpy, (mel, voice.embedding, voice.mel[:, :MOST_REFERENCE]))
        converted = self.model.convert(source, speaker, reference, torch.from_numpy(noise), self.steps)
        return rendered(bundle, wave, converted.numpy())
