"""Runs of the recipes in recipes/smoke, on a tiny store (PyTorch)."""

from __future__ import annotations

from pathlib import Path

from fastvoicegrad.training.loop import Trainer
from fastvoicegrad.training.recipe import make_task, read_yaml

RECIPES = Path(__file__).parents[2] / "recipes"


def settings(store: Path, runs: Path, part: str, *more: str) -> list[str]:
    own = [f"data.store={store}"] if part in ("teacher", "student") else [f"store={store}"]
    if part == "student":
        own += [f"{p}={runs / p / 'last.safetensors'}" for p in ("teacher", "vocoder")]
    return [*own, *more]


def trainer(store: Path, runs: Path, part: str, *more: str, name: str | None = None) -> Trainer:
    data = read_yaml(RECIPES / "smoke" / f"{part}.yaml", settings(store, runs, part, *more))
    task, recipe = make_task(part, data)
    return Trainer(task, runs / (name or part), recipe)
