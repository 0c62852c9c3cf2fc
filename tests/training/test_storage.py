"""Weights in 16 and in 8 bits: sizes, values, and the arithmetic of the session."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

import onnxruntime  # noqa: E402
from onnx import numpy_helper  # noqa: E402

from fastvoicegrad.bundle import DEFAULT, Bundle  # noqa: E402
from fastvoicegrad.graphs import session_options  # noqa: E402
from fastvoicegrad.training.restore import restore  # noqa: E402
from fastvoicegrad.training.storage import (  # noqa: E402
    full_weights,
    storage_of,
    store_bundle,
    to_bytes,
    with_storage,
    write_networks,
)

NETWORKS = ("content", "speaker", "pitch", "converter", "vocoder")


@pytest.fixture(scope="module")
def byte_bundle(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    """The tiny bundle, stored in halves, in bytes."""
    out = tmp_path_factory.mktemp("byte")
    store_bundle(folder, out, "byte")
    return out


def inputs_of(name: str, adapter: int, frames: int = 96) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)

    def normal(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32)

    if name != "converter":
        return {"mel": normal(1, 80, frames) - 5}
    speaker = normal(1, 192)
    return {
        "x": normal(1, 80, frames),
        "step": np.array([950]),
        "alpha_bar": np.array([0.006], np.float32),
        "speaker": speaker / np.linalg.norm(speaker),
        "content": normal(1, 144, frames),
        "keys": normal(1, 144, 40),
        "reference": normal(1, 80, 40) - 5,
        "pitch": np.full((1, frames), 150, np.float32),
        "adapter": np.zeros((1, adapter), np.float32),
    }


def weights(graph: bytes) -> dict[str, np.ndarray]:
    """Large weights in float32, by name."""
    model = full_weights(onnx.load_from_string(graph))
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if np.prod(t.dims) >= 1024}


def test_the_default_bundle_is_stored_in_bytes() -> None:
    assert all(storage_of(onnx.load(DEFAULT / f"{name}.onnx")) == "byte" for name in NETWORKS)
    assert sum(path.stat().st_size for path in DEFAULT.iterdir()) <= 40e6


def test_a_stored_bundle_is_complete(byte_bundle: Path) -> None:
    assert {path.name for path in byte_bundle.iterdir()} == {"config.json", *(f"{n}.onnx" for n in NETWORKS)}
    assert all(storage_of(onnx.load(byte_bundle / f"{name}.onnx")) == "byte" for name in NETWORKS)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "pitch"])  # untrained classes of pitch jump
def test_bytes_give_nearly_the_outputs_of_halves(folder: Path, byte_bundle: Path, name: str) -> None:
    bundles = Bundle.open(folder), Bundle.open(byte_bundle)
    half, byte = (bundle.run(name, **inputs_of(name, bundle.config.adapter)) for bundle in bundles)
    for ours, expected in zip(byte, half, strict=True):
        assert np.square(ours - expected).mean() < 0.1**2 * np.square(expected).mean()
        assert not np.array_equal(ours, expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_session_computes_with_float32_weights(byte_bundle: Path, tmp_path: Path, name: str) -> None:
    """Its optimised graph holds the scaled bytes as constants, and no byte is left."""
    graph = Bundle.open(byte_bundle).graph(name)
    options = session_options(1, graph)
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    optimised = onnx.load(tmp_path / "optimised.onnx").graph
    assert not [n for node in optimised.node for n in node.input if n.endswith(("_half", "_byte", "_byte_scale"))]
    assert not [t.name for t in optimised.initializer if t.data_type == onnx.TensorProto.INT8]
    full = full_weights(onnx.load_from_string(graph)).SerializeToString()
    plain = onnxruntime.InferenceSession(full, providers=["CPUExecutionProvider"])
    inputs = inputs_of(name, Bundle.open(byte_bundle).config.adapter)
    for ours, expected in zip(Bundle.open(byte_bundle).run(name, **inputs), plain.run(None, inputs), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_bytes_are_within_half_a_step_of_each_channels_scale(folder: Path, byte_bundle: Path, name: str) -> None:
    model = onnx.load(byte_bundle / f"{name}.onnx")
    scales = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if t.name.endswith("_byte_scale")}
    axes = {n.output[0]: n.attribute[0].i for n in model.graph.node if n.op_type == "DequantizeLinear"}
    half, byte = weights(Bundle.open(folder).graph(name)), weights(Bundle.open(byte_bundle).graph(name))
    assert half.keys() == byte.keys()
    for key, weight in half.items():
        if weight.ndim > 1:
            step = along(scales[f"{key}_byte_scale"], axes[key], weight)
            assert (np.abs(byte[key] - weight) <= 0.51 * step).all(), key
        else:
            np.testing.assert_array_equal(byte[key], weight)


def along(scale: np.ndarray, axis: int, weight: np.ndarray) -> np.ndarray:
    """Scales that broadcast over a weight."""
    return scale.reshape([-1 if i == axis else 1 for i in range(weight.ndim)])


def test_scales_belong_to_output_channels(byte_bundle: Path) -> None:
    """One for each index of the axis: 0, but 1 in a transposed convolution and in a factor of a matrix product."""
    found = {}
    for name in ("converter", "content"):
        graph = onnx.load(byte_bundle / f"{name}.onnx").graph
        dims = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "DequantizeLinear":
                shape, axis = dims[node.input[0]], node.attribute[0].i
                assert dims[node.input[1]] == (shape[axis],)
                found[node.output[0]] = axis
    assert found["unet.conv1.conv.weight"] == 0
    assert found["unet.conv8.conv.weight"] == 1  # transposed: (in, out, kernel)
    assert 1 in {axis for name, axis in found.items() if name.startswith("val_")}


def test_bytes_of_versions_before_0_16_1_are_read() -> None:
    """They have a Cast and a Mul by scales that broadcast."""
    values, scale = np.array([[1, -2], [3, 4]], np.int8), np.array([[0.5], [2.0]], np.float32)
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [
                onnx.helper.make_node("Cast", ["w_byte"], ["w_byte_unscaled"], to=onnx.TensorProto.FLOAT),
                onnx.helper.make_node("Mul", ["w_byte_unscaled", "w_byte_scale"], ["w"]),
                onnx.helper.make_node("MatMul", ["w", "x"], ["y"]),
            ],
            "old",
            [],
            [],
            [numpy_helper.from_array(values, "w_byte"), numpy_helper.from_array(scale, "w_byte_scale")],
        )
    )
    graph = full_weights(model).graph
    assert [node.op_type for node in graph.node] == ["MatMul"]
    (weight,) = graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(weight), values * scale)


def test_new_encoders_fit_no_older_voices(folder: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(folder)
    named = Bundle(replace(bundle.config, encoder="0" * 16), bundle.read)
    for changed, encoder in (("converter", "0" * 16), ("content", "")):
        write_networks(tmp_path / changed, named, {changed: with_storage(bundle.graph(changed), "byte")})
        assert Bundle.open(tmp_path / changed).config.encoder == encoder


def test_storing_twice_changes_nothing(folder: Path) -> None:
    for name in NETWORKS:
        graph = Bundle.open(folder).graph(name)
        assert with_storage(graph, "half") == graph
        byte = with_storage(graph, "byte")
        for key, weight in weights(byte).items():
            np.testing.assert_allclose(weights(with_storage(byte, "byte"))[key], weight, rtol=1e-6)


def test_a_channel_of_zeros_stays_zero() -> None:
    weight = np.array([[0.0, 0.0], [2.0, -1.0]], np.float32)
    values, scale = to_bytes(weight, 0)
    np.testing.assert_array_equal(values, [[0, 0], [127, -64]])
    np.testing.assert_allclose(values * scale, weight, atol=0.01)


def test_checkpoints_can_be_restored_from_bytes(folder: Path, byte_bundle: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    for half, byte in zip(restore(folder, tmp_path / "half"), restore(byte_bundle, tmp_path / "byte"), strict=True):
        ours, expected = load_file(byte), load_file(half)
        assert ours.keys() == expected.keys()
        for name, weight in expected.items():
            if ".heads." not in name:  # no bundle has these
                assert np.abs(ours[name] - weight).max() <= 0.005 * np.abs(weight).max() + 1e-6, name
