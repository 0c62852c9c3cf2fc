from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fastvoicegrad import InputError  # noqa: E402
from fastvoicegrad.training.tasks.speaker import SpeakerTask  # noqa: E402
from tests.training.tasks.stand_ins import Verifier  # noqa: E402
from tests.training.tasks.tiny_runs import trainer  # noqa: E402


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastvoicegrad.training.tasks.speaker.MelSpeakerTeacher", Verifier)


def task(store: Path, out: Path, *settings: str) -> SpeakerTask:
    made = trainer(store, out, "speaker", *settings).task
    assert isinstance(made, SpeakerTask)
    return made


def test_augmented_voices_need_a_teacher(store: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="teacher"):
        task(store, tmp_path, "augmented_voices=0.5")


def test_views_are_parts_of_their_window_with_its_target(store: Path, tmp_path: Path) -> None:
    whole = task(store, tmp_path / "whole", "augmented_voices=0.5", "teacher=verifier.pt")
    parts = task(store, tmp_path / "parts", "teacher=verifier.pt", "views=3")
    batch, cut = (t.batch(np.random.default_rng(0), 4) for t in (whole, parts))
    windows, frames = len(cut["window"]), cut["window"].shape[2]
    assert batch["window"].shape == cut["window"].shape
    assert batch["mel"].shape == (windows, 1, 80, frames)
    assert cut["mel"].shape[:3] == (windows, 3, 80)
    assert frames / 2 <= cut["mel"].shape[3] <= frames
    for trained, drawn in ((whole, batch), (parts, cut)):
        target = trained.frozen["teacher"](drawn["window"]).repeat_interleave(drawn["mel"].shape[1], 0)
        trained.modules["speaker"] = lambda mel, target=target: target  # type: ignore[assignment]
        assert trained.losses(drawn)["cosine"] == pytest.approx(0, abs=1e-5)


def test_repeated_windows_keep_their_targets(store: Path, tmp_path: Path) -> None:
    trained = task(store, tmp_path, "augmented_voices=0.5", "teacher=verifier.pt", "views=2", "repeat_after=2")
    teacher, calls = trained.frozen["teacher"], []
    teacher.register_forward_pre_hook(lambda _, windows: calls.append(len(windows[0])))
    batches = []
    for trained.step in range(4):
        batches.append(trained.batch(np.random.default_rng(trained.step), 4))
        trained.losses(batches[-1])
    assert len(calls) == 2  # in the first two steps alone
    for first, second in zip(batches[:2], batches[2:], strict=True):
        assert torch.equal(first["window"], second["window"])
        assert first["mel"].shape != second["mel"].shape or not torch.equal(first["mel"], second["mel"])
        torch.testing.assert_close(trained._teacher_embeddings(second["window"]), teacher(second["window"]))
    assert not torch.equal(batches[0]["window"], batches[1]["window"])
