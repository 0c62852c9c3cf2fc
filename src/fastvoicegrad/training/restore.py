"""From a bundle back to checkpoints: training goes on from what ships, on another machine or on other voices.

An exported graph keeps its networks' names for weights, but for those of `nn.Linear` over time, which became
transposed factors of a matrix product and stand in the order of their layers.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from ..bundle import Bundle
from ..errors import InputError
from . import checkpoint
from .models.content import ContentConfig
from .models.pitch import PitchConfig, PitchTracker
from .models.speaker import SpeakerConfig, SpeakerEncoder
from .models.unet import UNet, UNetConfig
from .models.vocoder import SpectralVocoder, VocoderConfig
from .recipe import build
from .tasks.content import ContentModel

# Part of a bundle -> name in checkpoints, network, its settings, and its names in the graph -> its own.
PARTS: dict[str, tuple[str, type[nn.Module], type, dict[str, str]]] = {
    "content": ("content", ContentModel, ContentConfig, {"": "encoder."}),
    "pitch": ("pitch", PitchTracker, PitchConfig, {"tracker.": ""}),
    "speaker": ("speaker", SpeakerEncoder, SpeakerConfig, {}),
    "converter": ("student", UNet, UNetConfig, {"unet.": ""}),
    "vocoder": ("vocoder", SpectralVocoder, VocoderConfig, {"vocoder.": ""}),
}
FOLDED = "val_"  # how the names of what a trace made begin


def _weights(graph: onnx.GraphProto, renamed: dict[str, str]) -> dict[str, Tensor]:
    """Initializers by their network's names, in single precision."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:  # biases of layers in eight bits (quantise.py)
        if node.op_type == "DequantizeLinear" and node.input[0] in stored:
            stored[node.output[0]] = stored[node.input[0]] * stored[node.input[1]]
    weights = {}
    for name, values in stored.items():
        name = name.removesuffix("_half")
        for ours, theirs in renamed.items():
            named = name.startswith(ours) and not name.startswith(FOLDED)
            name = theirs + name.removeprefix(ours) if named else name
        if np.issubdtype(values.dtype, np.floating):
            weights[name] = torch.from_numpy(values.astype(np.float32))
    return weights


def fill(model: nn.Module, graph: onnx.GraphProto, renamed: dict[str, str]) -> None:
    """Give a network a graph's weights, in place; what a graph has no use for (the content's heads) stays as it is."""
    weights = _weights(graph, renamed)
    folded = [w for name, w in weights.items() if name.startswith(FOLDED) and w.ndim == 2]
    with torch.no_grad():
        for path, part in model.named_modules():
            for kind in ("weight", "bias", "scale", "mean", "std"):
                value, name = getattr(part, kind, None), f"{path}.{kind}".lstrip(".")
                if not isinstance(value, Tensor):
                    continue
                if name in weights and kind == "weight" and is_parametrized(part):
                    part.weight = weights[name]  # sets direction and length
                elif name in weights:
                    value.copy_(weights[name])
                elif isinstance(part, nn.Linear) and kind == "weight":
                    value.copy_(folded.pop(0).T)


def restore(bundle: str | Path | None, out: Path) -> list[Path]:
    """Write a checkpoint for each network of a bundle, to train from or to export again.

    Args:
        bundle: a folder or zip; None is the default one.
        out: folder for `content.safetensors` and so on; the converter becomes a student's checkpoint.
    Raises:
        InputError: the bundle was exported before graphs said of which network they are.
    """
    opened = Bundle.open(bundle)
    out.mkdir(parents=True, exist_ok=True)
    schedule = {name: getattr(opened.config, name) for name in ("steps", "offset", "max_beta", "start", "initial")}
    written = []
    for part, (name, network, settings, renamed) in PARTS.items():
        proto = onnx.load_from_string(opened.graph(part))
        said = {entry.key: entry.value for entry in proto.metadata_props}
        if "model" not in said:
            raise InputError(f"{part} of this bundle does not say of which network it is; export it again")
        config = json.loads(said["model"])
        model = network(build(settings, config))
        fill(model, proto.graph, renamed)
        meta = {"step": 0, "task": name, "model": config, "ema": False, "recipe": {"schedule": schedule}}
        written.append(out / f"{name}.safetensors")
        checkpoint.save(written[-1], {name: model}, {}, meta)
    return written
