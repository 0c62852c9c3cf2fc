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
from .networks import content_settings, loaded


def load_stream_content(path: str | Path) -> StreamContentModel:
    """The content encoder with its unit classifier, from its own run or from a converter's run that trained it too."""
    own = "stream-content"
    model = StreamContentModel(content_settings(StreamContentConfig, path, own, "stream-converter"))
    load_network(path, model, own if read_meta(path)["task"] == own else "content")
    return model.eval()


def load_stream_pitch(path: str | Path) -> StreamPitch:
    return loaded(StreamPitch, StreamPitchConfig, path, "stream-pitch")


def load_stream_converter(path: str | Path) -> StreamConverter:
    return loaded(StreamConverter, StreamConverterConfig, path, "stream-converter")


def load_stream_renderer(path: str | Path) -> StreamRenderer:
    return loaded(StreamRenderer, StreamRendererConfig, path, "stream-renderer")
