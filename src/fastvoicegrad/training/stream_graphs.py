"""From the networks that stream to ONNX graphs: each state is one tensor that goes in and comes out."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..mel import MEL
from .models.stream import StreamContent, StreamConverter, StreamPitch
from .models.stream_renderer import StreamRenderer
from .onnx_graphs import FRAMES, MEMORY, to_onnx

State = tuple[int, int, int]


class StreamGraph(NamedTuple):
    """A network as ONNX."""

    data: bytes
    state: State  # shape of its caches


class _Content(nn.Module):
    def __init__(self, network: StreamContent) -> None:
        super().__init__()
        self.network = network

    def forward(self, mel: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        content, state = self.network(mel, state)
        return content, state


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
        (magnitude, phase, noise), state = self.network(mel, pitch, state)
        return magnitude, phase, noise, state


class _Voice(nn.Module):
    def __init__(self, network: StreamConverter) -> None:
        super().__init__()
        self.network = network

    def forward(self, speaker: Tensor, keys: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.voice(speaker, keys, reference)


def _mel() -> Tensor:
    return torch.randn(1, FRAMES, MEL.n_mels)


def _graph(module: nn.Module, network: Any, inputs: dict[str, Tensor], outputs: list[str], state: State) -> StreamGraph:
    timed = dict.fromkeys(inputs, 1)
    data = to_onnx(module, network.config, {**inputs, "state": torch.zeros(state)}, [*outputs, "next"], timed, 1)
    return StreamGraph(data, state)


def stream_content_graph(encoder: StreamContent) -> StreamGraph:
    return _graph(_Content(encoder), encoder, {"mel": _mel()}, ["content"], encoder.stack.shape)


def stream_pitch_graph(tracker: StreamPitch) -> StreamGraph:
    return _graph(_Pitch(tracker), tracker, {"mel": _mel()}, ["pitch"], tracker.stack.shape)


def stream_renderer_graph(renderer: StreamRenderer) -> StreamGraph:
    inputs = {"mel": _mel(), "pitch": torch.full((1, FRAMES), 150.0)}
    return _graph(_Renderer(renderer), renderer, inputs, ["magnitude", "phase", "noise"], renderer.stack.shape)


def stream_converter_graph(converter: StreamConverter) -> StreamGraph:
    film, memory = converter.voice(*_voice_example(converter))
    inputs = {
        "content": torch.randn(1, FRAMES, converter.config.content_dim),
        "pitch": torch.full((1, FRAMES), 150.0),
        "film": film.detach(),
        "memory": memory.detach(),
        "state": torch.zeros(converter.stack.shape),
    }
    timed, remembered = {"content": 1, "pitch": 1}, {"memory": 1}
    data = to_onnx(converter, converter.config, inputs, ["mel", "next"], timed, 1, remembered)
    return StreamGraph(data, converter.stack.shape)


def voice_graph(converter: StreamConverter) -> StreamGraph:
    """What the converter reads of a voice: it runs once for each voice."""
    inputs = dict(zip(("speaker", "keys", "reference"), _voice_example(converter), strict=True))
    remembered = {"keys": 2, "reference": 2}
    data = to_onnx(_Voice(converter), converter.config, inputs, ["film", "memory"], {}, 1, remembered)
    return StreamGraph(data, (0, 0, 0))


def _voice_example(converter: StreamConverter) -> tuple[Tensor, Tensor, Tensor]:
    config = converter.config
    return (
        torch.randn(1, config.speaker_dim),
        torch.randn(1, config.content_dim, MEMORY),
        torch.randn(1, MEL.n_mels, MEMORY),
    )
