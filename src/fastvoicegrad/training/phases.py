"""Transposed convolutions as ordinary ones, which ONNX Runtime can compute in bytes (arXiv 1609.07009, section 2).

A transposed convolution of stride s, padding p and kernel w gives in phase r, for r from 0 to s - 1,

    y[s q + r] = sum of w[j] x[q + (r + p - j) / s] over all j = r + p (mod s).

So each phase is a convolution with a part of the kernel. Their outputs take turns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

PHASE = "_phase"  # and its number: suffix of what belongs to a phase
AXIS, SHAPE = "phase_axis", "phase_shape"  # of the interleaved outputs


def with_phases(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace every transposed convolution over time, in place. Weights must be plain (`storage.full_weights`)."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes, weights, replaced = list[NodeProto](), list[TensorProto](), set[str]()
    for node in model.graph.node:
        if node.op_type != "ConvTranspose":
            nodes.append(node)
            continue
        kernel, bias = (numpy_helper.to_array(stored[name]) for name in node.input[1:])
        settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        for phase, (part, first) in enumerate(_parts(kernel, settings["strides"][0], settings["pads"][0])):
            names = [f"{name}{PHASE}{phase}" for name in (*node.input[1:], node.output[0])]
            weights += [numpy_helper.from_array(part, names[0]), numpy_helper.from_array(bias, names[1])]
            pads = [-first, first + part.shape[2] - 1]
            nodes.append(helper.make_node("Conv", [node.input[0], *names[:2]], names[2:], names[2], pads=pads))
        nodes += _taking_turns(node.output[0], settings["strides"][0])
        replaced.update(node.input[1:])
    if replaced:
        weights += [numpy_helper.from_array(np.array([3]), AXIS), numpy_helper.from_array(np.array([0, 0, -1]), SHAPE)]
    kept = [tensor for name, tensor in stored.items() if name not in replaced]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend([*kept, *weights])
    return model


def _parts(kernel: np.ndarray, stride: int, padding: int) -> Iterator[tuple[np.ndarray, int]]:
    """The kernel (O, I, n) of each phase, and the place in x of its first tap beside q.

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
    """Weights by name in the same order, but the kernels that `with_phases` took apart are whole again, at the end."""
    whole, parts = dict[str, np.ndarray](), dict[str, dict[int, np.ndarray]]()
    for name, values in weights.items():
        if found := re.fullmatch(rf"(.+){PHASE}(\d+)", name):
            parts.setdefault(found[1], {})[int(found[2])] = values
        else:
            whole[name] = values
    return whole | {name: _joined([of[phase] for phase in sorted(of)]) for name, of in parts.items()}


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """One phase's bias, or a kernel (I, O, k). Padding is half of what the kernel exceeds the stride by."""
    if parts[0].ndim == 1:
        return parts[0]
    stride = len(parts)
    taps = sum(part.shape[2] for part in parts)
    kernel = np.zeros((*parts[0].shape[1::-1], taps), parts[0].dtype)
    for phase, part in enumerate(parts):
        kernel[:, :, (phase + (taps - stride) // 2) % stride :: stride] = part.transpose(1, 0, 2)[:, :, ::-1]
    return kernel
