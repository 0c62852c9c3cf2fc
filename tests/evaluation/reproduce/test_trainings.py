"""The recipes of the trainings, and what happens where one fails."""

from __future__ import annotations

from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from fastvoicegrad import InputError
from fastvoicegrad.evaluation.reproduce import trainings
from fastvoicegrad.evaluation.reproduce.stopwatch import Stopwatch
from fastvoicegrad.evaluation.reproduce.tables import TRAININGS
from fastvoicegrad.evaluation.reproduce.trainings import Diverged, Trainings, complete
from tests.evaluation.reproduce.plans import plan


@pytest.mark.parametrize("name", ["teacher", "student", "teacher-linear", "linear", "diffvc-encoder", "diffvc"])
def test_paths_are_no_yaml(runs: Path, tmp_path: Path, name: str) -> None:
    """In YAML " #" starts a comment, and "12" is a number."""
    odd, training = tmp_path / "try #2: a", TRAININGS[name]
    odd.symlink_to(runs)
    checkpoints = {need: odd / TRAININGS[need].part / "last.safetensors" for need in training.needs}
    wanted = replace(plan(["all"], "smoke", odd), store=Path("12"), settings=["loop.seed=3"])
    recipe = complete(wanted, training, checkpoints)
    assert recipe.get("data", recipe)["store"] == "12"
    named = {"student": "teacher", "diffvc": "encoder"}.get(training.part)
    path = recipe[named] if named else recipe["loop"].get("start_from")
    assert path == (str(checkpoints[training.needs[0]]) if training.needs else None)
    if training.part == "student":
        assert recipe["vocoder"] == str(odd / "base" / "vocoder.safetensors")
    assert recipe["loop"].get("seed") == (3 if training.part == "student" else None)


@pytest.mark.parametrize(
    ("budget", "settings", "vocoder"),
    [
        ("paper", [], "generator_universal.pth.tar"),
        ("paper", ["vocoder_kind=spectral"], "out/base/vocoder.safetensors"),
        ("small", ["vocoder_kind=hifigan", "vocoder=mine"], "mine"),
        ("small", ["vocoder=mine"], "mine"),
    ],
)
def test_the_vocoder_is_of_the_kind_that_the_user_sets(budget: str, settings: list[str], vocoder: str) -> None:
    wanted = replace(plan(["all"], budget, Path("out")), settings=settings)
    assert complete(wanted, TRAININGS["student"], {"teacher": Path("teacher")})["vocoder"] == vocoder


@pytest.mark.parametrize("diverges", ["wave-trial", "wave-time-trial"])
def test_a_trial_that_diverges_leaves_its_training_out(
    runs: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, diverges: str
) -> None:
    def pretend(self: Trainings, name: str, part: str, recipe: dict[str, Any], out: Path) -> Path:
        if name == diverges:
            raise Diverged(f"training {name} failed: no number")
        return runs / "student" / "last.safetensors"

    monkeypatch.setattr(Trainings, "_train", pretend)
    monkeypatch.setattr(trainings, "restore", lambda *_: None)
    wanted = replace(plan(["discriminators"], "small", tmp_path), store=store, longest=1e6)
    made = Trainings(wanted, Stopwatch(tmp_path / "times.json")).run()
    left_out = diverges.removesuffix("-trial")
    assert made.left_out == {left_out: "its loss grew until it was no longer a number"}
    assert set(made.checkpoints) == {"teacher", "student", "mel", "wave", "mel-time", "wave-time"} - {left_out}


class DyingPool:
    """Its process is killed. It keeps what its processes begin with."""

    begins_with: object = None

    def __init__(self, _: int, __: object, begin: object) -> None:
        DyingPool.begins_with = begin

    def __enter__(self) -> DyingPool:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, *_: object) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(BrokenProcessPool("terminated abruptly"))
        return future


def test_a_training_whose_process_dies_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainings, "ProcessPoolExecutor", DyingPool)
    made = Trainings(plan(["losses"], "small", tmp_path), Stopwatch(tmp_path / "times.json"))
    with pytest.raises(InputError, match="^training adv failed: a process ended by itself, .*; try fewer --jobs, or"):
        made._train("adv", "student", {}, tmp_path / "adv")
    assert DyingPool.begins_with is trainings.end_with_parent
