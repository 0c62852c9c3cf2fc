"""The paper's tables, at a budget of seconds: everything is trained and judged for real, and nothing twice."""

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
from tests.training.tasks.tiny_runs import RECIPES


def plan(tables: list[str], budget: str) -> Reproduction:
    nowhere = Path("nowhere")
    return Reproduction(tables, budget, RECIPES, nowhere, nowhere, nowhere, nowhere)


@pytest.mark.parametrize("budget", ["smoke", "small", "paper"])
def test_every_system_has_a_recipe_at_every_budget(budget: str) -> None:
    wanted = plan(list(TABLES), budget)
    students = {s.run: build(StudentRecipe, recipe_of(wanted, s.change)) for s in wanted.systems.values()}
    assert students["adv"].weights["dist"] == 0 < students["student"].weights["dist"]
    assert students["dist"].weights["adv"] == students["dist"].weights["fm"] == 0
    assert students["wave"].adversary.input == "wave"
    assert {students[s.run].schedule.start for s in STARTS.values() if not s.anchor} == set(STARTS) - {0}
    assert students["noise"].schedule.initial == "noise"


def test_a_table_is_trained_judged_and_written_once(runs: Path, store: Path, pairs: Path, tmp_path: Path) -> None:
    out, teacher = tmp_path / "out", runs / "teacher" / "last.safetensors"
    words = ["reproduce", "systems", "--budget", "smoke", "--store", store, "--pairs", pairs, "-o", out]
    words += ["--recipes", RECIPES, "--metric_weights", tmp_path, "--teacher", teacher, "--set", "loop.steps=2"]
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
    again = Reproduction(["systems"], "smoke", RECIPES, store, pairs, tmp_path, out)
    assert train(again, "student", "student", read_yaml(out / "recipes" / "student.yaml")).stat() == trained


def test_discriminators_stand_beside_what_they_cost(runs: Path) -> None:
    figure = {"DNSMOS": {"mean": 3.0, "low": 2.9, "high": 3.2}}
    report = {
        "pairs": ["a--b"],
        "date": "",
        "version": "",
        "summary": {s.key: figure for s in TABLES["discriminators"]},
        "differences": {"wave": {"DNSMOS": {"mean": -0.1, "low": -0.2, "high": 0.0}}},
    }
    made = {s.run: runs / "student" / "last.safetensors" for s in TABLES["discriminators"]}
    lines = markdown(plan(["discriminators"], "smoke"), report, made).splitlines()
    cost = read_meta(made["wave"])["cost"]
    assert cost["steps_per_second"] > 0
    line = next(line for line in lines if line.startswith("| waveform "))
    assert f"| 3.00 [2.90, 3.20] | {cost['steps_per_second']:.3g} | {cost['peak_mb']:.0f} |" in line
    assert "| waveform | -0.10 [-0.20, +0.00] |" in lines


def test_starts_are_plotted(tmp_path: Path) -> None:
    figure = {"DNSMOS": {"mean": 3.0, "low": 2.9, "high": 3.2}}
    plot_starts({"summary": {system.key: figure for system in STARTS.values()}}, tmp_path / "starts.png")
    assert (tmp_path / "starts.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("table", "budget", "hint"), [("tables", "smoke", "systems"), ("losses", "huge", "small")])
def test_what_does_not_exist_is_one_line(table: str, budget: str, hint: str, tmp_path: Path) -> None:
    words = ["reproduce", table, "--budget", budget, "--store", tmp_path, "--pairs", tmp_path, "-o", tmp_path]
    refused = CliRunner().invoke(app, list(map(str, words)))
    assert refused.exit_code == 2
    assert hint in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
