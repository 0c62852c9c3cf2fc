"""Bundles with 8-bit arithmetic: nearly the same outputs, and the same weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

import onnxruntime  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from fastvoicegrad.bundle import Bundle  # noqa: E402
from fastvoicegrad.cli import app  # noqa: E402
from fastvoicegrad.errors import InputError  # noqa: E402
from fastvoicegrad.graphs import computes_in_bytes, session_options  # noqa: E402
from fastvoicegrad.training import storage  # noqa: E402
from fastvoicegrad.training.phases import with_phases, without_phases  # noqa: E402
from fastvoicegrad.training.quantise import LAYERS, inputs_of_conversions, layers_of, quantise  # noqa: E402
from fastvoicegrad.training.restore import restore  # noqa: E402
from fastvoicegrad.training.storage import SMALLEST, full_weights, storage_of, store_bundle, write_networks  # noqa: E402
from tests.conftest import vowels  # noqa: E402

TRANSPOSED = ("unet.conv8.conv.weight", "unet.conv10.conv.weight")


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("speech")
    paths = [root / f"{pitch}.wav" for pitch in (110, 160, 220)]
    for seed, path in enumerate(paths):
        soundfile.write(path, vowels(2.0, pitch=float(path.stem), seed=seed), 22050)
    return paths


@pytest.fixture(scope="module")
def eight(folder: Path, speech: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("eight")
    done = CliRunner().invoke(app, ["dev", "quantise", *map(str, speech), "--bundle", str(folder), "-o", str(out)])
    assert done.exit_code == 0, done.output
    return out


@pytest.mark.parametrize("name", LAYERS)
def test_outputs_are_nearly_the_same(folder: Path, eight: Path, speech: list[Path], name: str) -> None:
    plain, quantised = Bundle.open(folder), Bundle.open(eight)
    for inputs in inputs_of_conversions(plain, speech)[name]:
        for whole, bytewise in zip(plain.run(name, **inputs), quantised.run(name, **inputs), strict=True):
            assert np.square(whole - bytewise).mean() < 0.05**2 * np.square(whole).mean()


def test_voices_fit_both(folder: Path, eight: Path) -> None:
    plain, quantised = Bundle.open(folder), Bundle.open(eight)
    assert quantised.encoders != plain.encoders
    assert quantised.fingerprint == plain.fingerprint
    assert quantised.converter_fingerprint == plain.converter_fingerprint


@pytest.mark.parametrize(("name", "fused"), [("converter", "QLinearConv"), ("content", "MatMulIntegerToFloat")])
def test_the_runtime_multiplies_bytes(folder: Path, eight: Path, tmp_path: Path, name: str, fused: str) -> None:
    graph = Bundle.open(eight).graph(name)
    options = session_options(1, graph)
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(graph, options)
    nodes = onnx.load(tmp_path / "optimised.onnx").graph.node
    plain = with_phases(full_weights(onnx.load_from_string(Bundle.open(folder).graph(name))))
    wanted = layers_of(plain.graph, LAYERS[name])
    assert 0 < sum(node.op_type == fused for node in nodes) == len(wanted)
    assert {node.op_type for node in nodes}.isdisjoint({"Cast"} if name == "content" else set())  # all are folded


def test_files_do_not_grow(folder: Path, eight: Path, tmp_path: Path) -> None:
    store_bundle(folder, tmp_path / "byte", "byte")
    for name in LAYERS:
        stored, quantised = (len(Bundle.open(path).graph(name)) for path in (tmp_path / "byte", eight))
        assert quantised < 1.5 * stored


def test_weights_are_restored(folder: Path, eight: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    for plain, quantised in zip(restore(folder, tmp_path / "plain"), restore(eight, tmp_path / "eight"), strict=True):
        restored = load_file(quantised)
        for name, weight in load_file(plain).items():
            if ".heads." not in name:  # no bundle has these
                half_a_step = 0.51 * np.abs(weight).max() / 127
                np.testing.assert_allclose(restored[name], weight, atol=half_a_step + 1e-6, err_msg=name)


def test_bad_input_is_refused_in_a_line(folder: Path, eight: Path, speech: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two recordings"):
        quantise(folder, speech[:1], tmp_path / "out")
    with pytest.raises(InputError, match="already"):
        quantise(eight, speech, tmp_path / "out")
    arguments = [*map(str, speech), "nothing.wav", "--bundle", str(folder), "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(app, ["dev", "quantise", *arguments])
    assert done.exit_code == 2
    assert "nothing.wav" in done.output
    assert not (tmp_path / "out").exists()


def test_a_bundle_stored_in_bytes_can_be_quantised(folder: Path, speech: list[Path], tmp_path: Path) -> None:
    store_bundle(folder, tmp_path / "byte", "byte")
    quantise(tmp_path / "byte", speech[:2], tmp_path / "eight")
    plain, quantised = Bundle.open(tmp_path / "byte"), Bundle.open(tmp_path / "eight")
    for name in LAYERS:
        weights, same = (large_weights_of(bundle.graph(name)) for bundle in (plain, quantised))
        assert weights.keys() == same.keys()
        for key in weights:  # bytes of bytes are the same, but where each phase gets a scale of its own
            half_a_step = 0.51 * np.abs(weights[key]).max() / 127 if key in TRANSPOSED else 0.0
            np.testing.assert_allclose(same[key], weights[key], rtol=1e-5, atol=1e-7 + half_a_step, err_msg=key)


def large_weights_of(graph: bytes) -> dict[str, np.ndarray]:
    tensors = full_weights(onnx.load_from_string(graph)).graph.initializer
    arrays = without_phases({tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in tensors})
    return {name: array for name, array in arrays.items() if array.ndim > 1 and array.size >= SMALLEST}


def test_networks_that_compute_in_bytes_are_stored_as_they_are(eight: Path, tmp_path: Path) -> None:
    store_bundle(eight, tmp_path / "half", "half")
    assert Bundle.open(tmp_path / "half").converter_fingerprint == Bundle.open(eight).converter_fingerprint
    for name in LAYERS:
        assert Bundle.open(tmp_path / "half").graph(name) == Bundle.open(eight).graph(name)
        assert storage_of(onnx.load_from_string(Bundle.open(eight).graph(name))) == "byte"


def test_scales_of_wide_layers_are_no_weights(
    folder: Path, speech: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "SMALLEST", 4)  # every layer is wide
    quantise(folder, speech[:2], tmp_path / "eight")
    for name in LAYERS:
        graph = Bundle.open(tmp_path / "eight").graph(name)
        weights, same = (large_weights_of(graph) for graph in (Bundle.open(folder).graph(name), graph))
        assert weights.keys() == same.keys()
        Bundle.open(tmp_path / "eight").session(name)


def test_a_network_that_is_left_is_quantised(folder: Path, eight: Path, speech: list[Path], tmp_path: Path) -> None:
    plain, done = Bundle.open(folder), Bundle.open(eight)
    write_networks(tmp_path / "mixed", done, {"converter": plain.graph("converter")})
    quantise(tmp_path / "mixed", speech, tmp_path / "out")
    out = Bundle.open(tmp_path / "out")
    assert out.graph("content") == done.graph("content")
    assert all(computes_in_bytes(out.graph(name)) for name in LAYERS)
