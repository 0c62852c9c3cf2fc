"""The paper's tables on data of one's own: train what is missing, judge it, write the figures beside the published.

FastVoiceGrad (arXiv 2409.02245) section 4: VoiceGrad in 1, 6 and 30 steps against one step of the student; the
student without its adversary and without its teacher; S_K; initial states; and the authors' later discriminators.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import yaml

from ..errors import InputError
from ..training.checkpoint import read_meta
from ..training.recipe import merged, overridden, read_yaml
from ..training.restore import restore
from .report import cell, markdown_table
from .run import Plan, evaluate

# Folder of the recipes (student.yaml, teacher.yaml) that a budget stands for; the ablations change them.
BUDGETS = {"smoke": "smoke", "small": "ablation", "paper": "paper"}
# Columns of the tables, where the report has them.
FIGURES = (
    *("UTMOS", "DNSMOS P.808", "DNSMOS", "DistillMOS", "CER % Moonshine"),
    *("CAM++ target", "ECAPA target", "ECAPA nearer %"),
)


@dataclass(frozen=True)
class System:
    """A row of a table.

    Attributes:
        change: recipe in ``recipes/ablation`` that says what is different; "": nothing.
        steps: in which the teacher converts; 0: the student, in one.
        anchor: a system that needs no training.
        published: VCTK, unseen to unseen, 8,100 pairs.
    """

    name: str
    change: str = ""
    steps: int = 0
    anchor: str = ""
    published: Mapping[str, str] = field(default_factory=dict)

    @property
    def run(self) -> str:
        """The training that makes it."""
        return "teacher" if self.steps else self.change or "student"

    @property
    def key(self) -> str:
        """Its name in the evaluation: the same system has one name in all tables."""
        return self.anchor or f"{self.run}{self.steps or ''}"


# Our students have VPFD unless a row says otherwise: so do the figures beside them. The paper's DNSMOS has no more of a
# name; people have 3.75 by it, as by P.808, where P.835's scale ends below.
FULL = System("FastVoiceGrad", published={"UTMOS": "3.99", "DNSMOS P.808": "3.79", "CER": "1.2", "cosine": ".888"})
WAVE = System("waveform", "wave", published={"UTMOS": "3.96", "DNSMOS P.808": "3.77", "CER": "1.3", "cosine": ".888"})
TRUTH = {"UTMOS": "4.15", "DNSMOS P.808": "3.75", "CER": "0.1", "cosine": ".940"}
ANCHORS = [System("natural", anchor="natural", published=TRUTH), System("copy-synthesis", anchor="copy-synthesis")]
# At S_K = 0 nothing is left to estimate: x0_hat is the source, whatever the network says, so it is copy synthesis.
STARTS = {
    0: ANCHORS[1],
    **{s: System(f"S_K = {s}", "" if s == 950 else f"start{s}") for s in (500, 700, 900, 950, 990, 1000)},
}
TABLES: dict[str, list[System]] = {
    "systems": [*ANCHORS, *(System(f"VoiceGrad-{k}", steps=k) for k in (1, 6, 30)), FULL],
    "losses": [FULL, System("FastVoiceGrad_adv", "adv"), System("FastVoiceGrad_dist", "dist")],
    "starts": [replace(system, name=f"S_K = {s}") for s, system in STARTS.items()],
    "initial": [System("diffused source", ""), System("source", "clean"), System("noise", "noise")],
    "discriminators": [replace(FULL, name="VPFD"), WAVE, System("mel", "mel")],
}


@dataclass(frozen=True)
class Reproduction:
    """What to reproduce, of what, at which budget."""

    tables: list[str]
    budget: str
    recipes: Path
    store: Path
    pairs: Path
    metric_weights: Path
    out: Path
    base: str | None = None  # bundle that lends content encoder, speaker encoder and vocoder
    teacher: Path | None = None  # None: trained as well
    jobs: int = 1  # trainings at once, each with its share of the CPU's threads
    settings: list[str] = field(default_factory=list)  # overrides of every student's recipe

    @property
    def systems(self) -> dict[str, System]:
        """The systems of the tables, each once."""
        return {s.key: s for s in (*ANCHORS, *(s for name in self.tables for s in TABLES[name]))}


def recipe_of(plan: Reproduction, change: str) -> dict[str, Any]:
    """A student's recipe at the plan's budget, with an ablation's change."""
    base = read_yaml(plan.recipes / BUDGETS[plan.budget] / "student.yaml")
    if not change:
        return base
    path = plan.recipes / "ablation" / f"{change}.yaml"
    if not path.is_file():
        raise InputError(f"{path}: no such recipe; --recipes names the folder that has them")
    changes: dict[str, Any] = yaml.safe_load(path.read_text())
    return merged(base, {key: value for key, value in changes.items() if key != "extends"})


def train(plan: Reproduction, part: str, name: str, recipe: dict[str, Any]) -> Path:
    """A run in a process of its own, as by hand; finished ones are left as they are."""
    written, run = plan.out / "recipes" / f"{name}.yaml", plan.out / "runs" / name
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(yaml.safe_dump(recipe, sort_keys=False))
    checkpoint = run / "last.safetensors"
    if checkpoint.exists() and read_meta(checkpoint)["step"] >= recipe["loop"]["steps"]:
        return checkpoint
    command = [sys.executable, "-m", "fastvoicegrad.cli", "train", part, "--recipe", str(written), "-o", str(run)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise InputError(f"training {name} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return checkpoint


def checkpoints(plan: Reproduction) -> dict[str, Path]:
    """What every system needs, trained where it is missing; by the name of the change, and "teacher"."""
    restore(plan.base, plan.out / "base")
    shared = [f"data.store={plan.store}", f"loop.threads={max(1, torch.get_num_threads() // plan.jobs)}"]
    teacher = plan.teacher
    if teacher is None:
        recipe = read_yaml(plan.recipes / BUDGETS[plan.budget] / "teacher.yaml", shared)
        teacher = train(plan, "teacher", "teacher", recipe)
    own = [f"teacher={teacher}"]
    if recipe_of(plan, "").get("vocoder_kind", "spectral") == "spectral":  # HiFi-GAN's weights are the recipe's to name
        own += [f"vocoder={plan.out / 'base' / 'vocoder.safetensors'}"]
    changes = dict.fromkeys(s.change for s in plan.systems.values() if not (s.steps or s.anchor))
    recipes = {c or "student": overridden(recipe_of(plan, c), [*shared, *own, *plan.settings]) for c in changes}
    with ThreadPoolExecutor(plan.jobs) as pool:
        runs = {name: pool.submit(train, plan, "student", name, recipe) for name, recipe in recipes.items()}
        return {"teacher": teacher} | {name: run.result() for name, run in runs.items()}


def reproduce(plan: Reproduction) -> Path:
    """Train, judge and write ``reproduce.md`` (and a plot of S_K); returns its path.

    Raises:
        InputError: a table, budget, recipe or input does not exist, or a training fails.
    """
    if unknown := set(plan.tables) - set(TABLES):
        raise InputError(f"no table '{sorted(unknown)[0]}'; there are {', '.join(TABLES)}")
    if plan.budget not in BUDGETS:
        raise InputError(f"no budget '{plan.budget}'; there are {', '.join(BUDGETS)}")
    runs = checkpoints(plan)
    systems = {"natural": "natural", "copy-synthesis": f"copy-synthesis:{plan.base or 'default'}"}
    for name, system in plan.systems.items():
        if not system.anchor:
            systems[name] = f"{runs[system.run]}@{system.steps or 1}"
    judged = Plan(systems, str(plan.pairs), str(plan.out / "report"), str(plan.metric_weights), plan.base)
    report = evaluate(judged, FULL.key, with_speed=False)
    path = plan.out / "reproduce.md"
    path.write_text(markdown(plan, report, runs))
    if "starts" in plan.tables:
        plot_starts(report, plan.out / "starts.png")
    return path


def markdown(plan: Reproduction, report: dict[str, Any], runs: dict[str, Path]) -> str:
    """Every table: measured, with 95 % intervals, and published, which is of other data and of other encoders."""
    steps = {read_meta(path)["step"] for name, path in runs.items() if name != "teacher"}
    parts = [
        f"# The paper's tables, budget '{plan.budget}'\n",
        f"{len(report['pairs'])} pairs, {report['date']}, fastvoicegrad {report['version']}; students of "
        f"{', '.join(map(str, sorted(steps)))} steps. Means with 95 % intervals, bootstrap over pairs. Published: "
        "VCTK, 8,100 pairs; cosines of different encoders must not be compared.\n",
    ]
    for name in plan.tables:
        cost = runs if name == "discriminators" else {}
        others = [system for system in TABLES[name] if system.key in report["differences"] and not system.anchor]
        parts += [
            f"## {name}\n\n{_rows(TABLES[name], report['summary'], cost)}",
            f"Less {FULL.name}, paired:\n\n{_differences(others, report['differences'])}",
        ]
    return "\n".join(parts)


def _rows(systems: list[System], summary: dict[str, Any], runs: dict[str, Path]) -> str:
    """With `runs`, also what the trainings cost."""
    columns = [name for name in FIGURES if any(name in row for row in summary.values())]
    published = sorted({name for system in systems for name in system.published})
    costs = {"steps/s": ("steps_per_second", ".3g"), "peak MB": ("peak_mb", ".0f")} if runs else {}
    lines = []
    for system in systems:
        measured = [cell(summary[system.key].get(name), 1 if "%" in name else 2) for name in columns]
        cost = read_meta(runs[system.run])["cost"] if runs else {}
        spent = [f"{cost[figure]:{shape}}" for figure, shape in costs.values()]
        lines.append([system.name, *measured, *spent, *(system.published.get(name, "") for name in published)])
    return markdown_table(["system", *columns, *costs, *(f"{name}, published" for name in published)], lines)


def _differences(systems: list[System], differences: dict[str, Any]) -> str:
    """Of each system from the full student, on the same resamples of pairs."""
    columns = [name for name in FIGURES if any(name in row for row in differences.values())]
    lines = [
        [s.name, *(cell(differences[s.key].get(name), 1 if "%" in name else 2, "+") for name in columns)]
        for s in systems
    ]
    return markdown_table(["system", *columns], lines)


def plot_starts(report: dict[str, Any], path: Path) -> None:
    """The figures against S_K, with their intervals, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = {s: report["summary"][system.key] for s, system in STARTS.items()}
    columns = [name for name in FIGURES if all(name in row for row in rows.values())]
    figure, axes = pyplot.subplots(len(columns), 1, figsize=(6, 1.8 * len(columns)), sharex=True, squeeze=False)
    for axis, name in zip(axes[:, 0], columns, strict=True):
        found = [row[name] for row in rows.values()]
        means = [f["mean"] for f in found]
        spread = [[f["mean"] - f["low"] for f in found], [f["high"] - f["mean"] for f in found]]
        axis.errorbar(range(len(STARTS)), means, spread, marker="o", capsize=3)
        axis.set_ylabel(name)
        axis.set_xticks(range(len(STARTS)), [str(s) for s in STARTS])
    axes[-1, 0].set_xlabel("S_K")
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
