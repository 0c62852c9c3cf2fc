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
from fastvoicegrad.graphs import session_options  # noqa: E402
from fastvoicegrad.training.quantise import NETWORK, inputs_of_conversions, quantise  # noqa: E402
from fastvoicegrad.training.restore import restore  # noqa: E402
from fastvoicegrad.training.storage import storage_of, store_bundle  # noqa: E402
from tests.conftest import vowels  # noqa: E402


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


def test_outputs_are_nearly_the_same(folder: Path, eight: Path, speech: list[Path]) -> None:
    plain, quantised = Bundle.open(folder), Bundle.open(eight)
    assert quantised.fingerprint == plain.fingerprint  # voices fit both
    for inputs in inputs_of_conversions(plain, speech):
        (whole,), (bytewise,) = plain.run(NETWORK, **inputs), quantised.run(NETWORK, **inputs)
        assert 0 < np.square(whole - bytewise).mean() < 0.05**2 * np.square(whole).mean()


def test_the_runtime_multiplies_bytes(folder: Path, eight: Path, tmp_path: Path) -> None:
    quantised = Bundle.open(eight).graph(NETWORK)
    options = session_options(1, quantised)
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(quantised, options)
    graph = onnx.load(tmp_path / "optimised.onnx").graph
    plain = onnx.load_from_string(Bundle.open(folder).graph(NETWORK)).graph
    layers = sum(node.op_type == "Conv" for node in plain.node)
    assert sum(node.op_type == "QLinearConv" for node in graph.node) == layers - 1  # all but the last


def test_weights_are_restored(folder: Path, eight: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    for plain, quantised in zip(restore(folder, tmp_path / "plain"), restore(eight, tmp_path / "eight"), strict=True):
        restored = load_file(quantised)
        for name, weight in load_file(plain).items():
            if ".heads." not in name:  # no bundle has these
                np.testing.assert_allclose(restored[name], weight, atol=1e-4, err_msg=name)  # biases are rounded


def test_bad_input_is_refused_in_a_line(folder: Path, eight: Path, speech: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two recordings"):
        quantise(folder, speech[:1], tmp_path / "out")
    with pytest.raises(InputError, match="already"):
        quantise(eight, speech, tmp_path / "out")
    done = CliRunner().invoke(app, ["dev", "quantise", *map(str, speech), "nothing.wav", "-o", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "nothing.wav" in done.output
    assert not (tmp_path / "out").exists()


def test_a_bundle_stored_in_bytes_can_be_quantised(folder: Path, speech: list[Path], tmp_path: Path) -> None:
    store_bundle(folder, tmp_path / "byte", "byte")
    quantise(tmp_path / "byte", speech[:2], tmp_path / "eight")
    plain, quantised = Bundle.open(tmp_path / "byte"), Bundle.open(tmp_path / "eight")
    assert storage_of(onnx.load_from_string(quantised.graph(NETWORK))) == "half"
    inputs = inputs_of_conversions(plain, speech[:2])[0]
    (whole,), (eight_bit,) = plain.run(NETWORK, **inputs), quantised.run(NETWORK, **inputs)
    assert 0 < np.square(whole - eight_bit).mean() < 0.05**2 * np.square(whole).mean()


def test_a_bundle_that_computes_in_bytes_can_be_stored_again(eight: Path, tmp_path: Path) -> None:
    store_bundle(eight, tmp_path / "byte", "byte")
    graph = Bundle.open(tmp_path / "byte").graph(NETWORK)
    assert storage_of(onnx.load_from_string(graph)) == "half"
    options = session_options(1, graph)
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(graph, options)
    assert "QLinearConv" in {node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node}
