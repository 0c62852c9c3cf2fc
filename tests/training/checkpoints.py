"""Checkpoints of small untrained networks of every part (PyTorch)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from fastvoicegrad.training import checkpoint
from fastvoicegrad.training.models.attention import AttentionConfig
from fastvoicegrad.training.models.content import ContentConfig, ContentModel
from fastvoicegrad.training.models.diffvc_encoder import AverageVoiceConfig, AverageVoiceEncoder
from fastvoicegrad.training.models.pitch import PitchConfig, PitchTracker
from fastvoicegrad.training.models.speaker import SpeakerConfig, SpeakerEncoder
from fastvoicegrad.training.models.stream import (
    StreamContentConfig,
    StreamContentModel,
    StreamConverter,
    StreamConverterConfig,
    StreamPitch,
    StreamPitchConfig,
)
from fastvoicegrad.training.models.stream_renderer import StreamRenderer, StreamRendererConfig
from fastvoicegrad.training.models.unet import UNet, UNetConfig
from fastvoicegrad.training.models.vocoder import SpectralVocoder, VocoderConfig

TINY_ATTENTION = AttentionConfig(width=16, heads=2, layers=1, tokens=2)
TINY_CONVERTER = UNetConfig(channels=(8, 8, 8), middle_layers=1)


def content(dim: int = 144) -> ContentModel:
    return ContentModel(ContentConfig(width=8, layers=1, lookahead=1, dim=dim, units=3))


def speaker(dim: int = 192) -> SpeakerEncoder:
    return SpeakerEncoder(SpeakerConfig(width=4, entrance=8, growth=4, layers=(1, 1), dim=dim))


def stream_content() -> StreamContentModel:
    return StreamContentModel(StreamContentConfig(width=16, layers=2, units=3))


def networks() -> dict[str, nn.Module]:
    """By the tasks that train them."""
    torch.manual_seed(0)
    return {
        "content": content(),
        "speaker": speaker(),
        "pitch": PitchTracker(PitchConfig(width=8, layers=1, classes=8)),
        "vocoder": SpectralVocoder(VocoderConfig(width=16, layers=3)),
        "teacher": UNet(TINY_CONVERTER),
        "student": UNet(TINY_CONVERTER),
        "stream-content": stream_content(),
        "stream-pitch": StreamPitch(StreamPitchConfig(width=16, layers=2, classes=8)),
        "stream-renderer": StreamRenderer(StreamRendererConfig(width=16, layers=2)),
        "stream-converter": StreamConverter(
            StreamConverterConfig(width=16, layers=2, attention=TINY_ATTENTION, attend_after=(0, 1))
        ),
        "diffvc-encoder": AverageVoiceEncoder(AverageVoiceConfig(width=16, filters=16, layers=1, postnet=8)),
    }


def saved(folder: Path, task: str, model: Any, **others: Any) -> Path:
    """A checkpoint of a task's network and of others that were trained with it."""
    meta = {"step": 0, "task": task, "model": checkpoint.plain(model.config), "ema": False, "recipe": {"schedule": {}}}
    meta["others"] = {name: checkpoint.plain(other.config) for name, other in others.items()}
    path = folder / f"{task}.safetensors"
    checkpoint.save(path, {task: model, **others}, {}, meta)
    return path
