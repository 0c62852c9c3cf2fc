"""Transposed convolutions as ordinary ones: the same outputs, and the same weights again."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

import onnxruntime  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from fastvoicegrad.training.phases import with_phases, without_phases  # noqa: E402


def transposed(kernel: np.ndarray, stride: int, padding: int, **more: object) -> onnx.ModelProto:
    inputs, outputs, taps = kernel.shape
    bias = np.linspace(-1, 1, outputs).astype(np.float32)
    pads = [padding, padding]
    settings = {"strides": [stride], "pads": pads, "kernel_shape": [taps]} | more
    node = helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], **settings)
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size, None])
        for name, size in (("x", inputs), ("y", outputs))
    )
    weights = [numpy_helper.from_array(kernel, "w"), numpy_helper.from_array(bias, "b")]
    graph = helper.make_graph([node], "transposed", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def output(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


@pytest.mark.parametrize(("taps", "stride"), [(8, 2), (4, 2), (2, 2), (3, 1), (9, 3), (12, 4), (5, 3)])
def test_outputs_and_weights_stay(taps: int, stride: int) -> None:
    random = np.random.default_rng(taps)
    kernel = random.standard_normal((6, 5, taps)).astype(np.float32)
    x = random.standard_normal((1, 6, 17)).astype(np.float32)
    model = transposed(kernel, stride, (taps - stride) // 2)
    expected = output(model, x)
    changed = with_phases(model)
    assert "ConvTranspose" not in {node.op_type for node in changed.graph.node}
    np.testing.assert_allclose(output(changed, x), expected, atol=1e-5)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in changed.graph.initializer}
    np.testing.assert_array_equal(without_phases(stored)["w"], kernel)
    np.testing.assert_array_equal(without_phases(stored)["b"], np.linspace(-1, 1, 5).astype(np.float32))


@pytest.mark.parametrize(
    ("padding", "more"), [(2, {}), (3, {"output_padding": [1]}), (3, {"pads": [2, 4]}), (3, {"auto_pad": "SAME_UPPER"})]
)
def test_others_stay(padding: int, more: dict[str, object]) -> None:
    model = transposed(np.ones((6, 5, 8), np.float32), 2, padding, **more)
    before = model.SerializeToString()
    assert with_phases(model).SerializeToString() == before


def test_convolutions_that_share_a_kernel() -> None:
    model = transposed(np.ones((5, 5, 8), np.float32), 2, 3)
    second = helper.make_node("ConvTranspose", ["y", "w", "b"], ["z"], strides=[2], pads=[3, 3])
    model.graph.node.append(second)
    model.graph.output[0].name = "z"
    x = np.random.default_rng(0).standard_normal((1, 5, 9)).astype(np.float32)
    expected = output(model, x)
    np.testing.assert_allclose(output(with_phases(model), x), expected, atol=1e-4)


def test_a_graph_without_transposed_convolutions_stays() -> None:
    model = with_phases(transposed(np.ones((2, 2, 4), np.float32), 2, 1))
    before = model.SerializeToString()
    assert with_phases(model).SerializeToString() == before
