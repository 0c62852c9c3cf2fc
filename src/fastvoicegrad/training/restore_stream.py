"""From a stream bundle back to its converter, to train something that this converter reads.

A graph keeps the names of biases. Other weights became constants without a name: each belongs to the layer whose bias
is added to its product.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from ..errors import InputError
from ..stream.bundle import StreamBundle
from .models.stream import StreamConverter, StreamConverterConfig
from .recipe import build
from .storage import full_weights

GRAPHS = {"converter": "", "voice": "network."}  # parts of the converter, and the prefix of their weights' names


def restored_stream_converter(bundle: StreamBundle) -> StreamConverter:
    """The converter of a stream bundle in PyTorch, frozen.

    Raises:
        InputError: the graphs lack its settings or weights.
    """
    weights, settings = dict[str, np.ndarray](), ""
    for part, prefix in GRAPHS.items():
        proto = full_weights(onnx.load_from_string(bundle.graph(part)))
        settings = {entry.key: entry.value for entry in proto.metadata_props}.get("model", "")
        weights |= {name.removeprefix(prefix): values for name, values in _weights(proto.graph)}
    if not settings:
        raise InputError("the stream bundle lacks its converter's settings; export it again")
    converter = StreamConverter(build(StreamConverterConfig, json.loads(settings)))
    wanted = converter.state_dict()
    if missing := sorted(set(wanted) - set(weights)):
        raise InputError(f"the stream bundle lacks weights of its converter ({missing[0]}); export it again")
    found = {name: torch.from_numpy(weights[name].astype(np.float32)) for name in wanted}
    converter.load_state_dict({name: found[name].reshape(old.shape) for name, old in wanted.items()})
    return converter.eval().requires_grad_(False)


def _weights(graph: onnx.GraphProto) -> Iterator[tuple[str, np.ndarray]]:
    """Weights by the names of their network."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made = {name: node for node in graph.node for name in node.output}
    yield from stored.items()
    for node in graph.node:
        for bias in (name for name in node.input if name.endswith(".bias")):
            weight = bias.removesuffix("bias") + "weight"
            if node.op_type == "Conv":
                yield weight, stored[node.input[1]]
            elif node.op_type == "Add":
                (product,) = (made[name] for name in node.input if name != bias)
                if product.op_type == "MatMul":
                    yield weight, stored[product.input[1]].T
