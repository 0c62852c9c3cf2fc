"""All parts of a reproduction, one after the other."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from ...files import replacing
from ...training.alone import alone
from ..languages import language_pairs
from ..network_speed import NetworkSpeed, network_speed
from ..pairs import read_pairs, write_pairs
from ..run import Plan, evaluate
from ..systems import bundle_key
from . import plots, report
from .checks import check_inputs, left_out_metrics
from .plan import Reproduction
from .stopwatch import Stopwatch
from .tables import FULL, LANGUAGES, SPEED, TABLES
from .trainings import Runs, Trainings


def reproduce(plan: Reproduction) -> Path:
    """Train, evaluate, and write ``reproduce.md`` with its plots into the plan's folder; returns that file's path.

    All inputs are checked before anything is written. Finished trainings and figures are kept, so a killed command
    continues.

    Raises:
        InputError: a table, budget, recipe or input does not exist, a training fails, or another run works there.
    """
    plan.check()
    check_inputs(plan)
    with alone(plan.out):
        return _reproduced(plan)


def _reproduced(plan: Reproduction) -> Path:
    for line in left_out_metrics(plan):  # now, as trainings may take days
        Console().print(line, style="yellow", highlight=False, markup=False, soft_wrap=True)
    stopwatch = Stopwatch(plan.out / "times.json")
    parts = []
    if plan.rows:
        parts += _tables(plan, stopwatch)
    if SPEED in plan.wanted:
        with stopwatch.part("table of speed"):
            parts.append(report.speed_table(_speeds(plan)))
    if LANGUAGES in plan.wanted:
        with stopwatch.part("table of languages"):
            parts.append(_languages(plan))
    path = plan.out / "reproduce.md"
    path.write_text(report.document(plan, parts, stopwatch.seconds), encoding="utf-8")
    return path


def _tables(plan: Reproduction, stopwatch: Stopwatch) -> list[str]:
    """The tables with trainings."""
    runs = Trainings(plan, stopwatch).run()
    evaluation = Plan(
        _systems(plan, runs), str(plan.pairs), str(plan.out / "report"), str(plan.metric_weights), plan.base
    )
    with stopwatch.part("evaluation"):
        result = evaluate(evaluation, FULL.key, with_speed=False)
    kinds = report.by_pair(result, read_pairs(plan.pairs))
    if report.PLOTTED in plan.wanted:
        plots.plot_starts(result["summary"], kinds, plan.out / f"{report.PLOTTED}.png")
    groups = kinds | result["by_corpus"]
    named = [name for name in plan.wanted if name in TABLES]
    return [
        report.conditions(result, runs),
        *(report.section(name, TABLES[name], result, groups, runs) for name in named),
    ]


def _systems(plan: Reproduction, runs: Runs) -> dict[str, str]:
    """Specs of the systems of all rows, see `specs.make_system`; a training that was left out has none."""
    systems = {"natural": "natural", "copy-synthesis": f"copy-synthesis:{plan.base or 'default'}"}
    for name, row in plan.rows.items():
        if not row.anchor and row.run in runs.checkpoints:
            systems[name] = f"{runs.checkpoints[row.run]}@{row.steps}"
    return systems


def _speeds(plan: Reproduction) -> list[NetworkSpeed]:
    """The speeds, measured once for a bundle; at the smoke budget of small networks on few frames."""
    smoke, path = plan.budget == "smoke", plan.out / "speeds.json"
    conditions = {"bundle": bundle_key(plan.base), "smoke": smoke}
    known = json.loads(path.read_text()) if path.exists() else {}
    if known.get("conditions") != conditions:
        measured = network_speed(plan.base, 16, published=False) if smoke else network_speed(plan.base)
        known = {"conditions": conditions, "rows": [asdict(speed) for speed in measured]}
        with replacing(path) as part:
            part.write_text(json.dumps(known, indent=1) + "\n")
    return [NetworkSpeed(**row) for row in known["rows"]]


def _languages(plan: Reproduction) -> str:
    """The table of languages."""
    assert plan.manifest is not None
    pairs = plan.out / "languages.jsonl"
    write_pairs(pairs, language_pairs(plan.manifest))
    model = plan.base or "default"
    systems = {"copy-synthesis": f"copy-synthesis:{model}", "conversion": model}
    out = plan.out / "languages"
    result = evaluate(Plan(systems, str(pairs), str(out), str(plan.metric_weights)), "copy-synthesis", with_speed=False)
    return report.languages_table(result, read_pairs(pairs))
