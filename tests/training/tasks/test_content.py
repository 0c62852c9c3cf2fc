from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fastvoicegrad import InputError  # noqa: E402
from fastvoicegrad.training.data.store import Store  # noqa: E402
from fastvoicegrad.training.networks import load_content  # noqa: E402
from tests.training.tasks.tiny_runs import trainer  # noqa: E402


@pytest.mark.parametrize(("part", "prefix"), [("encoder", "encoder."), ("units", "heads.units.")])
def test_the_frozen_part_stays_and_the_rest_is_trained(
    runs: Path, store: Path, tmp_path: Path, part: str, prefix: str
) -> None:
    with pytest.raises(InputError, match="start_from"):
        trainer(store, tmp_path, "content", f"frozen={part}")
    start = runs / "content" / "last.safetensors"
    run = trainer(store, tmp_path, "content", f"frozen={part}", f"loop.start_from={start}", "loop.ema=0.0")
    run.run()
    before, after = load_content(start).state_dict(), load_content(run.last).state_dict()
    same = {key for key in before if torch.equal(before[key], after[key])}
    statistics = {key for key in before if key.startswith("encoder.norm.")}
    assert same | statistics == {key for key in before if key.startswith(prefix)} | statistics


def test_contents_are_compared_with_those_of_the_store(store: Path, tmp_path: Path) -> None:
    task = trainer(store, tmp_path, "content", "keep=content_unperturbed", "perturb.tempo=1").task
    assert task.weights is not None
    assert task.weights["content"] == 10
    batch = task.batch(np.random.default_rng(0), 3)
    kept = Store(store).array("content_unperturbed").astype(np.float32)
    assert all((kept[:, 0] == first).any() for first in batch["content"][:, 0, 0].numpy())
    error = task.modules["content"](batch["mel"])["content"] - batch["content"]
    relative = error.square().mean((0, 2)) / torch.from_numpy(kept).var(0)
    torch.testing.assert_close(task.losses(batch)["content"], relative.mean(), rtol=0.1, atol=0)


def test_heads_divide_the_width(store: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"multiple of model\.heads"):
        trainer(store, tmp_path, "content", "model.width=32", "model.heads=5")


@pytest.mark.parametrize(("before", "now"), [("encoder", "nothing"), ("nothing", "encoder"), ("units", "nothing")])
def test_a_run_continues_with_the_same_part_frozen(
    runs: Path, store: Path, tmp_path: Path, before: str, now: str
) -> None:
    start = f"loop.start_from={runs / 'content' / 'last.safetensors'}"
    run = trainer(store, tmp_path, "content", start, f"frozen={before}")
    run.train_step()
    run.save()
    with pytest.raises(InputError, match="is of a run that trained other weights; freeze what it froze, or name"):
        trainer(store, tmp_path, "content", start, f"frozen={now}")
    assert trainer(store, tmp_path, "content", start, f"frozen={before}").step == 1
