"""Small untrained networks of every kind, and a bundle of them (PyTorch)."""

from __future__ import annotations

from pathlib import Path

import torch

from fastvoicegrad.postfilter import PostFilter
from fastvoicegrad.training.export import ExportSettings, write_bundle
from fastvoicegrad.training.models.attention import AttentionConfig
from fastvoicegrad.training.models.content import ContentConfig, ContentEncoder
from fastvoicegrad.training.models.pitch import PitchConfig, PitchTracker
from fastvoicegrad.training.models.speaker import SpeakerConfig, SpeakerEncoder
from fastvoicegrad.training.models.unet import UNet, UNetConfig
from fastvoicegrad.training.models.vocoder import SpectralVocoder, VocoderConfig
from fastvoicegrad.training.onnx_graphs import (
    content_graph,
    converter_graph,
    fold_weight_norm,
    pitch_graph,
    speaker_graph,
    vocoder_graph,
)
from fastvoicegrad.training.schedule import ScheduleConfig

TINY_UNET = UNetConfig(
    channels=(16, 16, 16),
    middle_layers=1,
    prediction="v",
    retrieval=True,
    harmonics=True,
    attention=AttentionConfig(width=16, heads=2, layers=1, tokens=2),
    film_dim=24,
)
Networks = tuple[ContentEncoder, PitchTracker, SpeakerEncoder, UNet, SpectralVocoder]


def halve(module: torch.nn.Module) -> None:
    """Round the weights as the bundle does, so that tests compare the arithmetic alone."""
    for parameter in module.parameters():
        if parameter.numel() >= 1024:
            parameter.data = parameter.data.half().float()


def make_networks() -> Networks:
    torch.manual_seed(0)
    made = (
        ContentEncoder(ContentConfig(width=32, layers=2, lookahead=1)).eval(),
        PitchTracker(PitchConfig(width=32, layers=2, classes=32)).eval(),
        SpeakerEncoder(SpeakerConfig(width=4, entrance=8, growth=4, layers=(1, 1))).eval(),
        UNet(TINY_UNET).eval(),
        SpectralVocoder(VocoderConfig(width=32, layers=3, corrections=1)).eval(),
    )
    fold_weight_norm(made[3])
    for module in made:
        halve(module)
    return made


def make_bundle(path: Path, networks: Networks) -> Path:
    content, pitch, speaker, unet, vocoder = networks
    made = {
        "content": content_graph(content),
        "pitch": pitch_graph(pitch),
        "speaker": speaker_graph(speaker),
        "converter": converter_graph(unet),
        "vocoder": vocoder_graph(vocoder, vocoder.config.corrections),
    }
    settings = ExportSettings(
        name="tiny teacher",
        postfilter=PostFilter(0.1, 1.2, True),
        temperature=0.8,
        guidance=0.5,
        guidance_cosines=30,
        notes={"license": "none"},
    )
    schedule = ScheduleConfig()
    write_bundle(path, settings, made, unet, schedule, schedule.start, corrections=vocoder.config.corrections)
    return path
