"""From a stream bundle back to its networks, to train on from them, or to train something that one of them reads.

A graph keeps the names of biases. Other weights became constants without a name: each belongs to the layer whose bias
is added to its product.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from ..errors import InputError
from ..files import new_folder
from ..stream.bundle import StreamBundle
from . import checkpoint
from .checkpoint import plain
from .models.stream import (
    StreamContent,
    StreamContentConfig,
    StreamContentModel,
    StreamConverter,
    StreamConverterConfig,
    StreamPitch,
    StreamPitchConfig,
)
from .models.stream_renderer import StreamRenderer, StreamRendererConfig
from .recipe import build
from .storage import full_weights


class Restored(NamedTuple):
    """How graphs of a stream bundle become a network."""

    network: type[nn.Module]
    settings: type
    prefixes: dict[str, str]  # graph -> prefix of the network's names in it


RESTORED = {
    "content": Restored(StreamContent, StreamContentConfig, {"content": "network."}),
    "pitch": Restored(StreamPitch, StreamPitchConfig, {"pitch": "network."}),
    "converter": Restored(StreamConverter, StreamConverterConfig, {"converter": "", "voice": "network."}),
    "renderer": Restored(StreamRenderer, StreamRendererConfig, {"renderer": "network."}),
}


def restored_stream_converter(bundle: StreamBundle) -> StreamConverter:
    """The converter of a stream bundle; see `restored`."""
    return cast(StreamConverter, restored(bundle, "converter"))


def restored(bundle: StreamBundle, part: str) -> nn.Module:
    """A network of a stream bundle in PyTorch, frozen.

    Args:
        part: key of `RESTORED`.
    Raises:
        InputError: the graphs lack its settings or weights.
    """
    network, settings_type, prefixes = RESTORED[part]
    weights, settings = dict[str, np.ndarray](), ""
    for name, prefix in prefixes.items():
        proto = full_weights(onnx.load_from_string(bundle.graph(name)))
        settings = {entry.key: entry.value for entry in proto.metadata_props}.get("model", "")
        weights |= {stored.removeprefix(prefix): values for stored, values in _weights(proto.graph)}
    if not settings:
        raise InputError(f"the stream bundle lacks its {part}'s settings; export it again")
    model = network(build(settings_type, json.loads(settings)))
    wanted = model.state_dict()
    if missing := sorted(set(wanted) - set(weights)):
        raise InputError(f"the stream bundle lacks weights of its {part} ({missing[0]}); export it again")
    found = {name: torch.from_numpy(weights[name].astype(np.float32)) for name in wanted}
    model.load_state_dict({name: found[name].reshape(old.shape) for name, old in wanted.items()})
    return model.eval().requires_grad_(False)


def restore_stream(bundle: str | Path | None, out: Path) -> list[Path]:
    """Write a checkpoint for each network of a stream bundle, to train from or to export again.

    Args:
        bundle: a folder; None is the default one.
        out: folder for `stream-content.safetensors` and so on.
    Returns:
        the checkpoints.
    Raises:
        InputError: the graphs lack their networks' settings or weights.
    """
    opened = StreamBundle.open(bundle)
    new_folder(out)
    written = []
    for part in RESTORED:
        model, task = restored(opened, part), f"stream-{part}"
        meta = {"step": 0, "task": task, "model": plain(model.config), "ema": False, "recipe": {}}
        written.append(out / f"{task}.safetensors")
        checkpoint.save(written[-1], {task: _with_classifier(model)}, {}, meta)
    return written


def _with_classifier(model: nn.Module) -> nn.Module:
    """A content encoder with an untrained classifier of units, which bundles lack; other networks as they are."""
    if not isinstance(model, StreamContent):
        return model
    torch.manual_seed(0)
    whole = StreamContentModel(model.config)
    whole.encoder = model
    return whole


def _weights(graph: onnx.GraphProto) -> Iterator[tuple[str, np.ndarray]]:
    """Weights by the names of their network."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made = {name: node for node in graph.node for name in node.output}
    yield from stored.items()
    yield from _mel_statistics(graph, stored)
    for node in graph.node:
        for bias in (name for name in node.input if name.endswith(".bias")):
            weight = bias.removesuffix("bias") + "weight"
            if node.op_type == "Conv":
                yield weight, stored[node.input[1]]
            elif node.op_type == "Add":
                (product,) = (made[name] for name in node.input if name != bias)
                if product.op_type == "MatMul":
                    yield weight, stored[product.input[1]].T


def _mel_statistics(graph: onnx.GraphProto, stored: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Mean and deviation of the mel's bands, which became constants too: (mel - mean) / deviation."""
    for node in graph.node:
        if node.op_type == "Sub" and node.input[0] == "mel":
            yield "norm.mean", stored[node.input[1]].T
            (divided,) = (other for other in graph.node if other.op_type == "Div" and other.input[0] == node.output[0])
            yield "norm.std", stored[divided.input[1]].T
