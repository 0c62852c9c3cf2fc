"""Runs of the recipes in recipes/smoke, on a tiny store (PyTorch)."""

from __future__ import annotations

from pathlib import Path

from accelerate.state import AcceleratorState

from fastvoicegrad.training.loop import Trainer
from fastvoicegrad.training.recipe import read_yaml
from fastvoicegrad.training.tasks.registry import make_task

RECIPES = Path(__file__).parents[3] / "recipes"
THREADS = "loop.threads=1"  # sums of more threads are rounded in another way, and other tests change their number


def settings(store: Path, runs: Path, part: str, *more: str) -> list[str]:
    """Overrides of a smoke recipe: the store, the runs that it needs, and more."""
    own = [f"data.store={store}"] if part in ("teacher", "student", "diffvc") else [f"store={store}"]
    needed = {"student": {"teacher": "teacher", "vocoder": "vocoder"}, "diffvc": {"encoder": "diffvc-encoder"}}
    own += [f"{name}={runs / run / 'last.safetensors'}" for name, run in needed.get(part, {}).items()]
    return [THREADS, *own, *more]


def stream_settings(store: Path, runs: Path, part: str, *more: str) -> list[str]:
    """Overrides of a part's section in the smoke recipe for streams."""
    own = [f"data.store={store}"] if part == "stream-converter" else [f"store={store}"]
    if part == "stream-converter":
        needed = {"content": "stream-content", "teacher": "student", "vocoder": "vocoder"}
        own += [f"{name}={runs / run / 'last.safetensors'}" for name, run in needed.items()]
    return [f"{part}.{setting}" for setting in (THREADS, *own, *more)]


def trainer(store: Path, runs: Path, part: str, *more: str, name: str | None = None) -> Trainer:
    """A trainer of a smoke recipe with overrides, in the folder `runs / name`."""
    streams = part.startswith("stream-")
    path = RECIPES / "smoke" / ("streaming.yaml" if streams else f"{part}.yaml")
    data = read_yaml(path, (stream_settings if streams else settings)(store, runs, part, *more))
    task, recipe = make_task(part, data)
    AcceleratorState._reset_state()  # a test before may have trained with another precision
    return Trainer(task, runs / (name or part), recipe)


def lend(runs: Path, out: Path) -> None:
    """Link the runs that other parts need into another folder."""
    for part in ("teacher", "vocoder", "stream-content", "diffvc-encoder"):
        (out / part).symlink_to(runs / part)
