"""Small untrained networks that stream, and a bundle of them (PyTorch)."""

from __future__ import annotations

from pathlib import Path

import torch

from fastvoicegrad.training.models.attention import AttentionConfig
from fastvoicegrad.training.models.stream import (
    StreamContent,
    StreamContentConfig,
    StreamConverter,
    StreamConverterConfig,
    StreamPitch,
    StreamPitchConfig,
)
from fastvoicegrad.training.models.stream_renderer import StreamRenderer, StreamRendererConfig
from fastvoicegrad.training.stream_export import StreamExportSettings, write_stream_bundle
from tests.tiny import halve

StreamNetworks = tuple[StreamContent, StreamPitch, StreamConverter, StreamRenderer]


def make_stream_networks(lookahead: int = 2, window: int = 768) -> StreamNetworks:
    torch.manual_seed(0)
    attention = AttentionConfig(width=16, heads=2, layers=1, tokens=2)
    made = (
        StreamContent(StreamContentConfig(width=16, layers=2, lookahead=lookahead, window=window)).eval(),
        StreamPitch(StreamPitchConfig(width=16, layers=2, lookahead=lookahead, window=window, classes=32)).eval(),
        StreamConverter(StreamConverterConfig(width=16, layers=2, attention=attention, attend_after=(0, 1))).eval(),
        StreamRenderer(StreamRendererConfig(width=16, layers=2)).eval(),
    )
    for module in made:
        with torch.no_grad():
            for weight in module.parameters():  # equal ones would be stored once
                weight.add_(0.01 * torch.randn_like(weight))
        halve(module)
    return made


def make_stream_bundle(path: Path, encoder: str, networks: StreamNetworks | None = None) -> Path:
    """A bundle that takes the voices of the full bundle with the fingerprint `encoder`."""
    settings = StreamExportSettings("tiny stream", sharpening=1.2, notes={"license": "none"})
    write_stream_bundle(path, settings, encoder, *(networks or make_stream_networks()))
    return path
