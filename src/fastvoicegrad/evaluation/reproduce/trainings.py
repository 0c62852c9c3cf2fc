"""Recipes of the trainings, and their runs. A finished run is left as it is, a killed one continues."""

from __future__ import annotations

import json
import threading
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import torch
import yaml

from ...bundle import Bundle
from ...errors import InputError
from ...training.checkpoint import plain, read_meta
from ...training.loop import WARM_UP, NonFiniteLoss, Trainer
from ...training.recipe import build, merged, overridden, read_yaml
from ...training.restore import restore
from ...training.tasks.registry import TASKS, make_task
from ..processes import deaths_in_one_line, end_with_parent
from .plan import BUDGETS, Reproduction
from .stopwatch import Stopwatch, duration
from .tables import TRAININGS, Training, trainings_of

PROBE_STEPS = WARM_UP + 6  # the last ones show how fast a training is
CONTINUED = 0.125  # of a teacher's steps, where it continues another one
ON_CONVERSIONS = ("teacher", "student", "diffvc")  # parts whose recipes have `data`


class Diverged(InputError):
    """The loss of a training is no longer a number."""


@dataclass
class Runs:
    """Checkpoints by the trainings' names, and why others are left out."""

    checkpoints: dict[str, Path] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def recipe_of(plan: Reproduction, training: Training) -> dict[str, Any]:
    """The recipe of a part at the plan's budget with a training's changes.

    Raises:
        InputError: a file is missing.
    """
    folder = plan.recipes / BUDGETS[plan.budget]
    recipe = read_yaml(folder / f"{training.part}.yaml")
    if change := training.change:
        paths = [parent / f"{change}.yaml" for parent in (folder, plan.recipes / "ablation")]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            raise InputError(f"{paths[-1]}: no such recipe; --recipes names the folder that has them")
        changes: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        recipe = merged(recipe, {key: value for key, value in changes.items() if key != "extends"})
    return overridden(recipe, list(training.settings))


def complete(plan: Reproduction, training: Training, checkpoints: dict[str, Path]) -> dict[str, Any]:
    """The recipe with store, threads, the checkpoints that the training needs, and the user's settings for students.

    Paths stay as they are. Read as YAML, one with a "#" would lose its end.
    """
    recipe = recipe_of(plan, training)
    store, chosen = {"store": str(plan.store)}, chosen_settings(plan, training)
    own: dict[str, Any] = {"loop": {"threads": max(1, torch.get_num_threads() // plan.jobs)}}
    own |= {"data": store} if training.part in ON_CONVERSIONS else store
    match training.part:
        case "student":
            own["teacher"] = str(checkpoints[training.teacher or "teacher"])
            kind = overridden(recipe, chosen).get("vocoder_kind", "spectral")
            if kind == "spectral":  # HiFi-GAN's weights are named by the recipe or the user
                own["vocoder"] = str(plan.out / "base" / "vocoder.safetensors")
        case "teacher" if training.teacher:
            recipe["model"] = read_meta(checkpoints[training.teacher])["model"]
            own["loop"] |= {
                "start_from": str(checkpoints[training.teacher]),
                "steps": max(1, round(CONTINUED * recipe["loop"]["steps"])),
            }
        case "diffvc":
            own["encoder"] = str(checkpoints["diffvc-encoder"])
    return overridden(merged(recipe, own), chosen)


def chosen_settings(plan: Reproduction, training: Training) -> list[str]:
    """The user's overrides of a training: they are for students."""
    return plan.settings if training.part == "student" else []


def train(part: str, recipe: dict[str, Any], out: Path) -> Path:
    """Train a part into a folder, as `dev train` does; returns its checkpoint."""
    checkpoint = out / "last.safetensors"
    try:
        if checkpoint.exists():
            meta = read_meta(checkpoint)
            check_recipe(meta["recipe"], plain(build(TASKS[part][0], recipe)))
            if meta["step"] >= recipe["loop"]["steps"]:
                return checkpoint
        task, resolved = make_task(part, recipe)
        Trainer(task, out, resolved).run()
    except NonFiniteLoss as error:
        raise Diverged(f"training {out.name} failed: {error}") from error
    except (InputError, FileNotFoundError) as error:
        raise InputError(f"training {out.name} failed: {error}") from error
    return checkpoint


def check_recipe(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Raises InputError where a run has another recipe than it should: its figures would stand under a wrong name."""
    old, new = _compared(old), _compared(new)
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            raise InputError(f"it was trained with another '{name}'; name another folder with -o")


def _compared(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe without the loop's threads, which change nothing, and its steps, which the tables show."""
    loop = {name: value for name, value in recipe["loop"].items() if name not in ("threads", "steps")}
    compared: dict[str, Any] = json.loads(json.dumps(recipe | {"loop": loop}))  # as a checkpoint stores it
    return compared


class Trainings:
    """Runs the trainings of a plan."""

    def __init__(self, plan: Reproduction, stopwatch: Stopwatch) -> None:
        self.plan, self.stopwatch = plan, stopwatch
        self.runs = Runs()
        in_turn = plan.budget == "smoke"  # these run in this process
        self.turns = threading.Semaphore(1 if in_turn else plan.jobs)  # a training that waits for another takes none
        self.failed = threading.Event()

    def run(self) -> Runs:
        """Train all that the plan's rows need. A training waits for those that it needs."""
        names = trainings_of(list(self.plan.rows.values()))
        self._restore_base()
        if self.plan.teacher is not None:
            self.runs.checkpoints["teacher"] = self.plan.teacher
        waiting = [name for name in names if name not in self.runs.checkpoints]
        with ThreadPoolExecutor(len(waiting) or 1) as pool:
            futures: dict[str, Future[None]] = {}
            for name in waiting:
                needed = [futures[need] for need in TRAININGS[name].needs if need in futures]
                futures[name] = pool.submit(self._run, name, needed)
            try:
                for future in as_completed(futures.values()):
                    future.result()
            except BaseException:
                self.failed.set()
                for process in active_children():
                    process.terminate()
                raise
        return self.runs

    def _restore_base(self) -> None:
        """The base bundle's networks as checkpoints.

        Raises:
            InputError: the trainings of this folder have another base.
        """
        folder, networks = self.plan.out / "base", Bundle.open(self.plan.base).config.networks
        known, base = folder / "networks.json", {name: network.sha256 for name, network in networks.items()}
        if known.exists() and json.loads(known.read_text()) != base:
            raise InputError(f"{self.plan.out} has trainings with another base; name another folder with -o")
        folder.mkdir(parents=True, exist_ok=True)
        restore(self.plan.base, folder)
        known.write_text(json.dumps(base, indent=1))

    def _run(self, name: str, needed: list[Future[None]]) -> None:
        """One training, after those that it needs; they were submitted before it, so they end."""
        for future in needed:
            future.result()
        training = TRAININGS[name]
        recipe = complete(self.plan, training, self.runs.checkpoints)
        with self.turns, self.stopwatch.part(f"training {name}"):
            if self.failed.is_set():
                return
            try:
                if (training.as_long_as or training.optional) and not self._fits(name, training, recipe):
                    return
                self.runs.checkpoints[name] = self._train(name, training.part, recipe, self.plan.out / "runs" / name)
            except Diverged:
                if any(name in other.needs for other in TRAININGS.values()):
                    raise
                self.runs.left_out[name] = "its loss grew until it was no longer a number"

    def _fits(self, name: str, training: Training, recipe: dict[str, Any]) -> bool:
        """Set the number of steps by a short trial of the speed, or leave the training out."""
        steps = recipe["loop"]["steps"]
        trial = recipe | {"loop": recipe["loop"] | {"steps": PROBE_STEPS}}
        path = self._train(f"{name}-trial", training.part, trial, self.plan.out / "trials" / name)
        rate = read_meta(path)["cost"]["steps_per_second"]
        if training.as_long_as:
            seconds = training_seconds(self.runs.checkpoints[training.as_long_as])
            recipe["loop"]["steps"] = max(1, round(seconds * rate))
        elif steps / rate > 3600 * self.plan.longest:
            limit = duration(3600 * self.plan.longest)
            self.runs.left_out[name] = f"{steps} steps would take {duration(steps / rate)}, over the limit of {limit}"
            return False
        return True

    def _train(self, name: str, part: str, recipe: dict[str, Any], out: Path) -> Path:
        """Write the recipe and train, at a real budget in a process of its own.

        Raises:
            InputError: see `train`; or that process ended by itself.
        """
        written = self.plan.out / "recipes" / f"{name}.yaml"
        written.parent.mkdir(parents=True, exist_ok=True)
        written.write_text(yaml.safe_dump(recipe, sort_keys=False))
        if self.plan.budget == "smoke":  # a process would take longer than the training
            return train(part, recipe, out)
        advice = "try fewer --jobs, or start again: it continues"
        pool = ProcessPoolExecutor(1, get_context("spawn"), end_with_parent)  # an orphan would hold its folder
        with deaths_in_one_line(f"training {name} failed", advice), pool as process:
            return process.submit(train, part, recipe, out).result()


def training_seconds(checkpoint: Path) -> float:
    """How long a run trained, by its steps and its speed."""
    meta = read_meta(checkpoint)
    return float(meta["step"] / meta["cost"]["steps_per_second"])
