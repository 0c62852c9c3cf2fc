"""Speaker encoders in the losses of an adaptation: the bundle's own, and CAM++ where its checkpoint is named."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import InputError
from ...files import shown
from ..data.teachers import MelSpeakerTeacher
from .recordings import Clip, Recordings
from .shipped import Source

FITTED = 60  # clips on which the verifier's front-end is fitted


def mean_embedding(encoder: nn.Module, clips: Sequence[Clip]) -> Tensor:
    """Mean speaker embedding (S,) of clips."""
    embeddings = [encoder(torch.from_numpy(clip.mel)[None])[0] for clip in clips]
    return F.normalize(torch.stack(embeddings).mean(0), dim=0)


def mean_cosine(encoder: nn.Module, clips: Sequence[Clip], embedding: Tensor) -> float:
    """Mean cosine of clips to an embedding (S,)."""
    return float(torch.stack([encoder(torch.from_numpy(clip.mel)[None])[0] @ embedding for clip in clips]).mean())


def load_verifier(path: Path, voices: Sequence[Recordings], sources: Sequence[Source]) -> nn.Module:
    """CAM++ on log-mels.

    Raises:
        InputError: it cannot be loaded.
    """
    clips = [clip.wave for voice in voices for clip in voice.train[: FITTED // len(voices)]]
    waves = [*clips, *(source.clip.wave for source in sources)]
    try:
        return MelSpeakerTeacher(str(path), waves).eval()
    except ImportError as error:
        raise InputError(
            f"the verifier needs {error.name}; run 'pip install --no-deps speakerlab torchaudio'"
        ) from error
    except (OSError, RuntimeError, ValueError, KeyError, AttributeError, pickle.UnpicklingError) as error:
        raise InputError(f"{shown(path)} is no checkpoint of CAM++; see docs/evaluation.md") from error
