"""The paper's tables at a budget of seconds: every run is trained and evaluated, none twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from fastvoicegrad.cli import app
from fastvoicegrad.evaluation.reproduce import STARTS, TABLES, Reproduction, markdown, plot_starts, recipe_of, train
from fastvoicegrad.training.checkpoint import read_meta
from fastvoicegrad.training.recipe import build, read_yaml
from fastvoicegrad.training.tasks.student import StudentRecipe

RECIPES = Path(__file__).parents[2] / "recipes"


def plan(tables: list[str], budget: str) -> Reproduction:
    nowhere = Path("nowhere")
    return Reproduction(tables, budget, RECIPES, nowhere, nowhere, nowhere, nowhere)


@pytest.mark.parametrize("budget", ["smoke", "small", "paper"])
def test_every_system_has_a_recipe_at_every_budget(budget: str) -> None:
    wanted = plan(list(TABLES), budget)
    students = {row.run: build(StudentRecipe, recipe_of(wanted, row.change)) for row in wanted.rows.values()}
    assert students["adv"].weights["dist"] == 0 < students["student"].weights["dist"]
    assert students["dist"].weights["adv"] == students["dist"].weights["fm"] == 0
    assert students["wave"].adversary.input == "wave"
    assert {students[row.run].schedule.start for row in STARTS.values() if not row.anchor} == set(STARTS) - {0}
    assert students["noise"].schedule.initial == "noise"


def test_a_table_is_trained_evaluated_and_written_once(runs: Path, store: Path, pairs: Path, tmp_path: Path) -> None:
    out, teacher = tmp_path / "out", runs / "teacher" / "last.safetensors"
    words = ["dev", "reproduce", "systems", "--budget", "smoke", "--store", store, "--pairs", pairs, "-o", out]
    words += ["--recipes", RECIPES, "--metric-weights", tmp_path, "--teacher", teacher, "--set", "loop.steps=2"]
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.output
    table, trained = (out / "reproduce.md").read_text(), (out / "runs" / "student" / "last.safetensors").stat()
    for line in (
        "Less FastVoiceGrad, paired",
        "| natural ",
        "| VoiceGrad-6 ",
        "| VoiceGrad-30 ",
        "| FastVoiceGrad ",
        "DNSMOS P.808, published",
    ):
        assert line in table
    assert "| 3.79 |" in table  # as published
    second = Reproduction(["systems"], "smoke", RECIPES, store, pairs, tmp_path, out)
    assert train(second, "student", "student", read_yaml(out / "recipes" / "student.yaml")).stat() == trained


def test_the_table_of_discriminators_has_their_cost(runs: Path) -> None:
    figure = {"DNSMOS": {"mean": 3.0, "low": 2.9, "high": 3.2}}
    report = {
        "pairs": ["a--b"],
        "date": "",
        "version": "",
        "summary": {row.key: figure for row in TABLES["discriminators"]},
        "differences": {"wave": {"DNSMOS": {"mean": -0.1, "low": -0.2, "high": 0.0}}},
    }
    made = {row.run: runs / "student" / "last.safetensors" for row in TABLES["discriminators"]}
    lines = markdown(plan(["discriminators"], "smoke"), report, made).splitlines()
    cost = read_meta(made["wave"])["cost"]
    assert cost["steps_per_second"] > 0
    line = next(line for line in lines if line.startswith("| waveform "))
    assert f"| 3.00 [2.90, 3.20] | {cost['steps_per_second']:.3g} | {cost['peak_mb']:.0f} |" in line
    assert "| waveform | -0.10 [-0.20, +0.00] |" in lines


def test_starts_are_plotted(tmp_path: Path) -> None:
    figure = {"DNSMOS": {"mean": 3.0, "low": 2.9, "high": 3.2}}
    plot_starts({"summary": {row.key: figure for row in STARTS.values()}}, tmp_path / "starts.png")
    assert (tmp_path / "starts.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("table", "budget", "hint"), [("tables", "smoke", "systems"), ("losses", "huge", "small")])
def test_an_unknown_table_or_budget_is_refused_in_a_line(table: str, budget: str, hint: str, tmp_path: Path) -> None:
    words = ["dev", "reproduce", table, "--budget", budget, "--store", tmp_path, "--pairs", tmp_path, "-o", tmp_path]
    refused = CliRunner().invoke(app, list(map(str, words)))
    assert refused.exit_code == 2
    assert hint in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
