"""From networks to ONNX graphs: trace each one and measure its receptive field. Weights are in float32 here."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import onnx
import torch
from onnx import helper
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..mel import MEL
from ..vocoder import reach
from .checkpoint import plain
from .models.content import ContentEncoder
from .models.pitch import PitchTracker
from .models.speaker import SpeakerEncoder
from .models.unet import Denoiser, UNet
from .models.vocoder import SpectralVocoder

OPSET = 20  # the first with Gelu as one operator
FRAMES, MEMORY = 64, 48  # of the traced example: input frames, reference frames
LEAST_FRAMES = 16  # of a speaker embedding
LONGEST = 2**18  # strides that tracing assumes; a graph takes more
PROBED = 1024  # frames of the input on which receptive fields are measured
NEAR_S_K, ALPHA_BAR_NEAR_S_K = 950, 0.006  # the traced example's step


class Graph(NamedTuple):
    """A network as ONNX."""

    data: bytes
    field: tuple[int, int]  # receptive field (left, right) in mel frames
    stride: int  # the number of frames must be a multiple of it


class PitchGraph(nn.Module):
    """mel (1, 80, T) -> F0 in Hz (1, T), 0 where unvoiced."""

    def __init__(self, tracker: PitchTracker) -> None:
        super().__init__()
        self.tracker = tracker

    def forward(self, mel: Tensor) -> Tensor:
        return self.tracker.track(mel)


class ConverterGraph(nn.Module):
    """x_t (1, 80, T), step (1,), alpha_bar (1,), speaker (1, S), content (1, C, T) -> x0 (1, 80, T), normalised.

    A network with retrieval or attention also reads the target's frames: keys (1, C, N) and reference (1, 80, N) as
    log-mel. One with harmonics reads the result's pitch (1, T) in Hz. All read an adapter (1, A); zeros are none.
    """

    def __init__(self, unet: UNet) -> None:
        super().__init__()
        self.denoiser = Denoiser(unet)
        self.unet = unet

    def forward(
        self,
        x: Tensor,
        step: Tensor,
        alpha_bar: Tensor,
        speaker: Tensor,
        content: Tensor,
        keys: Tensor | None = None,
        reference: Tensor | None = None,
        pitch: Tensor | None = None,
        adapter: Tensor | None = None,
    ) -> Tensor:
        conditions = self.unet.conditions(content, keys, reference, pitch, adapter)
        x0: Tensor = self.denoiser(x, step, alpha_bar, speaker, content, conditions)[0]
        return x0


class VocoderGraph(nn.Module):
    """mel (1, 80, T) -> pitch in Hz (1, T); real and imaginary part of the pulses' filter, gain of the noise's filter.

    The filters are (1, 513, T) each.
    """

    def __init__(self, vocoder: SpectralVocoder) -> None:
        super().__init__()
        self.vocoder = vocoder

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        pitch, magnitude, phase, noise = self.vocoder.filters(mel)
        magnitude = magnitude.exp()
        return pitch, magnitude * phase.cos(), magnitude * phase.sin(), noise.exp()


def fold_weight_norm(module: nn.Module) -> None:
    """Fold weight normalisation into plain weights, in place."""
    for part in module.modules():
        if parametrize.is_parametrized(part):
            parametrize.remove_parametrizations(part, "weight")


def receptive_field(function: Callable[[Tensor], Tensor], channels: int, stride: int) -> tuple[int, int]:
    """Frames to the left and right of a frame that its output depends on, by the gradient.

    Args:
        function: (1, channels, T) -> (1, anything, T).
        stride: number of neighbouring frames whose fields differ; the result is the largest.
    """
    middle = PROBED // 2
    left = right = 0
    for frame in range(middle, middle + stride):
        x = torch.randn(1, channels, PROBED, requires_grad=True)
        function(x)[0, :, frame].abs().sum().backward()
        assert x.grad is not None
        touched = torch.nonzero(x.grad[0].abs().sum(0))[:, 0]
        left, right = max(left, frame - int(touched[0])), max(right, int(touched[-1]) - frame)
    return left, right


def to_onnx(
    module: nn.Module,
    config: Any,
    inputs: dict[str, Tensor],
    outputs: list[str],
    timed: dict[str, int],
    stride: int,
    remembered: dict[str, int] | None = None,
    batched: bool = False,
    least: int = 2,
) -> bytes:
    """Trace a network.

    Args:
        config: the network's settings, which the graph stores for restore.py.
        inputs: an example.
        timed: time axis of each input that has one; these have one length, a multiple of `stride`.
        remembered: the same for the reference's frames, of any number.
        batched: whether the first axis of every input is a batch of any size.
        least: length that the graph must take, in strides.
    """
    frames = torch.export.Dim("frames", min=least, max=LONGEST)
    length: Any = stride * frames if stride > 1 else frames
    axes: dict[str, dict[int, Any]] = {name: {} for name in inputs}
    for name in inputs if batched else ():
        axes[name][0] = torch.export.Dim("batch", min=2)  # a graph for 2 or more also takes 1
    for name, axis in timed.items():
        axes[name][axis] = length
    for name, axis in (remembered or {}).items():
        axes[name][axis] = torch.export.Dim("memory", min=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            kwargs=inputs,
            input_names=list(inputs),
            output_names=outputs,
            dynamic_shapes=axes,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    buffer = io.BytesIO()
    onnx.save(program.model_proto, buffer)
    model = onnx.load_from_string(buffer.getvalue())
    helper.set_model_props(model, {"model": json.dumps(plain(config))})
    _without_source_traces(model.graph)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _without_source_traces(graph: onnx.GraphProto) -> None:
    """Remove paths and lines of source files, which the exporter attaches."""
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*graph.value_info, *graph.initializer):
        if hasattr(value, "metadata_props"):
            del value.metadata_props[:]


def content_graph(encoder: ContentEncoder) -> Graph:
    mel = torch.randn(1, MEL.n_mels, FRAMES)
    data = to_onnx(encoder, encoder.config, {"mel": mel}, ["content"], {"mel": 2}, ContentEncoder.stride)
    return Graph(data, receptive_field(encoder, MEL.n_mels, ContentEncoder.stride), ContentEncoder.stride)


def pitch_graph(tracker: PitchTracker) -> Graph:
    mel = torch.randn(1, MEL.n_mels, FRAMES)
    data = to_onnx(PitchGraph(tracker), tracker.config, {"mel": mel}, ["pitch"], {"mel": 2}, 1)
    return Graph(data, receptive_field(lambda x: tracker(x)[0], MEL.n_mels, 1), 1)


def speaker_graph(speaker: SpeakerEncoder) -> Graph:
    """The receptive field is (0, 0) by convention: the embedding depends on all frames."""
    mel = torch.randn(1, MEL.n_mels, FRAMES)
    data = to_onnx(speaker, speaker.config, {"mel": mel}, ["embedding"], {"mel": 2}, 1, least=LEAST_FRAMES)
    return Graph(data, (0, 0), 1)


def converter_graph(unet: UNet) -> Graph:
    """The U-Net's weight normalisation is folded, in place."""
    fold_weight_norm(unet)
    config = unet.config
    step, speaker = torch.tensor([NEAR_S_K]), torch.randn(1, config.speaker_dim)
    keys, reference = torch.randn(1, config.content_dim, MEMORY), torch.randn(1, MEL.n_mels, MEMORY)
    field = _converter_field(unet, step, speaker, keys, reference)
    inputs = {
        "x": torch.randn(1, MEL.n_mels, FRAMES),
        "step": step,
        "alpha_bar": torch.tensor([ALPHA_BAR_NEAR_S_K]),
        "speaker": speaker,
        "content": torch.randn(1, config.content_dim, FRAMES),
    }
    memory = {"keys": keys, "reference": reference} if config.examples else {}
    pitch = {"pitch": torch.full((1, FRAMES), 150.0)} if config.harmonics else {}
    timed = {"x": 2, "content": 2} | dict.fromkeys(pitch, 1)
    inputs |= memory | pitch | {"adapter": torch.zeros(1, unet.adapter_size)}
    data = to_onnx(ConverterGraph(unet), config, inputs, ["x0"], timed, UNet.stride, dict.fromkeys(memory, 2))
    return Graph(data, field, UNet.stride)


def _converter_field(unet: UNet, step: Tensor, speaker: Tensor, keys: Tensor, reference: Tensor) -> tuple[int, int]:
    """The larger of the fields of x_t and of the content."""
    pitch = torch.full((1, PROBED), 150.0)

    def prediction(x: Tensor, content: Tensor) -> Tensor:
        out: Tensor = unet(x, step, speaker, content, unet.conditions(content, keys, reference, pitch))
        return out

    content, mel = torch.randn(1, unet.config.content_dim, PROBED), torch.randn(1, MEL.n_mels, PROBED)
    of_x = receptive_field(lambda x: prediction(x, content), MEL.n_mels, UNet.stride)
    of_content = receptive_field(lambda c: prediction(mel, c), unet.config.content_dim, UNet.stride)
    return max(of_x[0], of_content[0]), max(of_x[1], of_content[1])


def vocoder_graph(vocoder: SpectralVocoder, corrections: int) -> Graph:
    """The receptive field includes that of the rendering with these corrections (`vocoder.reach`)."""
    mel, names = torch.randn(1, MEL.n_mels, FRAMES), ["pitch", "real", "imaginary", "gain"]
    left, right = receptive_field(lambda x: torch.cat(vocoder.filters(x)[1:], 1), MEL.n_mels, 1)
    beyond = reach(corrections)
    data = to_onnx(VocoderGraph(vocoder), vocoder.config, {"mel": mel}, names, {"mel": 2}, 1)
    return Graph(data, (left + beyond, right + beyond), 1)
