"""Checkpoints, graphs and stores with the names of older versions."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from onnx import helper  # noqa: E402

from fastvoicegrad.training import checkpoint, legacy  # noqa: E402
from fastvoicegrad.training.data.store import Store  # noqa: E402
from fastvoicegrad.training.models.unet import UNet, UNetConfig  # noqa: E402
from fastvoicegrad.training.networks import load_unet  # noqa: E402
from fastvoicegrad.training.recipe import build  # noqa: E402
from fastvoicegrad.training.restore import restore  # noqa: E402
from fastvoicegrad.training.tasks.student_recipe import StudentRecipe  # noqa: E402

OLD_RECIPE = {
    "data": {"store": "store", "twins": 0.7, "new_voices": 0.0, "new_voice": {"formant": 1.1}, "speaker": "s.pt"},
    "loop": {"steps": 1, "batch_size": 2},
    "teacher": "t.pt",
    "vocoder": "v.pt",
    "schedule": {"start": 900},
    "source_voices": {"formant": 1.3, "cepstra": 22},
    "adversary": {"sees": "mel", "steps": [1, 1000]},
    "weights": {"adv": 1.0, "voice": 2.0, "words": 3.0, "recognised": 4.0},
    "recognised_apart": [0.1],
    "converted": 3,
    "guidance": {"nobody": 1.0},
    "own_guidance": 0.6,
    "own_guidance_cosines": 30,
    "content_learns": False,
    "draft_tolerance": 0.0,
    "recogniser": "w.pt",
    "content": "c.pt",
}


def old_settings(config: UNetConfig) -> dict[str, object]:
    settings = checkpoint.plain(config)
    new = {"retrieval": "draft", "retrieval_temperature": "draft_temperature"}
    return {new.get(name, name): value for name, value in settings.items()} | {"draft_tolerance": 0.0}


def test_an_old_checkpoint_is_read_under_todays_names(tmp_path: Path) -> None:
    config = UNetConfig(channels=(8, 8, 8), retrieval=True, retrieval_temperature=0.05)
    model, path = UNet(config), tmp_path / "old.safetensors"
    meta = {"step": 7, "task": "student", "model": old_settings(config), "ema": False, "others": {}}
    checkpoint.save(path, {"student": model}, {}, meta | {"recipe": OLD_RECIPE})
    restored = load_unet(path)
    assert restored.config == config
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), restored.parameters(), strict=True))
    read = checkpoint.read_meta(path)
    assert read["step"] == 7
    assert read["recipe"]["schedule"] == {"start": 900}


def test_an_old_recipe_is_a_recipe_of_today() -> None:
    recipe = build(StudentRecipe, legacy.renamed(OLD_RECIPE, legacy.RECIPE))
    assert (recipe.data.parallel, recipe.speaker, recipe.adversary.input) == (0.7, "s.pt", "mel")
    assert recipe.source_perturbation is not None
    assert recipe.source_perturbation.formant == 1.3
    assert recipe.weights.items() >= {"adv": 1.0, "speaker": 2.0, "consistency": 3.0, "recogniser": 4.0}.items()
    assert (recipe.recogniser_margins, recipe.conversions, recipe.guidance["unconditional"]) == ((0.1,), 3, 1.0)
    assert (recipe.conversion_guidance, recipe.conversion_guidance_cosines) == (0.6, 30)


def test_todays_names_are_left_alone() -> None:
    settings = {"data": {"store": "s", "corpora": {"a.b": 1.0}}, "source_perturbation": {}, "augmented_voices": 0.5}
    assert legacy.renamed(settings, legacy.RECIPE) == settings
    assert legacy.model_settings({"retrieval": True, "width": 3}) == {"retrieval": True, "width": 3}


def test_an_old_bundle_is_restored(folder: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    graph = onnx.load(old / "converter.onnx")
    config = build(UNetConfig, json.loads(graph.metadata_props[0].value))
    helper.set_model_props(graph, {"model": json.dumps(old_settings(config))})
    onnx.save(graph, old / "converter.onnx")
    settings = json.loads((old / "config.json").read_text())
    settings["networks"]["converter"]["sha256"] = hashlib.sha256((old / "converter.onnx").read_bytes()).hexdigest()
    (old / "config.json").write_text(json.dumps(settings))
    restore(old, tmp_path / "out")
    assert load_unet(tmp_path / "out" / "student.safetensors").config == config


def test_an_old_store_is_read_under_todays_names(store: Path, tmp_path: Path) -> None:
    shutil.copy(store / "index.jsonl", tmp_path)
    np.save(tmp_path / "twin.npy", np.arange(3))
    np.save(tmp_path / "content_own.npy", np.ones((2, 2)))
    opened = Store(tmp_path)
    assert opened.has("parallel")
    np.testing.assert_array_equal(opened.array("parallel"), np.arange(3))
    assert opened.array("content_unperturbed").shape == (2, 2)
    assert not opened.has("mel")
