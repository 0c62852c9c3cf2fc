"""Graphs that a bundle may not hold. They are written with the `onnx` package, which the run time does not need."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from fastvoicegrad import Bundle, InputError, graphs
from fastvoicegrad.bundle import DEFAULT
from fastvoicegrad.graphs import (
    OUTPUTS,
    check_graph,
    check_outputs,
    computes_in_bytes,
    inputs_of,
    letters,
    session_options,
)

onnx = pytest.importorskip("onnx")


def pitch_graph() -> Any:
    return onnx.load(DEFAULT / "pitch.onnx")


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[Any], Bundle]:
    """A bundle whose pitch network is another graph, with a right checksum."""

    def make(model: Any) -> Bundle:
        folder = tmp_path / "bundle"
        folder.mkdir()
        for name in OUTPUTS:
            if name != "pitch":
                (folder / f"{name}.onnx").symlink_to(DEFAULT / f"{name}.onnx")
        data = model if isinstance(model, bytes) else model.SerializeToString()
        (folder / "pitch.onnx").write_bytes(data)
        config = json.loads((DEFAULT / "config.json").read_text())
        config["networks"]["pitch"]["sha256"] = hashlib.sha256(data).hexdigest()
        (folder / "config.json").write_text(json.dumps(config))
        return Bundle.open(folder)

    return make


@pytest.mark.parametrize("name", sorted(OUTPUTS))
def test_the_graphs_of_the_default_bundle_are_allowed(name: str) -> None:
    check_graph((DEFAULT / f"{name}.onnx").read_bytes())
    assert Bundle.open().session(name)


def test_the_exported_graphs_are_allowed(folder: Path) -> None:
    bundle = Bundle.open(folder)
    for name in bundle.config.networks:
        assert bundle.session(name)


def outside(tensor: Any, location: str) -> None:
    """The tensor's data lie in another file."""
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location


@pytest.mark.parametrize("location", ["secret.bin", "../secret.bin", "config.json", "/etc/hostname"])
@pytest.mark.parametrize("place", ["initializer", "attribute", "twice"])
def test_a_graph_cannot_read_other_files(opened: Callable[[Any], Bundle], location: str, place: str) -> None:
    model = pitch_graph()
    extra: Any = b""
    if place == "initializer":
        outside(model.graph.initializer[0], location)
    elif place == "attribute":
        tensor = onnx.TensorProto(dims=[1], data_type=1)
        outside(tensor, location)
        model.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["extra"], value=tensor))
    else:  # a second part of the model that protocol buffers merge with the first
        other = onnx.ModelProto()
        other.graph.initializer.add(name="extra", dims=[1], data_type=1)
        outside(other.graph.initializer[0], location)
        extra = other.SerializeToString()
    with pytest.raises(InputError, match=r"pitch.*another file.*copy the bundle again"):
        opened(model.SerializeToString() + extra)


@pytest.mark.parametrize("operator", ["Loop", "If", "Scan", "ConstantOfShape", "Resize", "RandomNormal", "NoSuch", ""])
def test_an_operator_that_networks_do_not_need_is_refused(opened: Callable[[Any], Bundle], operator: str) -> None:
    model = pitch_graph()
    model.graph.node[3].op_type = operator
    with pytest.raises(InputError, match="operator that is not allowed"):
        opened(model)


def test_an_operator_of_another_domain_is_refused(opened: Callable[[Any], Bundle]) -> None:
    model = pitch_graph()
    model.graph.node[3].domain = "com.microsoft"
    with pytest.raises(InputError, match=r"another domain|unknown"):
        opened(model)


def test_a_graph_within_a_graph_is_refused(opened: Callable[[Any], Bundle]) -> None:
    model = pitch_graph()
    model.graph.node[3].attribute.append(onnx.helper.make_attribute("body", onnx.GraphProto(name="inner")))
    with pytest.raises(InputError, match="within a graph"):
        opened(model)


def test_a_function_is_refused(opened: Callable[[Any], Bundle]) -> None:
    model = pitch_graph()
    model.functions.add(name="f", domain="x")
    with pytest.raises(InputError, match="within a graph"):
        opened(model)


@pytest.mark.parametrize("data", [b"\xff", b"\x3a\xff\x01", b"\x3a\x05abc", b"\x0b\x0c", b"\x00" * 9, b"\xff" * 20])
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with pytest.raises(InputError, match="damaged"):
        check_graph(data)


def test_the_other_format_of_the_runtime_is_refused() -> None:
    with pytest.raises(InputError, match="not ONNX"):
        check_graph(b"\x08\x00\x00\x00ORTM" + bytes(100))


def _renamed_output(model: Any) -> None:
    model.graph.output[0].name = model.graph.node[-1].output[0] = "x"


def _cycle(model: Any) -> None:
    model.graph.node[3].input[0] = model.graph.node[3].output[0]


def _no_graph(model: Any) -> None:
    model.ClearField("graph")


@pytest.mark.parametrize("change", [_renamed_output, _cycle, _no_graph])
def test_a_graph_that_cannot_be_used_ends_in_one_line(opened: Callable[[Any], Bundle], change: Any) -> None:
    model = pitch_graph()
    change(model)
    with pytest.raises(InputError, match=r"^the network 'pitch' cannot be used \([ -~]+\); copy the bundle again$"):
        opened(model).pitch(np.zeros((80, 32), np.float32))


def test_another_network_in_the_place_of_one_is_refused(opened: Callable[[Any], Bundle]) -> None:
    with pytest.raises(InputError, match="outputs are not pitch"):
        opened((DEFAULT / "speaker.onnx").read_bytes()).session("pitch")


def test_values_that_are_not_finite_are_refused(opened: Callable[[Any], Bundle]) -> None:
    model = pitch_graph()
    for tensor in model.graph.initializer:
        if tensor.data_type in (1, 10):
            tensor.raw_data = b"\xff" * len(tensor.raw_data)
    with pytest.raises(InputError, match="pitch"):
        opened(model).pitch(np.random.default_rng(0).normal(-5, 2, (80, 32)).astype(np.float32))
    with pytest.raises(InputError, match="not finite"):
        check_outputs([np.full((1, 4), np.nan, np.float32)], OUTPUTS["pitch"], {"T": 4})


def test_outputs_of_another_shape_or_type_are_refused() -> None:
    good = np.zeros((1, 4), np.float32)
    check_outputs([good], OUTPUTS["pitch"], {"T": 4})
    for wrong in (good[0], np.zeros((1, 5), np.float32), np.zeros((2, 4), np.float32), good.astype(np.float64), [good]):
        with pytest.raises(InputError):
            check_outputs([wrong], OUTPUTS["pitch"], {"T": 4})


def test_a_letter_is_the_same_number_everywhere() -> None:
    shapes = inputs_of("converter", retrieval=False, harmonics=True)
    assert set(shapes) == {"x", "step", "alpha_bar", "speaker", "content", "pitch"}
    arrays = {"x": np.zeros((1, 80, 8)), "content": np.zeros((1, 144, 8)), "pitch": np.zeros((1, 8))}
    assert letters(arrays, shapes) == {"T": 8, "C": 144}
    with pytest.raises(InputError, match=r"'pitch' has the shape 1 x 7"):
        letters(arrays | {"pitch": np.zeros((1, 7))}, shapes)


def test_too_many_operators_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastvoicegrad.graphs.MOST_NODES", 5)
    with pytest.raises(InputError, match="too many"):
        check_graph((DEFAULT / "pitch.onnx").read_bytes())


@pytest.mark.parametrize("name", ["content", "vocoder", "converter"])
def test_bytes_are_added_without_overflow(name: str) -> None:
    """What this CPU gives equals what the slower instructions give, which are exact on every CPU."""
    graph, random = (DEFAULT / f"{name}.onnx").read_bytes(), np.random.default_rng(0)
    assert computes_in_bytes(graph)
    exact = session_options(1, graph)
    exact.add_session_config_entry("session.x64quantprecision", "1")
    chosen, slower = (onnxruntime.InferenceSession(graph, options) for options in (session_options(1, graph), exact))
    inputs: dict[str, np.ndarray] = {}
    for value in chosen.get_inputs():
        shape = [size if isinstance(size, int) else 64 for size in value.shape]
        inputs[value.name] = random.standard_normal(shape).astype(np.float32)
    if name == "converter":
        inputs |= {"step": np.array([950]), "alpha_bar": np.array([0.01], np.float32)}
        inputs["pitch"], inputs["adapter"] = 100 + 20 * inputs["pitch"], 0 * inputs["adapter"]
    for ours, theirs in zip(chosen.run(None, inputs), slower.run(None, inputs), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("instructions", "slower"), [(True, "0"), (False, "1")])
def test_cpus_without_the_instructions_take_slower_ones(
    monkeypatch: pytest.MonkeyPatch, instructions: bool, slower: str
) -> None:
    monkeypatch.setattr(graphs, "_has_avx512_vnni", lambda: instructions)
    options = session_options(1, b"")
    assert options.get_session_config_entry("session.x64quantprecision") == slower
