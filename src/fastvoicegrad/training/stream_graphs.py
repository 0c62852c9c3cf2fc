"""From the networks that stream to ONNX graphs: each state is one tensor that goes in and comes out.

The first axis of every tensor is a batch of streams; only the graph of a voice has one voice.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..mel import MEL
from ..stream.config import STATELESS
from .models.stream import StreamContent, StreamConverter, StreamPitch
from .models.stream_renderer import StreamRenderer
from .onnx_graphs import FRAMES, MEMORY, to_onnx

BATCH = 2  # streams of the traced example


class StreamGraph(NamedTuple):
    """A network as ONNX."""

    data: bytes
    state: tuple[int, int, int] = STATELESS  # shape of a stream's caches


class _Content(nn.Module):
    def __init__(self, network: StreamContent) -> None:
        super().__init__()
        self.network = network

    def forward(self, mel: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        content, windows = self.network(mel, state)
        return content, windows


class _Pitch(nn.Module):
    def __init__(self, network: StreamPitch) -> None:
        super().__init__()
        self.network = network

    def forward(self, mel: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.track(mel, state)


class _Renderer(nn.Module):
    def __init__(self, network: StreamRenderer) -> None:
        super().__init__()
        self.network = network

    def forward(self, mel: Tensor, pitch: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        (magnitude, phase, noise), windows = self.network(mel, pitch, state)
        return magnitude, phase, noise, windows


class _Voice(nn.Module):
    def __init__(self, network: StreamConverter) -> None:
        super().__init__()
        self.network = network

    def forward(self, speaker: Tensor, keys: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.voice(speaker, keys, reference)


def _mel() -> Tensor:
    return torch.randn(BATCH, FRAMES, MEL.n_mels)


def _hertz() -> Tensor:
    return torch.full((BATCH, FRAMES), 150.0)


def _graph(module: nn.Module, network: Any, inputs: dict[str, Tensor], outputs: list[str]) -> StreamGraph:
    inputs |= {"state": network.stack.empty(BATCH, torch.zeros(()))}
    timed = {name: 1 for name in inputs if name in ("mel", "content", "pitch")}
    remembered = {name: 1 for name in inputs if name == "memory"}
    data = to_onnx(module, network.config, inputs, [*outputs, "windows"], timed, 1, remembered, batched=True)
    return StreamGraph(data, network.stack.shape)


def stream_content_graph(encoder: StreamContent) -> StreamGraph:
    return _graph(_Content(encoder), encoder, {"mel": _mel()}, ["content"])


def stream_pitch_graph(tracker: StreamPitch) -> StreamGraph:
    return _graph(_Pitch(tracker), tracker, {"mel": _mel()}, ["pitch"])


def stream_renderer_graph(renderer: StreamRenderer) -> StreamGraph:
    inputs = {"mel": _mel(), "pitch": _hertz()}
    return _graph(_Renderer(renderer), renderer, inputs, ["magnitude", "phase", "noise"])


def stream_converter_graph(converter: StreamConverter) -> StreamGraph:
    content = torch.randn(BATCH, FRAMES, converter.config.content_dim)
    film, memory = (one.detach() for one in converter.voice(*_voices(converter, BATCH)))
    inputs = {"content": content, "pitch": _hertz(), "film": film, "memory": memory}
    return _graph(converter, converter, inputs, ["mel"])


def voice_graph(converter: StreamConverter) -> StreamGraph:
    """What the converter reads of a voice: it runs once for each voice."""
    inputs = dict(zip(("speaker", "keys", "reference"), _voices(converter, 1), strict=True))
    remembered = {"keys": 2, "reference": 2}
    data = to_onnx(_Voice(converter), converter.config, inputs, ["film", "memory"], {}, 1, remembered)
    return StreamGraph(data)


def _voices(converter: StreamConverter, count: int) -> tuple[Tensor, Tensor, Tensor]:
    config = converter.config
    return (
        torch.randn(count, config.speaker_dim),
        torch.randn(count, config.content_dim, MEMORY),
        torch.randn(count, MEL.n_mels, MEMORY),
    )
