"""How the weights of a bundle's graphs are stored: in 16 or in 8 bits. This does not change the arithmetic.

A node behind each stored weight restores it: Cast for halves, DequantizeLinear for bytes. ONNX Runtime folds them into
float32 constants when it makes a session (see `graphs.session_options`). Graphs of quantise.py multiply some of the
bytes as they are.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ..bundle import Bundle
from ..bundle_config import parse_config, write_config
from ..graphs import computes_in_bytes
from .bundle_files import config_json, write_files

Storage = Literal["byte", "half"]

SMALLEST = 1024  # values of a weight that is worth storing in fewer bits
LARGEST_BYTE = 127
HALF, BYTE, SCALE, ZERO = "_half", "_byte", "_byte_scale", "_byte_zero"  # suffixes of what is stored for a weight
QUANTISERS = ("QuantizeLinear", "DequantizeLinear")
FLOAT = "_float"  # of bytes as floats, before their scale
CHANNEL_AXIS = {"ConvTranspose": 1, "MatMul": -1}  # of the output channels in a weight; 0 for every other operator


def half_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store large float32 weights as float16, in place."""
    casts = []
    for tensor in _large_weights(model.graph):
        casts.append(_store_half(tensor))
    return _prepend(model, casts)


def byte_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store large float32 weights as int8 with one float32 scale for each output channel, in place.

    q = round(w / s) with s = max|w| / 127. Weights of one dimension and tables that are added are stored as float16.
    Where a graph computes in eight bits, ONNX Runtime folds no DequantizeLinear: Cast and Mul restore weights there.
    """
    added = {name for node in model.graph.node if node.op_type == "Add" for name in node.input}
    axes = {name: CHANNEL_AXIS.get(node.op_type, 0) for node in model.graph.node for name in node.input}
    computing, nodes = any(node.op_type == "QuantizeLinear" for node in model.graph.node), []
    for tensor in _large_weights(model.graph):
        if len(tensor.dims) < 2 or tensor.name in added:
            nodes.append(_store_half(tensor))
            continue
        name, weight = tensor.name, numpy_helper.to_array(tensor)
        axis = axes.get(name, 0) % weight.ndim
        values, scale = to_bytes(weight, axis)
        tensor.CopyFrom(numpy_helper.from_array(values, name + BYTE))
        model.graph.initializer.append(numpy_helper.from_array(scale if computing else scale.ravel(), name + SCALE))
        if computing:
            nodes.append(helper.make_node("Cast", [name + BYTE], [name + FLOAT], to=TensorProto.FLOAT))
            nodes.append(helper.make_node("Mul", [name + FLOAT, name + SCALE], [name]))
        else:
            nodes.append(helper.make_node("DequantizeLinear", [name + BYTE, name + SCALE], [name], axis=axis))
    return _prepend(model, nodes)


def quantised_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store the weights of a graph that `onnxruntime.quantization` made, in place.

    Those of layers that multiply bytes are bytes already. They get the names that `byte_weights` gives all others.
    """
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    names: dict[str, str] = {}
    for node in model.graph.node:
        quantised = stored.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if quantised is not None and quantised.data_type == TensorProto.INT8:
            name = quantised.name.removesuffix("_quantized")
            new = (name + BYTE, name + SCALE, name + ZERO, name)
            names |= dict(zip([*node.input, node.output[0]], new, strict=True))
    for tensor in model.graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    return byte_weights(model)


def full_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Undo `half_weights` or `byte_weights` in place, but for the rounding."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    kept, full = [], {}
    for node in model.graph.node:
        if node.input and node.input[0] in stored and node.input[0].endswith((HALF, BYTE)):
            full[node.output[0]] = _restored(node, *(stored[name] for name in node.input))
        elif len(node.input) == 2 and node.input[1] in stored and node.input[1].endswith(SCALE):
            # A Mul by scales that broadcast; versions before 0.16.1 wrote it, too.
            full[node.output[0]] = full.pop(node.input[0]) * stored[node.input[1]]
        else:
            kept.append(node)
    initializers = []
    for tensor in model.graph.initializer:
        name = tensor.name.removesuffix(HALF).removesuffix(BYTE)
        if not name.endswith((SCALE, ZERO)):
            initializers.append(numpy_helper.from_array(full[name], name) if name in full else tensor)
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(kept)
    model.graph.initializer.extend(initializers)
    return model


def _restored(
    node: NodeProto, values: np.ndarray, scale: np.ndarray | None = None, zero: np.ndarray | None = None
) -> np.ndarray:
    """A stored weight in float32. Where there is a zero point, it is 0."""
    values = values.astype(np.float32)
    if scale is None:
        return values
    axis = next(attribute.i for attribute in node.attribute if attribute.name == "axis")
    return values * scale.reshape([-1 if i == axis else 1 for i in range(values.ndim)])


def storage_of(model: onnx.ModelProto) -> Storage | None:
    """The storage of a graph's weights; None for float32."""
    names = [tensor.name for tensor in model.graph.initializer]
    if any(name.endswith(BYTE) for name in names):
        return "byte"
    return "half" if any(name.endswith(HALF) for name in names) else None


def with_storage(graph: bytes, storage: Storage) -> bytes:
    """A graph, stored in any way, with its weights in the given one. One that computes in eight bits stays as it is."""
    if computes_in_bytes(graph):
        return graph
    store = byte_weights if storage == "byte" else half_weights
    return bytes(store(full_weights(onnx.load_from_string(graph))).SerializeToString())


def store_bundle(bundle: str | Path | None, out: Path, storage: Storage) -> None:
    """Write a bundle with the weights of all its networks in the given storage.

    Voices belong to the networks that made them, so those of the old bundle do not fit the new one.

    Args:
        bundle: folder or zip; None is the default one.
        out: folder to write.
    Raises:
        InputError: `bundle` cannot be opened (see `Bundle.open`).
    """
    opened = Bundle.open(bundle)
    graphs = {name: with_storage(opened.graph(name), storage) for name in opened.config.networks}
    write_networks(out, opened, graphs)


def write_networks(out: Path, bundle: Bundle, graphs: dict[str, bytes], *, same_voices: bool = False) -> None:
    """Write a bundle with some of its graphs replaced, in the folder `out`.

    Args:
        same_voices: whether voices of `bundle`, adapted ones too, fit the new one.
    """
    networks, whole = {}, {}
    for name, network in bundle.config.networks.items():
        data = whole[name] = graphs.get(name) or bundle.graph(name)
        networks[name] = replace(network, file=f"{name}.onnx", sha256=hashlib.sha256(data).hexdigest())
    encoder = "" if graphs.keys() & {"speaker", "content", "pitch"} else bundle.config.encoder
    converter = (
        "" if networks["converter"].sha256 != bundle.config.networks["converter"].sha256 else bundle.config.converter
    )
    config = replace(bundle.config, networks=networks, encoder=encoder, converter=converter)
    if same_voices:
        config = replace(config, encoder=bundle.fingerprint, converter=bundle.converter_fingerprint)
    write_files(out, whole, config_json(lambda scratch: write_config(scratch, config), parse_config))


def to_bytes(weight: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """int8 values of a weight, and float32 scales that broadcast over it, one for each index of `axis`."""
    others = tuple(i for i in range(weight.ndim) if i != axis % weight.ndim)
    scale = np.abs(weight).max(axis=others, keepdims=True).astype(np.float32) / np.float32(LARGEST_BYTE)
    values = np.rint(weight / np.where(scale > 0, scale, 1))
    return np.clip(values, -LARGEST_BYTE, LARGEST_BYTE).astype(np.int8), scale


def _large_weights(graph: onnx.GraphProto) -> list[TensorProto]:
    scales = {name for node in graph.node if node.op_type in QUANTISERS for name in node.input[1:]}
    floats = [t for t in graph.initializer if t.data_type == TensorProto.FLOAT and t.name not in scales]
    return [tensor for tensor in floats if np.prod(tensor.dims) >= SMALLEST]


def _store_half(tensor: TensorProto) -> NodeProto:
    """Store a weight as float16, in place; returns the Cast that restores it."""
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), name + HALF))
    return helper.make_node("Cast", [name + HALF], [name], to=TensorProto.FLOAT)


def _prepend(model: onnx.ModelProto, nodes: list[NodeProto]) -> onnx.ModelProto:
    nodes = [*nodes, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model
