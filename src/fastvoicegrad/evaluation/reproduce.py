"""The paper's tables on one's own data: train what is missing, evaluate it, compare with the published figures.

FastVoiceGrad (arXiv 2409.02245) section 4 compares VoiceGrad in 1, 6 and 30 steps with the student in one step. It
leaves out the adversarial loss or the distillation loss, and varies S_K and the initial state. The authors' later work
compares discriminators.
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
from .run import Plan, evaluate
from .tables import cell, markdown_table

# Budget -> folder with its student.yaml and teacher.yaml; the ablations change the former.
BUDGETS = {"smoke": "smoke", "small": "ablation", "paper": "paper"}
# Columns of the tables, where the report has them.
FIGURES = (
    *("UTMOS", "DNSMOS P.808", "DNSMOS", "DistillMOS", "CER % Moonshine"),
    *("CAM++ target", "ECAPA target", "ECAPA nearer %", "GE2E target"),
)


@dataclass(frozen=True)
class TableRow:
    """A row of a table.

    Attributes:
        name: in the table.
        change: the recipe in ``recipes/ablation`` with its changes; "" for none.
        steps: K of the teacher; 0 for the student, in one step.
        anchor: name of a system that needs no training.
        published: figures of the paper (VCTK, unseen to unseen, 8,100 pairs).
    """

    name: str
    change: str = ""
    steps: int = 0
    anchor: str = ""
    published: Mapping[str, str] = field(default_factory=dict)

    @property
    def run(self) -> str:
        """The name of its training."""
        return "teacher" if self.steps else self.change or "student"

    @property
    def key(self) -> str:
        """Its name in the evaluation; rows of several tables with the same system share it."""
        return self.anchor or f"{self.run}{self.steps or ''}"


# Our students have VPFD unless a row names another discriminator, and so do the published figures beside them.
# The paper does not name the model of its DNSMOS. Its natural speech has 3.75, as by P.808; by P.835 it has about 3.1.
FULL = TableRow("FastVoiceGrad", published={"UTMOS": "3.99", "DNSMOS P.808": "3.79", "CER": "1.2", "cosine": ".888"})
WAVE = TableRow("waveform", "wave", published={"UTMOS": "3.96", "DNSMOS P.808": "3.77", "CER": "1.3", "cosine": ".888"})
GROUND_TRUTH = {"UTMOS": "4.15", "DNSMOS P.808": "3.75", "CER": "0.1", "cosine": ".940"}
ANCHORS = [
    TableRow("natural", anchor="natural", published=GROUND_TRUTH),
    TableRow("copy-synthesis", anchor="copy-synthesis"),
]
# At S_K = 0 the initial state is the source itself, so the result is copy synthesis.
STARTS = {
    0: ANCHORS[1],
    **{s: TableRow(f"S_K = {s}", "" if s == 950 else f"start{s}") for s in (500, 700, 900, 950, 990, 1000)},
}
TABLES: dict[str, list[TableRow]] = {
    "systems": [*ANCHORS, *(TableRow(f"VoiceGrad-{k}", steps=k) for k in (1, 6, 30)), FULL],
    "losses": [FULL, TableRow("FastVoiceGrad_adv", "adv"), TableRow("FastVoiceGrad_dist", "dist")],
    "starts": [replace(row, name=f"S_K = {s}") for s, row in STARTS.items()],
    "initial": [TableRow("diffused source", ""), TableRow("source", "clean"), TableRow("noise", "noise")],
    "discriminators": [replace(FULL, name="VPFD"), WAVE, TableRow("mel", "mel")],
}


@dataclass(frozen=True)
class Reproduction:
    """What to reproduce.

    Attributes:
        tables: keys of `TABLES`.
        budget: key of `BUDGETS`.
        recipes: folder of the recipes.
        store: feature store to train on.
        pairs: protocol file to evaluate on.
        metric_weights: folder of the metrics' weights.
        out: folder of the runs, the report and the tables.
        base: bundle with content encoder, speaker encoder and vocoder; None is the default one.
        teacher: a teacher's checkpoint; None trains one.
        jobs: trainings at once; they share the CPU's threads.
        settings: ``a.b=value`` overrides of every student's recipe.
    """

    tables: list[str]
    budget: str
    recipes: Path
    store: Path
    pairs: Path
    metric_weights: Path
    out: Path
    base: str | None = None
    teacher: Path | None = None
    jobs: int = 1
    settings: list[str] = field(default_factory=list)

    @property
    def rows(self) -> dict[str, TableRow]:
        """The rows of all tables by their systems' names, each system once."""
        return {row.key: row for row in (*ANCHORS, *(row for name in self.tables for row in TABLES[name]))}


def recipe_of(plan: Reproduction, change: str) -> dict[str, Any]:
    """A student's recipe at the plan's budget with an ablation's change."""
    base = read_yaml(plan.recipes / BUDGETS[plan.budget] / "student.yaml")
    if not change:
        return base
    path = plan.recipes / "ablation" / f"{change}.yaml"
    if not path.is_file():
        raise InputError(f"{path}: no such recipe; --recipes names the folder that has them")
    changes: dict[str, Any] = yaml.safe_load(path.read_text())
    return merged(base, {key: value for key, value in changes.items() if key != "extends"})


def train(plan: Reproduction, part: str, name: str, recipe: dict[str, Any]) -> Path:
    """Train a part in a process of its own, as by hand; returns its checkpoint. A finished run is left as it is."""
    written, run = plan.out / "recipes" / f"{name}.yaml", plan.out / "runs" / name
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(yaml.safe_dump(recipe, sort_keys=False))
    checkpoint = run / "last.safetensors"
    if checkpoint.exists() and read_meta(checkpoint)["step"] >= recipe["loop"]["steps"]:
        return checkpoint
    command = [sys.executable, "-m", "fastvoicegrad", "dev", "train", part, "--recipe", str(written), "-o", str(run)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise InputError(f"training {name} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return checkpoint


def checkpoints(plan: Reproduction) -> dict[str, Path]:
    """The checkpoint of every run, trained where it is missing; by the name of the change, and "teacher"."""
    restore(plan.base, plan.out / "base")
    shared = [f"data.store={plan.store}", f"loop.threads={max(1, torch.get_num_threads() // plan.jobs)}"]
    teacher = plan.teacher
    if teacher is None:
        recipe = read_yaml(plan.recipes / BUDGETS[plan.budget] / "teacher.yaml", shared)
        teacher = train(plan, "teacher", "teacher", recipe)
    students = [f"teacher={teacher}"]
    if recipe_of(plan, "").get("vocoder_kind", "spectral") == "spectral":  # a recipe names HiFi-GAN's weights itself
        students += [f"vocoder={plan.out / 'base' / 'vocoder.safetensors'}"]
    changes = dict.fromkeys(row.change for row in plan.rows.values() if not (row.steps or row.anchor))
    recipes = {c or "student": overridden(recipe_of(plan, c), [*shared, *students, *plan.settings]) for c in changes}
    with ThreadPoolExecutor(plan.jobs) as pool:
        runs = {name: pool.submit(train, plan, "student", name, recipe) for name, recipe in recipes.items()}
        return {"teacher": teacher} | {name: run.result() for name, run in runs.items()}


def reproduce(plan: Reproduction) -> Path:
    """Train, evaluate, and write ``reproduce.md`` and, for "starts", a plot of S_K; returns the former's path.

    Raises:
        InputError: a table, budget, recipe or input does not exist, or a training fails.
    """
    if unknown := set(plan.tables) - set(TABLES):
        raise InputError(f"no table '{sorted(unknown)[0]}'; there are {', '.join(TABLES)}")
    if plan.budget not in BUDGETS:
        raise InputError(f"no budget '{plan.budget}'; there are {', '.join(BUDGETS)}")
    runs = checkpoints(plan)
    systems = {"natural": "natural", "copy-synthesis": f"copy-synthesis:{plan.base or 'default'}"}
    for name, row in plan.rows.items():
        if not row.anchor:
            systems[name] = f"{runs[row.run]}@{row.steps or 1}"
    evaluation = Plan(systems, str(plan.pairs), str(plan.out / "report"), str(plan.metric_weights), plan.base)
    report = evaluate(evaluation, FULL.key, with_speed=False)
    path = plan.out / "reproduce.md"
    path.write_text(markdown(plan, report, runs))
    if "starts" in plan.tables:
        plot_starts(report, plan.out / "starts.png")
    return path


def markdown(plan: Reproduction, report: dict[str, Any], runs: dict[str, Path]) -> str:
    """Every table: measured figures with 95 % intervals, and published ones of other data and other encoders."""
    steps = {read_meta(path)["step"] for name, path in runs.items() if name != "teacher"}
    parts = [
        f"# The paper's tables, budget '{plan.budget}'\n",
        f"{len(report['pairs'])} pairs, {report['date']}, fastvoicegrad {report['version']}; students of "
        f"{', '.join(map(str, sorted(steps)))} steps. Means with 95 % intervals, bootstrap over pairs. Published: "
        "VCTK, 8,100 pairs. Cosines of different encoders do not compare.\n",
    ]
    for name in plan.tables:
        costly = runs if name == "discriminators" else {}
        others = [row for row in TABLES[name] if row.key in report["differences"] and not row.anchor]
        parts += [
            f"## {name}\n\n{_measured(TABLES[name], report['summary'], costly)}",
            f"Less {FULL.name}, paired:\n\n{_differences(others, report['differences'])}",
        ]
    return "\n".join(parts)


def _digits(column: str) -> int:
    return 1 if "%" in column else 2


def _measured(rows: list[TableRow], summary: dict[str, Any], runs: dict[str, Path]) -> str:
    """A table of means; with `runs` also the cost of the trainings."""
    columns = [name for name in FIGURES if any(name in row for row in summary.values())]
    published = sorted({name for row in rows for name in row.published})
    costs = {"steps/s": ("steps_per_second", ".3g"), "peak MB": ("peak_mb", ".0f")} if runs else {}
    lines = []
    for row in rows:
        measured = [cell(summary[row.key].get(name), _digits(name)) for name in columns]
        cost = read_meta(runs[row.run])["cost"] if runs else {}
        spent = [f"{cost[figure]:{shape}}" for figure, shape in costs.values()]
        lines.append([row.name, *measured, *spent, *(row.published.get(name, "") for name in published)])
    return markdown_table(["system", *columns, *costs, *(f"{name}, published" for name in published)], lines)


def _differences(rows: list[TableRow], differences: dict[str, Any]) -> str:
    """A table of paired differences from the full student."""
    columns = [name for name in FIGURES if any(name in row for row in differences.values())]
    lines = [
        [row.name, *(cell(differences[row.key].get(name), _digits(name), "+") for name in columns)] for row in rows
    ]
    return markdown_table(["system", *columns], lines)


def plot_starts(report: dict[str, Any], path: Path) -> None:
    """Plot the figures against S_K, with their intervals, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = {s: report["summary"][row.key] for s, row in STARTS.items()}
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
