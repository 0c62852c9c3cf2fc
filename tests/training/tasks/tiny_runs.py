"""Runs of the recipes in recipes/smoke, on a tiny store (PyTorch)."""

from __future__ import annotations

from pathlib import Path

from fastvoicegrad.training.loop import Trainer
from fastvoicegrad.training.recipe import read_yaml
from fastvoicegrad.training.tasks.registry import make_task

RECIPES = Path(__file__).parents[3] / "recipes"


def settings(store: Path, runs: Path, part: str, *more: str) -> list[str]:
    """Overrides of a smoke recipe: the store, the runs that it needs, and more."""
    own = [f"data.store={store}"] if part in ("teacher", "student") else [f"store={store}"]
    if part == "student":
        own += [f"{p}={runs / p / 'last.safetensors'}" for p in ("teacher", "vocoder")]
    return [*own, *more]


def trainer(store: Path, runs: Path, part: str, *more: str, name: str | None = None) -> Trainer:
    """A trainer of a smoke recipe with overrides, in the folder `runs / name`."""
    data = read_yaml(RECIPES / "smoke" / f"{part}.yaml", settings(store, runs, part, *more))
    task, recipe = make_task(part, data)
    return Trainer(task, runs / (name or part), recipe)


def lend(runs: Path, out: Path) -> None:
    """Link the runs that a student needs into another folder."""
    for part in ("teacher", "vocoder"):
        (out / part).symlink_to(runs / part)
