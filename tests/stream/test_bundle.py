"""Stream bundles: the networks' arithmetic in ONNX, and what is refused."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fastvoicegrad import Bundle, InputError  # noqa: E402
from fastvoicegrad.bundle import DEFAULT  # noqa: E402
from fastvoicegrad.stream.bundle import StreamBundle  # noqa: E402
from tests.tiny_stream import StreamNetworks  # noqa: E402


@pytest.mark.parametrize("split", [[1] * 12, [12], [5, 1, 6]])
def test_graphs_compute_what_the_networks_compute(
    stream_folder: Path, stream_networks: StreamNetworks, split: list[int]
) -> None:
    bundle = StreamBundle.open(stream_folder)
    content, pitch, converter, renderer = stream_networks
    random = np.random.default_rng(0)
    mel = (random.standard_normal((1, 12, 80)) - 5).astype(np.float32)
    speaker, keys, reference = (
        random.standard_normal(shape).astype(np.float32) for shape in ((1, 192), (1, 144, 31), (1, 80, 31))
    )
    film, memory = bundle.run("voice", speaker=speaker, keys=keys, reference=reference)
    with torch.inference_mode():
        voice = converter.voice(*(torch.from_numpy(x) for x in (speaker, keys, reference)))
        encoded, tracked = content(torch.from_numpy(mel))[0], pitch.track(torch.from_numpy(mel))[0]
        converted = converter(encoded, tracked, *voice)[0]
        filters = renderer(converted, tracked)[0]
    states = {name: bundle.empty(name) for name in ("content", "pitch", "converter", "renderer")}

    def step(name: str, **inputs: np.ndarray) -> list[np.ndarray]:
        *outputs, windows = bundle.run(name, **inputs, state=states[name])
        states[name] = windows[:, outputs[0].shape[1] :]
        return outputs

    expected = [x.numpy() for x in (encoded, tracked, converted, *filters)]
    outputs: list[list[np.ndarray]] = [[] for _ in expected]
    edges = np.cumsum([0, *split])
    for a, b in itertools.pairwise(edges):
        (c,) = step("content", mel=mel[:, a:b])
        (p,) = step("pitch", mel=mel[:, a:b])
        (m,) = step("converter", content=c, pitch=p, film=film, memory=memory)
        f = step("renderer", mel=m, pitch=p)
        for kept, part in zip(outputs, (c, p, m, *f), strict=True):
            kept.append(part)
    for parts, whole in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(np.concatenate(parts, 1), whole, atol=2e-3, rtol=1e-3)


def test_the_settings_are_in_the_bundle(stream_folder: Path, converter: Any) -> None:
    config = StreamBundle.open(stream_folder).config
    assert (config.kind, config.lookahead, config.window) == ("stream", 2, 768)
    assert config.encoder == converter.bundle.fingerprint
    assert config.latency == 3 * 256 + 256 - 1
    assert config.networks["content"].state == (1, 6, 2 * 16)


def test_the_networks_convert_any_number_of_streams(stream_folder: Path) -> None:
    config = StreamBundle.open(stream_folder).config
    inputs, outputs = config.shapes("converter")
    assert inputs["state"] == ("B", 6, 32)
    assert inputs["film"] == ("B", 1, 64)
    assert outputs["windows"] == ("B", "P", 32)


def test_a_full_bundle_cannot_stream() -> None:
    with pytest.raises(InputError, match="this bundle cannot stream"):
        StreamBundle.open(DEFAULT)


def test_a_stream_bundle_converts_no_files(stream_folder: Path) -> None:
    with pytest.raises(InputError, match="live"):
        Bundle.open(stream_folder)


def _set(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda config: config.update({name: value})


def _set_state(state: Any, network: str = "content") -> Callable[[dict[str, Any]], None]:
    return lambda config: config["networks"][network].update({"state": state})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("format", 99), "of format 2; run"),
        (_set("format", 1), "of format 2; export it again"),
        (_set("format", True), "of format 2"),
        (_set("kind", "file"), "cannot stream"),
        (_set("lookahead", -1), "lookahead"),
        (_set("lookahead", 1000), "lookahead"),
        (_set("sharpening", 5.0), "sharpening"),
        (_set("window", 640), "front-end"),
        (_set("encoder", "../../etc"), "encoder"),
        (_set("networks", {}), "must name the networks"),
        (_set_state([0, 0, 0]), "'content' is out of range"),
        (_set_state([1, 4096, 4096]), "'content' is out of range"),
        (_set_state([1, 1, 1], "voice"), "'voice' is out of range"),
        (lambda config: config["networks"]["pitch"].update(file="../pitch.onnx"), "file"),
        (lambda config: config["networks"]["pitch"].update(sha256="0" * 64), "damaged"),
    ],
)
def test_a_hostile_config_is_refused(
    stream_folder: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    copy = Path(shutil.copytree(stream_folder, tmp_path / "bundle"))
    config = json.loads((copy / "config.json").read_text())
    change(config)
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=message):
        StreamBundle.open(copy)


def test_a_state_of_another_size_is_refused(stream_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(stream_folder, tmp_path / "bundle"))
    config = json.loads((copy / "config.json").read_text())
    config["networks"]["content"]["state"] = [1, 6, 8]
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="'content' cannot be used"):
        StreamBundle.open(copy).warm_up()


def test_missing_and_damaged_files_are_named(stream_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(stream_folder, tmp_path / "bundle"))
    data = (copy / "renderer.onnx").read_bytes()
    (copy / "renderer.onnx").write_bytes(data[:-7])
    with pytest.raises(InputError, match=r"renderer.onnx \(renderer\) is damaged"):
        StreamBundle.open(copy)
    (copy / "renderer.onnx").unlink()
    with pytest.raises(InputError, match="renderer.onnx is missing"):
        StreamBundle.open(copy)


def test_a_voice_of_another_bundle_is_refused(stream_folder: Path, voices: list[Any]) -> None:
    with pytest.raises(InputError, match="another bundle"):
        StreamBundle.open(stream_folder).voice(replace(voices[0], encoder="0" * 16))
