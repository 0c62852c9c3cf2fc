"""Transposed convolutions as ordinary ones, which ONNX Runtime can compute in bytes (arXiv 1609.07009, section 2).

A transposed convolution of stride s, padding p and kernel w gives in phase r, for r from 0 to s - 1,

    y[s q + r] = sum of w[j] x[q + (r + p - j) / s] over all j = r + p (mod s).

So each phase is a convolution with a part of the kernel. Their outputs take turns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

PHASE = "_phase"  # and its number: suffix of what belongs to a phase
AXIS, SHAPE = "phase_axis", "phase_shape"  # of the interleaved outputs
DEFAULTS: dict[str, Any] = {  # of ONNX, over time
    "auto_pad": b"NOTSET",
    "dilations": [1],
    "group": 1,
    "output_padding": [0],
    "pads": [0, 0],
    "strides": [1],
}


def with_phases(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace transposed convolutions over time, in place. Weights must be plain (`storage.full_weights`).

    Those that do not give s frames for each of x stay, such as those of other paddings.
    """
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes, phases, replaced = list[NodeProto](), dict[str, TensorProto](), set[str]()
    for node in model.graph.node:
        settings = DEFAULTS | {each.name: helper.get_attribute_value(each) for each in node.attribute}
        if node.op_type != "ConvTranspose" or not _is_covered(node, settings, stored):
            nodes.append(node)
            continue
        kernel, bias = (numpy_helper.to_array(stored[name]) for name in node.input[1:])
        [stride], padding = settings["strides"], settings["pads"][0]
        for phase, (part, first) in enumerate(_parts(kernel, stride, padding)):
            names = [f"{name}{PHASE}{phase}" for name in (*node.input[1:], node.output[0])]
            phases |= {name: numpy_helper.from_array(x, name) for name, x in zip(names, (part, bias), strict=False)}
            pads = [-first, first + part.shape[2] - 1]
            nodes.append(helper.make_node("Conv", [node.input[0], *names[:2]], names[2:], names[2], pads=pads))
        nodes += _taking_turns(node.output[0], stride)
        replaced.update(node.input[1:])
    if replaced:
        for name, values in ((AXIS, [3]), (SHAPE, [0, 0, -1])):
            phases[name] = numpy_helper.from_array(np.array(values, np.int64), name)
    kept = {name: tensor for name, tensor in stored.items() if name not in replaced}
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend((kept | phases).values())
    return model


def _is_covered(node: NodeProto, settings: dict[str, Any], stored: Mapping[str, TensorProto]) -> bool:
    """Whether a transposed convolution has one dimension, stored weights, and a padding of (k - s) / 2 on each side."""
    if len(node.input) != 3 or not stored.keys() >= set(node.input[1:]) or len(stored[node.input[1]].dims) != 3:
        return False
    [stride], pads, taps = settings["strides"], settings["pads"], stored[node.input[1]].dims[2]
    plain = all(settings[name] == DEFAULTS[name] for name in ("auto_pad", "dilations", "group", "output_padding"))
    return plain and "output_shape" not in settings and 2 * pads[0] == 2 * pads[1] == taps - stride


def _parts(kernel: np.ndarray, stride: int, padding: int) -> Iterator[tuple[np.ndarray, int]]:
    """The kernel (O, I, n) of each phase, and the frame of x that its first tap reads, counted from q.

    Args:
        kernel: (I, O, k).
    """
    for phase in range(stride):
        taps = range((phase + padding) % stride, kernel.shape[2], stride)[::-1]
        yield np.ascontiguousarray(kernel[:, :, taps].transpose(1, 0, 2)), (phase + padding - taps[0]) // stride


def _taking_turns(output: str, stride: int) -> Iterator[NodeProto]:
    """Interleave the phases' outputs (1, O, T) to (1, O, s T)."""
    phases, together = [f"{output}{PHASE}{phase}" for phase in range(stride)], f"{output}_phases"
    apart = [f"{phase}_apart" for phase in phases]
    for phase, name in zip(phases, apart, strict=True):
        yield helper.make_node("Unsqueeze", [phase, AXIS], [name], name)
    yield helper.make_node("Concat", apart, [together], together, axis=3)
    yield helper.make_node("Reshape", [together, SHAPE], [output], f"{output}_turns")


def without_phases(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights by name, with the kernels that `with_phases` took apart whole again. Those come last."""
    whole, parts = dict[str, np.ndarray](), dict[str, dict[int, np.ndarray]]()
    for name, values in weights.items():
        if found := re.fullmatch(rf"(.+){PHASE}(\d+)", name):
            parts.setdefault(found[1], {})[int(found[2])] = values
        else:
            whole[name] = values
    return whole | {name: _joined([of[phase] for phase in sorted(of)]) for name, of in parts.items()}


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """One phase's bias, or a kernel (I, O, k) whose padding is (k - s) / 2 on each side."""
    if parts[0].ndim == 1:
        return parts[0]
    stride = len(parts)
    taps = sum(part.shape[2] for part in parts)
    kernel = np.zeros((*parts[0].shape[1::-1], taps), parts[0].dtype)
    for phase, part in enumerate(parts):
        kernel[:, :, (phase + (taps - stride) // 2) % stride :: stride] = part.transpose(1, 0, 2)[:, :, ::-1]
    return kernel
