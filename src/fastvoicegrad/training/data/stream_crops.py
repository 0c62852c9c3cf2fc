"""Crops for the networks that stream: their mel is made of the wave, with the window that the stream uses."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import InputError
from ...mel import MEL
from ...stream.frontend import WINDOWS, front_window
from ..losses import LogMel
from ..task import Batch
from .conversion import ConversionCrops, ConversionData, conversion_targets, require_references
from .perturb import PerturbConfig, perturb

WARM_UP = 16  # first frames of a crop that no loss counts: the caches are empty there


class StreamMel(LogMel):
    """`stream.frontend.stream_mel` of a batch: (B, N) samples -> (B, 80, N // 256)."""

    def __init__(self, width: int) -> None:
        """Raises InputError where there is no such window."""
        if width not in WINDOWS:
            raise InputError(f"window must be one of {', '.join(map(str, WINDOWS))} samples, not {width}")
        super().__init__()
        beside = (MEL.n_fft - width) // 2
        self.window = F.pad(torch.from_numpy(front_window(width)), (beside, beside))


def scored(frames: int, lookahead: int) -> slice:
    """The frames of a crop that losses count: the first lack their past, the last their look-ahead.

    Raises:
        InputError: there are none.
    """
    if frames - lookahead <= WARM_UP:
        raise InputError(f"crops need more than {WARM_UP + lookahead} frames; raise frames")
    return slice(WARM_UP, frames - lookahead)


def on_time(late: Tensor, lookahead: int) -> Tensor:
    """Outputs (B, T, C) that come `lookahead` frames late -> those of the frames 0..T-lookahead-1."""
    return late[:, lookahead:]


class StreamConversionCrops(ConversionCrops):
    """Crops for the converter of a stream and for the full one, which teaches it.

    Args:
        window: of the stream's mel frames.
        verified: see `ConversionCrops`.
    """

    def __init__(self, data: ConversionData, split: str, window: int, verified: bool = False) -> None:
        require_references(data)
        super().__init__(data, split, verified)
        self.log_mel = StreamMel(window)

    def draw(self, random: np.random.Generator, size: int) -> Batch:
        """A batch. T is `data.frames`, N `data.reference_frames`.

        | key               | shape      | meaning                                                  |
        |-------------------|------------|----------------------------------------------------------|
        | mel               | (B, 80, T) | the crop                                                 |
        | stream            | (B, 80, T) | the crop's mel as the stream computes it                 |
        | content           | (B, C, T)  | of the crop, by the full encoder                         |
        | pitch             | (B, T)     | F0 in Hz, 0 where unvoiced                               |
        | median_pitch      | (B,)       | of the voice, in Hz                                      |
        | speaker           | (B, S)     | embedding of the crop's voice                            |
        | reference         | (B, 80, N) | frames of the voice, none from the crop                  |
        | reference_content | (B, C, N)  | content of these frames, by the full encoder             |
        | verified_speaker  | (B, 192)   | the speaker teacher's embedding of the voice, `verified` |
        """
        drawn = self.crops.draw(random, size)
        frames = np.stack([self.reference(crop, random) for crop in drawn])
        rows = [self.speaker_row(crop, random) for crop in drawn]
        voices = [self.store.entries[crop.row].recording.voice for crop in drawn]
        return self.verified_speakers(voices) | {
            "mel": self.crops.take("mel", drawn),
            "stream": self.log_mel(self.crops.wave(drawn)),
            "content": self.crops.take("content_unperturbed", drawn),
            "pitch": self.crops.take("pitch", drawn),
            "median_pitch": torch.tensor([self.median_pitch[voice] for voice in voices]),
            "speaker": torch.from_numpy(np.asarray(self.store.array("speaker")[rows], dtype=np.float32)),
            "reference": self._frames("mel", frames),
            "reference_content": self._frames("content_unperturbed", frames),
        }

    def with_conversions(
        self, batch: Batch, count: int, random: np.random.Generator, perturbation: PerturbConfig
    ) -> Batch:
        """Adds conversions to other voices of the batch (see `conversion_targets`), and perturbs what is reconstructed.

        The source of a conversion stays as it is, as at run time.
        """
        batch = batch | {"crop_content": batch["content"]}
        targets = conversion_targets(batch, count)
        targets["to_stream"] = batch["stream"][: len(targets["to_speaker"])]
        return batch | targets | {"stream": perturb(batch["stream"], random, perturbation)}
