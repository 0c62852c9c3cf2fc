"""Batches of the pitch tracker, and a short training on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fastvoicegrad.training.tasks.pitch import PitchTask  # noqa: E402
from tests.training.tasks.tiny_runs import trainer  # noqa: E402


def task(store: Path, out: Path, *settings: str) -> PitchTask:
    made = trainer(store, out, "pitch", *settings).task
    assert isinstance(made, PitchTask)
    return made


def test_the_pitch_changes_with_the_voice(store: Path, tmp_path: Path) -> None:
    """The store's voices all have 120 Hz. An augmented one has another pitch, the same in every frame."""
    for share, changed in ((0.0, False), (1.0, True)):
        batch = task(store, tmp_path, f"augmented_voices={share}").batch(np.random.default_rng(0), 6)
        pitch = batch["pitch"]
        torch.testing.assert_close(pitch, pitch[:, :1].expand_as(pitch))
        assert ((pitch[:, 0] - 120).abs() > 0.5).all() == changed
        assert pitch.min() >= 120 / 1.5
        assert pitch.max() <= 120 * 1.5


def test_it_learns_a_pitch(store: Path, tmp_path: Path) -> None:
    run = trainer(
        store, tmp_path, "pitch", "loop.learning_rate=0.01", "augmented_voices=0", "loop.warmup=0", name="learns"
    )
    first = run.train_step()
    for _ in range(25):
        last = run.train_step()
    assert last["pitch"] < first["pitch"] - 0.3
