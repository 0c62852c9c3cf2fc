"""From checkpoints to a bundle: trace each network to ONNX, measure how far it looks, write the folder.

Weights are stored in half precision and widened when a session is made: half the size, the same arithmetic.
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..bundle import Bundle, BundleConfig, Network, write_config
from ..mel import MEL
from ..postfilter import PostFilter
from ..vocoder import reach
from .checkpoint import plain, read_meta
from .data.embed import load_content, load_pitch, load_speaker
from .models.content import ContentEncoder
from .models.pitch import PitchTracker
from .models.speaker import SpeakerEncoder
from .models.unet import Denoiser, UNet
from .models.vocoder import SpectralVocoder
from .recipe import build
from .tasks.student import load_vocoder
from .tasks.teacher import ScheduleConfig, load_unet

OPSET = 20  # the first with Gelu as one operator


class PitchGraph(nn.Module):
    """mel (1, 80, T) -> F0 in Hz (1, T), 0 where unvoiced."""

    def __init__(self, tracker: PitchTracker) -> None:
        super().__init__()
        self.tracker = tracker

    def forward(self, mel: Tensor) -> Tensor:
        return self.tracker.hear(mel)


class ConverterGraph(nn.Module):
    """x_t (1, 80, T), step (1,), alpha_bar (1,), speaker (1, S), content (1, C, T) -> x0 (1, 80, T), normalised.

    A network with a draft also takes the voice's frames, keys (1, C, N) and reference (1, 80, N) as log-mel; one
    with harmonics the result's pitch (1, T) in Hz.
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
    ) -> Tensor:
        hints = self.unet.hints(content, keys, reference, pitch)
        return self.unet.towards_draft(self.denoiser(x, step, alpha_bar, speaker, content, hints)[0], hints)


class VocoderGraph(nn.Module):
    """mel (1, 80, T) -> pitch in Hz (1, T); the pulses' filter, real, imaginary, and the noise's gain (1, 513, T)."""

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
    """How many frames to the left and right of a frame its output depends on: the gradient tells.

    Args:
        function: (1, channels, T) -> (1, anything, T).
        stride: the answer is the worst of this many neighbouring frames.
    """
    length, middle = 1024, 512
    left = right = 0
    for frame in range(middle, middle + stride):
        x = torch.randn(1, channels, length, requires_grad=True)
        function(x)[0, :, frame].abs().sum().backward()
        assert x.grad is not None
        touched = torch.nonzero(x.grad[0].abs().sum(0))[:, 0]
        left, right = max(left, frame - int(touched[0])), max(right, int(touched[-1]) - frame)
    return left, right


def half_weights(model: onnx.ModelProto, smallest: int = 1024) -> onnx.ModelProto:
    """Store large float initializers as float16, each behind a Cast that the runtime folds away."""
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= smallest:
            values = numpy_helper.to_array(tensor).astype(np.float16)
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(values, f"{name}_half"))
            casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def full_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """`half_weights` undone, but for what rounding took."""
    graph = model.graph
    halves = {tensor.name: tensor for tensor in graph.initializer if tensor.name.endswith("_half")}
    nodes = []
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in halves:
            tensor = halves[node.input[0]]
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, node.output[0]))
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def to_onnx(
    module: nn.Module,
    config: Any,
    inputs: dict[str, Tensor],
    outputs: list[str],
    timed: dict[str, int],
    stride: int,
    remembered: dict[str, int] | None = None,
) -> bytes:
    """Trace a network.

    Args:
        config: the network's settings, which the graph is to remember (restore.py).
        timed: inputs whose axis of that number is time; all have the same length, a multiple of `stride`.
        remembered: the same for the frames of a voice, of which there may be any number.
    """
    frames = torch.export.Dim("frames", min=2, max=2**20)
    length: Any = stride * frames if stride > 1 else frames
    axes = {name: {axis: length} for name, axis in timed.items()}
    axes |= {name: {axis: torch.export.Dim("memory", min=1)} for name, axis in (remembered or {}).items()}
    shapes = {name: axes.get(name) for name in inputs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=outputs,
            dynamic_shapes=tuple(shapes.values()),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    buffer = io.BytesIO()
    onnx.save(half_weights(program.model_proto), buffer)
    model = onnx.load_from_string(buffer.getvalue())
    helper.set_model_props(model, {"model": json.dumps(plain(config))})
    for node in model.graph.node:  # traces of source files: not ours to ship
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.initializer):
        if hasattr(value, "metadata_props"):
            del value.metadata_props[:]
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


Graph = tuple[bytes, tuple[int, int], int]  # ONNX, receptive field, stride


def content_graph(encoder: ContentEncoder) -> Graph:
    mel = torch.randn(1, MEL.n_mels, 64)
    onnx_bytes = to_onnx(encoder, encoder.config, {"mel": mel}, ["content"], {"mel": 2}, ContentEncoder.stride)
    return onnx_bytes, receptive_field(encoder, MEL.n_mels, ContentEncoder.stride), ContentEncoder.stride


def pitch_graph(tracker: PitchTracker) -> Graph:
    mel = torch.randn(1, MEL.n_mels, 64)
    onnx_bytes = to_onnx(PitchGraph(tracker), tracker.config, {"mel": mel}, ["pitch"], {"mel": 2}, 1)
    return onnx_bytes, receptive_field(lambda x: tracker(x)[0], MEL.n_mels, 1), 1


def speaker_graph(speaker: SpeakerEncoder) -> Graph:
    mel = torch.randn(1, MEL.n_mels, 64)
    return to_onnx(speaker, speaker.config, {"mel": mel}, ["embedding"], {"mel": 2}, 1), (0, 0), 1


def converter_graph(unet: UNet) -> Graph:
    """The U-Net's weight normalisation is folded, in place."""
    fold_weight_norm(unet)
    config, frames = unet.config, 64
    step, condition = torch.tensor([950]), torch.randn(1, config.speaker_dim)
    keys, reference = torch.randn(1, config.content_dim, 48), torch.randn(1, MEL.n_mels, 48)

    def fixed(x: Tensor, c: Tensor) -> Tensor:
        return unet(x, step, condition, c, unet.hints(c, keys, reference, torch.full((1, 1024), 150.0)))

    long, mel_long = torch.randn(1, config.content_dim, 1024), torch.randn(1, MEL.n_mels, 1024)
    by_x = receptive_field(lambda x: fixed(x, long), MEL.n_mels, UNet.stride)
    by_p = receptive_field(lambda c: fixed(mel_long, c), config.content_dim, UNet.stride)
    inputs = {
        "x": torch.randn(1, MEL.n_mels, frames),
        "step": step,
        "alpha_bar": torch.tensor([0.006]),
        "speaker": condition,
        "content": torch.randn(1, config.content_dim, frames),
    }
    memory = {"keys": keys, "reference": reference} if config.retrieval else {}
    pitch = {"pitch": torch.full((1, frames), 150.0)} if config.harmonics else {}
    timed = {"x": 2, "content": 2} | dict.fromkeys(pitch, 1)
    inputs |= memory | pitch
    onnx_bytes = to_onnx(ConverterGraph(unet), config, inputs, ["x0"], timed, UNet.stride, dict.fromkeys(memory, 2))
    return onnx_bytes, (max(by_x[0], by_p[0]), max(by_x[1], by_p[1])), UNet.stride


def vocoder_graph(vocoder: SpectralVocoder) -> Graph:
    mel, names = torch.randn(1, MEL.n_mels, 64), ["pitch", "real", "imaginary", "gain"]
    left, right = receptive_field(lambda x: torch.cat(vocoder.filters(x)[1:], 1), MEL.n_mels, 1)
    beyond = reach(vocoder.config.corrections)
    onnx_bytes = to_onnx(VocoderGraph(vocoder), vocoder.config, {"mel": mel}, names, {"mel": 2}, 1)
    return onnx_bytes, (left + beyond, right + beyond), 1


def write_bundle(
    folder: Path,
    name: str,
    networks: dict[str, Graph],
    unet: UNet,
    schedule: ScheduleConfig,
    max_steps: int,
    *,
    corrections: int,
    postfilter: PostFilter,
    temperature: float,
    guidance: float,
    guidance_cosines: int,
    notes: dict[str, Any],
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    entries = {}
    for part, (data, (left, right), stride) in networks.items():
        (folder / f"{part}.onnx").write_bytes(data)
        entries[part] = Network(f"{part}.onnx", hashlib.sha256(data).hexdigest(), left, right, stride)
    config = BundleConfig(
        name=name,
        networks=entries,
        mel=MEL,
        mel_mean=tuple(round(x, 6) for x in unet.norm.mean[:, 0].tolist()),
        mel_std=tuple(round(x, 6) for x in unet.norm.std[:, 0].tolist()),
        steps=schedule.steps,
        offset=schedule.offset,
        max_beta=schedule.max_beta,
        start=schedule.start,
        initial=schedule.initial,
        max_steps=max_steps,
        retrieval=unet.config.retrieval,
        harmonics=unet.config.harmonics,
        temperature=temperature,
        guidance=guidance,
        guidance_cosines=guidance_cosines,
        postfilter=postfilter,
        corrections=corrections,
        notes=notes,
    )
    write_config(folder, config)


def export(
    folder: str | Path,
    *,
    content: str | Path,
    speaker: str | Path,
    pitch: str | Path,
    converter: str | Path,
    vocoder: str | Path,
    postfilter: PostFilter,
    temperature: float = 1.0,
    guidance: float = 0.0,
    guidance_cosines: int = MEL.n_mels,
    teacher: bool = False,
    name: str = "fastvoicegrad",
    notes: dict[str, Any] | None = None,
) -> None:
    """Write a bundle from five checkpoints.

    Args:
        converter: a student's checkpoint, or with `teacher` a teacher's, whose bundle converts in any number of
            steps.
    """
    renderer = load_vocoder(str(vocoder), "spectral")
    assert isinstance(renderer, SpectralVocoder)
    networks = {
        "content": content_graph(load_content(content).encoder),
        "pitch": pitch_graph(load_pitch(pitch)),
        "speaker": speaker_graph(load_speaker(speaker)),
        "vocoder": vocoder_graph(renderer),
    }
    settings = {"corrections": renderer.config.corrections, "postfilter": postfilter}
    settings |= {"temperature": temperature, "guidance": guidance, "guidance_cosines": guidance_cosines}
    settings["notes"] = notes or {}
    _complete(Path(folder), name, networks, converter, teacher, settings)


def with_converter(folder: str | Path, base: Bundle, converter: str | Path, *, teacher: bool, name: str) -> None:
    """Write a bundle of a student's or teacher's checkpoint, with the content encoder if that was trained with it, and,
    as they are, another bundle's other networks; without its post-filter and guidance, chosen for its own student."""
    networks = {n: (base.graph(n), (of.left, of.right), of.stride) for n, of in base.config.networks.items()}
    if "content" in read_meta(converter).get("others", {}):
        networks["content"] = content_graph(load_content(converter).encoder)
    settings = {"corrections": base.config.corrections, "postfilter": PostFilter(), "notes": {}}
    settings |= {"temperature": 1.0, "guidance": 0.0, "guidance_cosines": MEL.n_mels}
    _complete(Path(folder), name, networks, converter, teacher, settings)


def _complete(
    folder: Path,
    name: str,
    networks: dict[str, Graph],
    converter: str | Path,
    teacher: bool,
    settings: dict[str, Any],
) -> None:
    """Write a bundle of these networks and a checkpoint's U-Net in the converter's place."""
    unet = load_unet(converter).eval()
    schedule = build(ScheduleConfig, read_meta(converter)["recipe"]["schedule"])  # S_K as it was trained
    made = networks | {"converter": converter_graph(unet)}
    write_bundle(folder, name, made, unet, schedule, schedule.start if teacher else 1, **settings)
