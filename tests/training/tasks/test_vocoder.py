"""The vocoder's training on a tiny store (PyTorch)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.training.tasks.tiny_runs import trainer  # noqa: E402


def test_phases_are_compared_where_pulses_are_aligned(store: Path, tmp_path: Path) -> None:
    settings = ("align=true", "minimum_phase=true", "weights.phase=1", "loop.steps=2")
    run = trainer(store, tmp_path, "vocoder", *settings)
    before = run.task.modules["vocoder"].head.weight.detach().clone()
    scores = run.run()
    assert all(value == value for value in scores.values())
    batch = run.task.on_device(run.task.batch(np.random.default_rng(0), 2))
    run.task.forward(batch)  # type: ignore[attr-defined]
    assert 0 < run.task.losses(batch)["phase"] < 2
    assert (run.task.modules["vocoder"].head.weight != before).any()


def test_a_run_goes_on_with_the_phases_that_it_has_learnt(store: Path, tmp_path: Path) -> None:
    settings = ("align=true", "minimum_phase=true", "weights.phase=1")
    first = trainer(store, tmp_path, "vocoder", *settings, "loop.steps=2")
    first.run()
    learnt = first.task.modules["vocoder"].head.weight
    again = trainer(store, tmp_path, "vocoder", *settings, "loop.steps=3").task.modules["vocoder"]
    torch.testing.assert_close(again.head.weight, learnt)
