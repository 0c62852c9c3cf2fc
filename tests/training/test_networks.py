"""Checkpoints of another part, size or version end in one line that names the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from fastvoicegrad import InputError  # noqa: E402
from fastvoicegrad.training import networks, stream_networks  # noqa: E402
from fastvoicegrad.training.legacy import with_thresholds  # noqa: E402
from tests.training import checkpoints  # noqa: E402

LOADERS: dict[str, Callable[[Path], Any]] = {
    "content": networks.load_content,
    "speaker": networks.load_speaker,
    "pitch": networks.load_pitch,
    "vocoder": networks.load_vocoder,
    "student": networks.load_unet,
    "diffvc": networks.load_diffvc,
    "stream-content": stream_networks.load_stream_content,
    "stream-pitch": stream_networks.load_stream_pitch,
    "stream-converter": stream_networks.load_stream_converter,
    "stream-renderer": stream_networks.load_stream_renderer,
}
FITTING = {("student", "teacher")}  # both are U-Nets


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {task: checkpoints.saved(folder, task, model) for task, model in checkpoints.networks().items()}


def changed(path: Path, out: Path, **settings: Any) -> Path:
    """A checkpoint whose network has other settings than its weights."""
    with safe_open(path, "pt") as file:
        meta = json.loads(file.metadata()["meta"])
    save_file(load_file(path), out, {"meta": json.dumps(meta | {"model": meta["model"] | settings})})
    return out


@pytest.mark.parametrize("part", LOADERS)
def test_a_checkpoint_of_another_part_is_named(made: dict[str, Path], part: str) -> None:
    for task, path in made.items():
        if task == part or (part, task) in FITTING:
            assert LOADERS[part](path) is not None
            continue
        with pytest.raises(InputError, match=path.name) as refused:
            LOADERS[part](path)
        assert "recipe" not in str(refused.value)


def test_content_of_another_kind_is_no_content(tmp_path: Path) -> None:
    """A run that trained a content encoder too may be one of the other kind."""
    made = checkpoints.networks()
    student = checkpoints.saved(tmp_path, "student", made["student"], content=made["content"])
    stream = checkpoints.saved(tmp_path, "stream-converter", made["stream-converter"], content=made["stream-content"])
    assert networks.load_content(student) is not None
    assert stream_networks.load_stream_content(stream) is not None
    for load, path in ((networks.load_content, stream), (stream_networks.load_stream_content, student)):
        with pytest.raises(InputError, match=rf"{path.name} holds no content encoder"):
            load(path)


@pytest.mark.parametrize("part", [part for part in LOADERS if part != "diffvc"])
def test_weights_of_other_sizes_are_named(made: dict[str, Path], tmp_path: Path, part: str) -> None:
    other = {"channels": [16, 16, 16]} if part == "student" else {"width": 32}
    with pytest.raises(InputError, match=r"other\.safetensors does not hold this"):
        LOADERS[part](changed(made[part], tmp_path / "other.safetensors", **other))


@pytest.mark.parametrize("part", [part for part in LOADERS if part != "diffvc"])
def test_settings_of_another_version_are_no_fault_of_a_recipe(made: dict[str, Path], tmp_path: Path, part: str) -> None:
    path = changed(made[part], tmp_path / "newer.safetensors", invented=3)
    with pytest.raises(InputError, match=r"^\S*newer\.safetensors holds a network of another version .*invented"):
        LOADERS[part](path)


def test_an_old_speaker_checkpoint_is_loaded(tmp_path: Path) -> None:
    """In 0.16.0 the normalisations between its layers were layers of their own."""
    path = checkpoints.saved(tmp_path, "speaker", checkpoints.speaker())
    weights = {name.removeprefix("speaker."): values for name, values in load_file(path).items()}
    for name in [name for name in weights if name.endswith("before.level")]:
        layer = name.removesuffix("before.level")
        inner, inputs, _ = weights[f"{layer}reduce.weight"].shape
        del weights[name], weights[f"{layer}reduce.bias"]
        for part, size in (("before", inputs), ("between", inner)):
            weights[f"{layer}{part}.weight"] = torch.rand(size, 1) + 0.5
            weights[f"{layer}{part}.bias"] = torch.randn(size, 1)
    with safe_open(path, "pt") as file:
        meta = file.metadata()
    # Another file: with older versions of safetensors the loaded tensors are views of the first one.
    old = tmp_path / "old.safetensors"
    save_file({f"speaker.{name}": values for name, values in weights.items()}, old, meta)
    loaded, expected = networks.load_speaker(old).state_dict(), with_thresholds(weights)
    assert loaded.keys() == expected.keys()
    for name, values in expected.items():
        torch.testing.assert_close(loaded[name], values)
