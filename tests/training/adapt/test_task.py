"""The losses of an adaptation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from fastvoicegrad import VoiceConverter
from fastvoicegrad.training.adapt.batches import inside
from fastvoicegrad.training.adapt.recordings import read_voice
from fastvoicegrad.training.adapt.run import prepared
from fastvoicegrad.training.adapt.settings import MOST_USED, Plan
from fastvoicegrad.training.adapt.task import ADAPTER, AdaptTask
from fastvoicegrad.training.task import Batch


@pytest.fixture(scope="module")
def task(bundle: Path, speech_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> AdaptTask:
    converter, out = VoiceConverter.load(bundle, 1), tmp_path_factory.mktemp("task")
    voice = read_voice(converter.bundle, [speech_folder], "anna", lambda sentence: None)
    return prepared(converter, [voice], out).trainer(bundle, out, Plan(1, 1)).task


@pytest.fixture
def batch(task: AdaptTask) -> Batch:
    return task.batch(np.random.default_rng(0), 0)


def test_a_conversion_that_equals_its_source_loses_no_content(task: AdaptTask, batch: Batch) -> None:
    assert float(task._content_loss(batch["source"], batch["source"])) == pytest.approx(0, abs=1e-5)


def test_validation_uses_the_share_of_an_adapter_that_a_voice_may_take(
    task: AdaptTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    strengths, convert = list[float](), task.convert
    monkeypatch.setattr(task, "convert", lambda batch, strength: strengths.append(strength) or convert(batch, strength))
    with torch.no_grad():
        task.validate()
    assert strengths == [MOST_USED] * len(task.sources)


def test_an_adapter_at_no_strength_changes_nothing(task: AdaptTask, batch: Batch) -> None:
    adapter = task.modules[ADAPTER]
    with torch.no_grad():
        plain = task.convert(batch)
        adapter.values.add_(torch.randn(adapter.values.shape, generator=torch.Generator().manual_seed(0)))
        assert torch.allclose(task.convert(batch, 0.0), plain, atol=1e-5)
        half, whole = task.convert(batch, 0.5), task.convert(batch)
    assert not torch.allclose(half, plain, atol=1e-2)
    assert not torch.allclose(half, whole, atol=1e-2)


def test_the_source_of_a_conversion_is_its_window_without_perturbation(task: AdaptTask, batch: Batch) -> None:
    window = inside(batch["window"])[len(batch["mel"]) :]
    assert batch["source"].shape == window.shape
    assert not np.allclose(batch["source"], window)  # the window is perturbed
    recordings = [source.clip.mel for source in task.batches.sources]
    for crop in batch["source"].numpy():
        places = [np.lib.stride_tricks.sliding_window_view(mel, crop.shape[1], axis=1) for mel in recordings]
        assert any((crops == crop[:, None]).all((0, 2)).any() for crops in places)
