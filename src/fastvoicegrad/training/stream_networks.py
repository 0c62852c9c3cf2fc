"""From a checkpoint to the network that streams in it."""

from __future__ import annotations

from pathlib import Path

from .models.stream import (
    StreamContentConfig,
    StreamContentModel,
    StreamConverter,
    StreamConverterConfig,
    StreamPitch,
    StreamPitchConfig,
)
from .models.stream_renderer import StreamRenderer, StreamRendererConfig
from .networks import loaded


def load_stream_content(path: str | Path) -> StreamContentModel:
    """The content encoder with its unit classifier."""
    return loaded(StreamContentModel, StreamContentConfig, path)


def load_stream_pitch(path: str | Path) -> StreamPitch:
    return loaded(StreamPitch, StreamPitchConfig, path)


def load_stream_converter(path: str | Path) -> StreamConverter:
    return loaded(StreamConverter, StreamConverterConfig, path)


def load_stream_renderer(path: str | Path) -> StreamRenderer:
    return loaded(StreamRenderer, StreamRendererConfig, path)
