from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from fastvoicegrad.bundle import Bundle  # noqa: E402
from fastvoicegrad.diffusion import laplace_schedule  # noqa: E402
from fastvoicegrad.errors import InputError  # noqa: E402
from fastvoicegrad.graphs import session_options  # noqa: E402
from fastvoicegrad.stream.bundle import DEFAULT as STREAM  # noqa: E402
from fastvoicegrad.training.checkpoint import read_meta  # noqa: E402
from fastvoicegrad.training.export import with_converter  # noqa: E402
from fastvoicegrad.training.models.content import ContentConfig, ContentModel  # noqa: E402
from fastvoicegrad.training.networks import (  # noqa: E402
    load_content,
    load_pitch,
    load_speaker,
    load_unet,
    load_vocoder,
)
from fastvoicegrad.training.onnx_graphs import content_graph  # noqa: E402
from fastvoicegrad.training.recipe import build  # noqa: E402
from fastvoicegrad.training.restore import fill, restore  # noqa: E402
from fastvoicegrad.training.schedule import ScheduleConfig  # noqa: E402
from fastvoicegrad.training.storage import Storage, full_weights, with_storage  # noqa: E402
from tests.tiny import Networks  # noqa: E402
from tests.training.tasks.tiny_runs import lend, trainer  # noqa: E402


@torch.inference_mode()
def test_a_bundle_restores_its_networks(networks: Networks, folder: Path, tmp_path: Path) -> None:
    content, tracker, speaker, unet, vocoder = networks
    assert {p.name for p in restore(folder, tmp_path)} == {
        f"{name}.safetensors" for name in ("content", "pitch", "speaker", "student", "vocoder")
    }
    mel = torch.randn(1, 80, 64) * 2 - 5
    restored = load_content(tmp_path / "content.safetensors")
    close = {"atol": 1e-4, "rtol": 1e-4}
    torch.testing.assert_close(restored.encoder(mel), content(mel), **close)
    torch.testing.assert_close(load_pitch(tmp_path / "pitch.safetensors").track(mel), tracker.track(mel), **close)
    torch.testing.assert_close(load_speaker(tmp_path / "speaker.safetensors")(mel), speaker(mel), **close)
    spectral = load_vocoder(tmp_path / "vocoder.safetensors")
    for filters, expected in zip(spectral.filters(mel), vocoder.filters(mel), strict=True):
        torch.testing.assert_close(filters, expected, **close)
    x, step, voice = torch.randn(1, 80, 64), torch.tensor([800]), torch.randn(1, 192)
    p, keys, reference = torch.randn(1, 144, 64), torch.randn(1, 144, 50), torch.randn(1, 80, 50)
    student = load_unet(tmp_path / "student.safetensors").eval()
    conditions = unet.conditions(p, keys, reference, torch.full((1, 64), 150.0))
    expected = unet(x, step, voice, p, conditions)
    torch.testing.assert_close(student(x, step, voice, p, conditions), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["half", "byte"])
def test_attention_is_restored_from_its_graph(storage: Storage) -> None:
    config = ContentConfig(width=16, layers=2, heads=2, dim=8)
    model, restored = ContentModel(config).eval(), ContentModel(config).eval()
    for block in model.encoder.blocks:
        torch.nn.init.normal_(block.attention.level)
    graph = with_storage(content_graph(model.encoder).data, storage)
    assert fill(restored, full_weights(onnx.load_from_string(graph)).graph, {"": "encoder."}) == ([], [])
    mel = torch.randn(1, 80, 150)
    with torch.inference_mode():
        expected, given = restored.encoder(mel), model.encoder(mel)
    assert (expected - given).std() < 0.05 * given.std()
    for block, of in zip(restored.encoder.blocks, model.encoder.blocks, strict=True):
        torch.testing.assert_close(block.attention.level, of.attention.level, atol=0, rtol=1e-3)
    (content,) = onnxruntime.InferenceSession(graph, session_options(1, graph)).run(None, {"mel": mel.numpy()})
    torch.testing.assert_close(torch.from_numpy(content), expected, atol=1e-4, rtol=1e-4)


def changed(folder: Path, copy: Path, network: str, change: Callable[[onnx.ModelProto], None]) -> Path:
    """A copy of a bundle with another graph."""
    shutil.copytree(folder, copy)
    path = copy / f"{network}.onnx"
    graph = onnx.load(path)
    change(graph)
    onnx.save(graph, path)
    config = json.loads((copy / "config.json").read_text())
    config["networks"][network]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (copy / "config.json").write_text(json.dumps(config))
    return copy


def test_a_graph_without_settings_is_refused(folder: Path, tmp_path: Path) -> None:
    old = changed(folder, tmp_path / "old", "content", lambda graph: graph.ClearField("metadata_props"))
    assert Bundle.open(old)
    with pytest.raises(InputError, match="export the bundle again"):
        restore(old, tmp_path / "out")


@pytest.mark.parametrize("network", ["content", "pitch", "speaker", "converter", "vocoder"])
@pytest.mark.parametrize(("old", "new", "verb"), [(".bias", ".lost", "lacks"), (".bias", ".lost.bias", "has")])
def test_other_weights_are_refused(folder: Path, tmp_path: Path, network: str, old: str, new: str, verb: str) -> None:
    def rename(graph: onnx.ModelProto) -> None:
        tensor = next(tensor for tensor in graph.graph.initializer if tensor.name.endswith(old))
        tensor.name = tensor.name.removesuffix(old) + new

    other = changed(folder, tmp_path / "other", network, rename)
    with pytest.raises(InputError, match=f"'{network}' of this bundle {verb} '.*'; restore it with the version"):
        restore(other, tmp_path / "out")


def test_the_default_bundle_can_be_restored(tmp_path: Path) -> None:
    assert len(restore(None, tmp_path)) == 5
    assert load_content(tmp_path / "content.safetensors").config.dim == 144


@pytest.mark.slow
def test_a_schedule_passes_through_a_bundle(folder: Path, runs: Path, store: Path, tmp_path: Path) -> None:
    lend(runs, tmp_path)
    settings = ("schedule.kind=laplace", "schedule.start=997", "loop.steps=1")
    teacher = trainer(store, tmp_path, "teacher", *settings, name="laplace")
    teacher.run()
    run = trainer(store, tmp_path, "student", *settings, f"teacher={teacher.last}")
    run.run()
    with_converter(tmp_path / "bundle", Bundle.open(folder), run.last, teacher=False, name="laplace")
    opened = Bundle.open(tmp_path / "bundle")
    assert opened.config.start == 997
    np.testing.assert_array_equal(opened.alpha_bar, laplace_schedule(1000, scale=1.0))
    np.testing.assert_allclose(opened.alpha_bar, run.task.alpha_bar, rtol=1e-6)
    restore(tmp_path / "bundle", tmp_path / "restored")
    schedule = build(ScheduleConfig, read_meta(tmp_path / "restored" / "student.safetensors")["recipe"]["schedule"])
    assert schedule == ScheduleConfig(kind="laplace", start=997)


def test_a_bundle_for_streams_names_its_own_command(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"is a bundle for streams; restore it with 'fastvoicegrad dev restore-stream'"
    ):
        restore(STREAM, tmp_path / "out")
    (tmp_path / "config.json").write_text('{"kind": "stream"}')
    with pytest.raises(InputError, match="this is a bundle for streams"):  # which cannot be restored either
        restore(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
