"""From a checkpoint to the network that streams in it."""

from __future__ import annotations

from pathlib import Path

from .checkpoint import load_network, read_meta
from .models.stream import (
    StreamContentConfig,
    StreamContentModel,
    StreamConverter,
    StreamConverterConfig,
    StreamPitch,
    StreamPitchConfig,
)
from .models.stream_renderer import StreamRenderer, StreamRendererConfig
from .recipe import build


def load_stream_content(path: str | Path) -> StreamContentModel:
    """The content encoder with its unit classifier."""
    model = StreamContentModel(build(StreamContentConfig, read_meta(path)["model"]))
    load_network(path, model)
    return model.eval()


def load_stream_pitch(path: str | Path) -> StreamPitch:
    model = StreamPitch(build(StreamPitchConfig, read_meta(path)["model"]))
    load_network(path, model)
    return model.eval()


def load_stream_converter(path: str | Path) -> StreamConverter:
    model = StreamConverter(build(StreamConverterConfig, read_meta(path)["model"]))
    load_network(path, model)
    return model.eval()


def load_stream_renderer(path: str | Path) -> StreamRenderer:
    model = StreamRenderer(build(StreamRendererConfig, read_meta(path)["model"]))
    load_network(path, model)
    return model.eval()
