"""Damaged bundles: settings, graphs with right checksums, archives, and paths that lead to no file."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from fastvoicegrad import Bundle, Voice

from .archives import hostile
from .damage import damaged, damaged_tree, pick
from .workspace import Action, Case

NETWORKS = ("content", "speaker", "pitch", "converter", "vocoder")


def folder_of(case: Case, changed: dict[str, bytes]) -> Path:
    """A copy of the bundle, by links where nothing changed."""
    folder = case.folder / "bundle"
    folder.mkdir()
    case.expected.add("bundle")
    for name in case.good.files:
        if name in changed:
            (folder / name).write_bytes(changed[name])
        else:
            (folder / name).symlink_to(case.good.folder / name)
    return folder


def settings(case: Case) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(case.good.files["config.json"])
    return loaded


def config(case: Case) -> Action:
    random = case.random
    if random.random() < 0.2:
        data = damaged(case.good.files["config.json"], random)
    elif random.random() < 0.05:
        data = pick(random, [b"[" * 100_000, b'{"a":' * 50_000, bytes(2 << 20), b'{"format": 1e999}', b'{"format": 5}'])
    else:
        tree = settings(case)
        for _ in range(int(random.integers(1, 3))):
            tree = damaged_tree(tree, random)
        data = json.dumps(tree).encode()
    folder = folder_of(case, {"config.json": data})
    return lambda: case.good.use(case.good.opened(folder))()


# -- graphs -------------------------------------------------------------------------------------------------


def _integers(model: Any, random: np.random.Generator) -> None:
    """A whole number becomes an extreme one: an attribute, or a constant such as a shape."""
    from onnx import numpy_helper

    value = int(pick(random, [0, -1, 1, 2, 7, 2**16, 2**31 - 1, 2**40, 2**63 - 1, -(2**63)]))
    attributes = [a for node in model.graph.node for a in node.attribute if a.ints or a.type == 2]
    constants = [t for t in model.graph.initializer if t.data_type == 7]
    chosen = pick(random, [*attributes, *constants])
    if chosen in constants:
        array = numpy_helper.to_array(chosen).copy()
        array.reshape(-1)[int(random.integers(array.size)) if array.size else slice(0)] = value
        chosen.CopyFrom(numpy_helper.from_array(array, chosen.name))
    elif chosen.ints:
        chosen.ints[int(random.integers(len(chosen.ints)))] = value
    else:
        chosen.i = value


def _weights(model: Any, random: np.random.Generator) -> None:
    """Weights of one tensor become infinite, huge or zero, or the tensor gets other dimensions."""
    tensor = pick(random, model.graph.initializer)
    if random.random() < 0.4 and tensor.dims:
        tensor.dims[int(random.integers(len(tensor.dims)))] = int(pick(random, [0, 1, -1, 2**31, 2**62, 3]))
    else:
        tensor.raw_data = pick(random, [b"\xff", b"\x7b", b"\x00", b"\x7c"]) * len(tensor.raw_data)


def _operators(model: Any, random: np.random.Generator) -> None:
    """One operator becomes another one, or belongs to another domain."""
    node = pick(random, model.graph.node)
    names = [
        "Loop",
        "If",
        "Scan",
        "ConstantOfShape",
        "Range",
        "Tile",
        "Resize",
        "Identity",
        "Exp",
        "Expand",
        "NoSuch",
        "",
    ]
    node.op_type = pick(random, names)
    if random.random() < 0.2:
        node.domain = pick(random, ["com.microsoft", "ai.onnx.ml", "x"])


def _external(model: Any, random: np.random.Generator) -> None:
    """A tensor's data lie in another file."""
    tensor = pick(random, model.graph.initializer)
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", pick(random, ["/etc/passwd", "../secret.bin", "config.json", "/dev/zero"])


def _names(model: Any, random: np.random.Generator) -> None:
    """An input, output or connection has another name or shape."""
    graph = model.graph
    value = pick(random, [*graph.input, *graph.output])
    if random.random() < 0.5:
        value.name = pick(random, ["mel", "x", "", "content", "pitch", "a" * 5000])
    else:
        dims = value.type.tensor_type.shape.dim
        dims[int(random.integers(len(dims)))].dim_value = int(pick(random, [0, 1, 2, 81, 2**40, -1]))


def _wiring(model: Any, random: np.random.Generator) -> None:
    """A node is left out, there twice, reads another tensor, or reads its own output."""
    nodes = model.graph.node
    place = int(random.integers(len(nodes)))
    kind = random.random()
    if kind < 0.3:
        del nodes[place]
    elif kind < 0.4:
        nodes.add().CopyFrom(nodes[place])
    elif nodes[place].input:
        others = [name for node in nodes for name in node.output]
        nodes[place].input[0] = nodes[place].output[0] if kind < 0.5 else pick(random, others)


STRUCTURED = (_integers, _integers, _weights, _operators, _external, _names, _wiring)


def graph(case: Case) -> Action:
    random, tree, name = case.random, settings(case), pick(case.random, NETWORKS)
    data = case.good.files[f"{name}.onnx"]
    try:
        import onnx
    except ImportError:
        onnx = None
    kind = random.random()
    if kind < 0.1:
        data = case.good.files[f"{pick(random, NETWORKS)}.onnx"]
    elif kind < 0.45 or onnx is None:
        data = damaged(data, random)
    else:
        model = onnx.load_from_string(data)
        for _ in range(int(random.integers(1, 3))):
            pick(random, STRUCTURED)(model, random)
        data = model.SerializeToString()
    tree["networks"][name]["sha256"] = hashlib.sha256(data).hexdigest()
    changed = {"config.json": json.dumps(tree).encode(), f"{name}.onnx": data}
    folder = folder_of(case, changed)
    return lambda: case.good.use(case.good.opened(folder, name))()


def archive(case: Case) -> Action:
    path = case.write("bundle.zip", hostile(case.good.files, case.random))
    return lambda: case.good.use(case.good.opened(path))()


# -- paths --------------------------------------------------------------------------------------------------


def odd_path(case: Case) -> Path:
    """A path to no regular file."""
    path = case.folder / "odd.voice"
    case.expected.add(path.name)
    kind = int(case.random.integers(8))
    if kind == 0 and hasattr(os, "mkfifo"):
        os.mkfifo(path)
    elif kind == 1:
        path.symlink_to(path)
    elif kind == 2:
        path.symlink_to(pick(case.random, ["/dev/zero", "/dev/null", "/dev/full", "/dev/tty"]))
    elif kind == 3:
        path.mkdir()
    elif kind == 4:
        return case.folder / ("a" * 300)
    elif kind == 5:
        return case.folder / pick(case.random, ["a\x00b", "\udcff.wav", "\x1b[31m.wav", "[bold].wav", ""])
    elif kind == 6:
        return case.folder / "none" / "x.wav"
    return path


def path(case: Case) -> Action:
    place, good = odd_path(case), case.good
    source = case.write("source.wav", good.sounds[0])
    network = pick(case.random, ["config.json", "pitch.onnx"])
    output = case.folder / "output.wav"
    if sys.platform == "win32":
        place = case.folder / "none"

    def in_a_bundle() -> Bundle:
        folder = folder_of(case, {})
        (folder / network).unlink()
        if "\x00" not in str(place):  # no link can lead there
            (folder / network).symlink_to(place)
        return Bundle.open(folder)

    def to_an_output() -> None:
        written = place.with_suffix(".wav") if case.random.random() < 0.5 and place.suffix else place
        good.converter.convert_file(source, written, good.voice)
        case.expected.add(written.name)

    def from_a_source() -> None:
        case.expected.add(output.name)
        good.converter.convert_file(place, output, good.voice)

    def to_a_voice() -> None:
        good.voice.save(place)
        case.expected.add(place.name)

    calls: list[Action] = [
        lambda: Bundle.open(place),
        in_a_bundle,
        lambda: Voice.load(place),
        to_a_voice,
        lambda: good.converter.voice([place]),
        to_an_output,
        from_a_source,
    ]
    call = pick(case.random, calls)

    def action() -> list[np.ndarray]:
        call()
        return []

    return action
