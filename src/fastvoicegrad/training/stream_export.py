"""From checkpoints to a stream bundle."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..bundle import Bundle
from ..errors import InputError
from ..stream.config import StreamConfig, StreamNetwork, parse_stream_config, write_stream_config
from ..version import __version__
from .bundle_files import check_settings, config_json, write_files
from .models.stream import StreamContent, StreamConverter, StreamPitch
from .models.stream_renderer import StreamRenderer
from .storage import Storage, with_storage
from .stream_graphs import (
    stream_content_graph,
    stream_converter_graph,
    stream_pitch_graph,
    stream_renderer_graph,
    voice_graph,
)
from .stream_networks import load_stream_content, load_stream_converter, load_stream_pitch, load_stream_renderer


@dataclass(frozen=True)
class StreamExportSettings:
    """What a stream bundle has beside its networks (recipes/release/export-stream.yaml)."""

    name: str = "fastvoicegrad stream"
    storage: Storage = "half"  # of the weights
    sharpening: float = 1.0  # of the converter's mel across its bands
    notes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises InputError where a bundle with one of these values could not be opened."""
        check_settings(vars(self), StreamConfig)


def export_stream(
    folder: str | Path,
    settings: StreamExportSettings,
    bundle: Bundle,
    *,
    content: str | Path,
    pitch: str | Path,
    converter: str | Path,
    renderer: str | Path,
) -> None:
    """Write a stream bundle from four checkpoints.

    Args:
        folder: to write.
        bundle: the full bundle that taught them, whose voices it takes.
    Raises:
        InputError: the networks do not fit each other.
    """
    write_stream_bundle(
        Path(folder),
        settings,
        bundle.fingerprint,
        load_stream_content(content).encoder,
        load_stream_pitch(pitch),
        load_stream_converter(converter),
        load_stream_renderer(renderer),
    )


def write_stream_bundle(
    folder: Path,
    settings: StreamExportSettings,
    encoder: str,
    content: StreamContent,
    pitch: StreamPitch,
    converter: StreamConverter,
    renderer: StreamRenderer,
) -> None:
    """Write graphs and config.json.

    Args:
        encoder: fingerprint of the full bundle.
    Raises:
        InputError: content encoder and pitch tracker look unequally far ahead, or read other frames; or the converter
            takes another content embedding; or the bundle could not be opened. An older bundle stays as it is.
    """
    of = content.config
    if (of.lookahead, of.window) != (pitch.config.lookahead, pitch.config.window):
        raise InputError("content encoder and pitch tracker must have one lookahead and one window; train one again")
    if of.dim != converter.config.content_dim:
        raise InputError(
            f"the converter takes {converter.config.content_dim} content dimensions, the encoder has {of.dim}; "
            "give networks that were trained together"
        )
    graphs = {
        "content": stream_content_graph(content),
        "pitch": stream_pitch_graph(pitch),
        "converter": stream_converter_graph(converter),
        "renderer": stream_renderer_graph(renderer),
        "voice": voice_graph(converter),
    }
    entries, stored = {}, {}
    for name, graph in graphs.items():
        data = stored[name] = with_storage(graph.data, settings.storage)
        entries[name] = StreamNetwork(f"{name}.onnx", hashlib.sha256(data).hexdigest(), graph.state)
    config = StreamConfig(
        name=settings.name,
        networks=entries,
        encoder=encoder,
        lookahead=of.lookahead,
        window=of.window,
        version=__version__,
        sharpening=settings.sharpening,
        notes=settings.notes,
    )
    write_files(folder, stored, config_json(lambda scratch: write_stream_config(scratch, config), parse_stream_config))
