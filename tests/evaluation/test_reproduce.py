"""The paper's tables at a budget of seconds: every run is trained and evaluated, none twice."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from fastvoicegrad import InputError
from fastvoicegrad.cli import app
from fastvoicegrad.diffusion import cosine_schedule, noise_schedule, signal_to_noise
from fastvoicegrad.evaluation.pairs import read_pairs
from fastvoicegrad.evaluation.reproduce import report, trainings
from fastvoicegrad.evaluation.reproduce.plan import Reproduction
from fastvoicegrad.evaluation.reproduce.plots import plot_starts
from fastvoicegrad.evaluation.reproduce.stopwatch import Stopwatch, duration
from fastvoicegrad.evaluation.reproduce.tables import (
    ALL,
    BY_START,
    SCHEDULES,
    STARTS,
    TABLES,
    TRAININGS,
    matched_start,
    trainings_of,
)
from fastvoicegrad.evaluation.reproduce.trainings import (
    CONTINUED,
    PROBE_STEPS,
    Diverged,
    Runs,
    Trainings,
    complete,
    recipe_of,
    train,
)
from fastvoicegrad.evaluation.tables import summarise
from fastvoicegrad.training.checkpoint import read_meta
from fastvoicegrad.training.loop import WARM_UP
from fastvoicegrad.training.recipe import build, read_yaml
from fastvoicegrad.training.tasks.registry import TASKS
from tests.evaluation.reproduce.plans import RECIPES, plan

FIGURE = {"mean": 3.0, "low": 2.9, "high": 3.2}


@pytest.mark.parametrize("budget", ["smoke", "small", "paper"])
def test_every_training_has_a_recipe_at_every_budget(budget: str, runs: Path) -> None:
    checkpoints = {name: runs / training.part / "last.safetensors" for name, training in TRAININGS.items()}
    recipes: dict[str, Any] = {}
    for name, training in TRAININGS.items():
        kind, _ = TASKS[training.part]
        recipes[name] = build(kind, complete(plan(["all"], budget), training, checkpoints))
    assert recipes["adv"].weights["dist"] == 0 < recipes["student"].weights["dist"]
    assert recipes["dist"].weights["adv"] == recipes["dist"].weights["fm"] == 0
    assert recipes["wave"].adversary.input == "wave"
    assert {recipes[row.run].schedule.start for row in BY_START.values() if not row.anchor} == set(STARTS)
    assert recipes["noise"].schedule.initial == "noise"
    assert [recipes[name].weights["fm"] for name in ("fm0", "student", "fm10")] == [0, 2, 10]
    assert recipes["fm-late"].fm_layers == "late"
    for kind in SCHEDULES:
        assert recipes[kind].schedule == recipes[f"teacher-{kind}"].schedule
        assert recipes[f"teacher-{kind}"].loop.steps == max(1, round(CONTINUED * recipes["teacher"].loop.steps))


@pytest.mark.parametrize("kind", SCHEDULES)
def test_schedules_start_at_one_signal_to_noise_ratio(kind: Any) -> None:
    alpha_bar = noise_schedule(kind, 1000, scale=SCHEDULES[kind])
    snr = signal_to_noise(alpha_bar[matched_start(kind)])
    assert snr == pytest.approx(signal_to_noise(cosine_schedule()[950]), abs=0.1)
    assert matched_start("cosine") == 950


def test_a_table_needs_its_own_trainings_alone() -> None:
    assert trainings_of(list(TABLES["losses"].rows)) == ["teacher", "student", "adv", "dist"]
    assert trainings_of(list(TABLES["systems"].rows)) == ["teacher", "student", "diffvc-encoder", "diffvc"]
    assert "teacher-laplace" in trainings_of(list(TABLES["schedules"].rows))
    assert plan(["speed", "languages"], "small").rows == {}
    assert plan(["all"], "small").wanted == ALL
    needed = trainings_of(list(plan(["all"], "small").rows.values()))
    assert set(needed) == set(TRAININGS)
    for name in needed:
        assert all(needed.index(need) < needed.index(name) for need in TRAININGS[name].needs)


@pytest.mark.slow
@pytest.mark.usefixtures("one_process")
def test_tables_are_trained_evaluated_and_written_once(
    folder: Path, runs: Path, store: Path, two_pairs: Path, tmp_path: Path
) -> None:
    """With the tiny bundle's encoders."""
    out = tmp_path / "out"
    words = ["dev", "reproduce", "systems", "--budget", "smoke", "--store", store, "--pairs", two_pairs, "-o", out]
    words += ["--recipes", RECIPES, "--metric-weights", tmp_path, "--base", folder]
    words += ["--teacher", runs / "teacher" / "last.safetensors", "--set", "loop.steps=2"]
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.output
    table = (out / "reproduce.md").read_text()
    for line in (
        "Less FastVoiceGrad, paired",
        *(
            f"| {name} "
            for name in ("natural", "VoiceGrad-6", "VoiceGrad-30", "FastVoiceGrad", "DiffVC-6", "DiffVC-30")
        ),
        "DNSMOS P.808, published",
        "| training diffvc |",
        "| evaluation |",
    ):
        assert line in table
    assert "| 3.79 |" in table  # as published
    trained = {path: path.stat() for path in (out / "runs").glob("*/last.safetensors")}
    assert {path.parent.name for path in trained} == {"student", "diffvc-encoder", "diffvc"}
    again = Reproduction(["systems"], "smoke", RECIPES, store, two_pairs, tmp_path, out, settings=["loop.steps=2"])
    wanted = replace(again, teacher=runs / "teacher" / "last.safetensors", base=str(folder))
    Trainings(wanted, Stopwatch(out / "times.json")).run()
    assert {path: path.stat() for path in trained} == trained
    other = replace(wanted, settings=["loop.steps=2", "weights.dist=1.0"])
    with pytest.raises(
        InputError, match="training student failed: it was trained with another 'weights'; name another"
    ):
        Trainings(other, Stopwatch(out / "times.json")).run()
    assert {path: path.stat() for path in trained} == trained


def test_another_base_is_refused(folder: Path, tmp_path: Path) -> None:
    first = plan(["systems"], "small", tmp_path)
    for _ in range(2):
        Trainings(first, Stopwatch(tmp_path / "times.json"))._restore_base()
    with pytest.raises(InputError, match="has trainings with another base; name another folder with -o"):
        Trainings(replace(first, base=str(folder)), Stopwatch(tmp_path / "times.json"))._restore_base()


@pytest.mark.slow
def test_a_killed_training_continues(runs: Path, store: Path, tmp_path: Path) -> None:
    wanted = replace(plan(["losses"], "smoke", tmp_path), store=store)
    checkpoints = {"teacher": runs / "teacher" / "last.safetensors"}
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "vocoder.safetensors").symlink_to(runs / "vocoder" / "last.safetensors")
    recipe = complete(wanted, TRAININGS["adv"], checkpoints)
    first = train("student", recipe | {"loop": recipe["loop"] | {"steps": 2}}, tmp_path / "adv")
    assert read_meta(first)["step"] == 2
    small = Trainings(replace(wanted, budget="small"), Stopwatch(tmp_path / "times.json"))
    assert read_meta(small._train("adv", "student", recipe, tmp_path / "adv"))["step"] == 4  # in a process of its own
    with pytest.raises(InputError, match="(?i)training bad failed.*no such"):
        train("student", recipe | {"teacher": "none.safetensors"}, tmp_path / "bad")


def test_time_not_steps_may_be_equal(runs: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training gets the time of another one; an optional one that would take too long is left out."""
    asked: dict[str, dict[str, Any]] = {}
    steps = read_yaml(RECIPES / "ablation" / "student.yaml")["loop"]["steps"]

    def pretend(self: Trainings, name: str, part: str, recipe: dict[str, Any], out: Path) -> Path:
        asked[name] = recipe
        return runs / ("vocoder" if "trial" in name else "student") / "last.safetensors"

    def meta(path: Path) -> dict[str, Any]:
        rate = 0.05 if "vocoder" in str(path) else 2.0  # steps a second
        return {"step": steps, "cost": {"steps_per_second": rate, "peak_mb": 1}, "model": {}}

    monkeypatch.setattr(Trainings, "_train", pretend)
    monkeypatch.setattr(trainings, "read_meta", meta)
    monkeypatch.setattr(trainings, "restore", lambda *_: None)
    wanted = replace(plan(["discriminators"], "small", tmp_path), store=store, jobs=2)
    made = Trainings(wanted, Stopwatch(tmp_path / "times.json")).run()
    assert asked["wave-time"]["loop"]["steps"] == steps / 2.0 * 0.05  # as many seconds, at 0.05 steps a second
    assert asked["wave-trial"]["loop"]["steps"] == PROBE_STEPS > WARM_UP
    assert "wave" not in asked
    assert made.left_out == {"wave": f"{steps} steps would take {duration(steps / 0.05)}, over the limit of 3 h 00 min"}
    assert set(made.checkpoints) == {"teacher", "student", "mel", "mel-time", "wave-time"}


def test_a_training_that_waits_leaves_its_turn_to_others(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The teacher ends only after DiffVC has begun beside it. One failure ends all that have not begun."""
    began = {name: threading.Event() for name in TRAININGS}

    def pretend(self: Trainings, name: str, part: str, recipe: dict[str, Any], out: Path) -> Path:
        began[name].set()
        if name == "teacher":
            assert began["diffvc-encoder"].wait(20)
            raise InputError("training teacher failed")
        return out

    monkeypatch.setattr(Trainings, "_train", pretend)
    monkeypatch.setattr(trainings, "restore", lambda *_: None)
    wanted = replace(plan(["systems"], "small", tmp_path), store=store, jobs=2)
    with pytest.raises(InputError, match="teacher failed"):
        Trainings(wanted, Stopwatch(tmp_path / "times.json")).run()
    assert not began["student"].is_set()


@pytest.mark.parametrize(("diverges", "goes_on"), [("adv", True), ("student", False)])
def test_a_training_that_diverges_is_left_out(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, diverges: str, goes_on: bool
) -> None:
    """The others go on, unless they need it: here `mel-time` needs the student's time."""

    def pretend(self: Trainings, name: str, part: str, recipe: dict[str, Any], out: Path) -> Path:
        if name == diverges:
            raise Diverged(f"training {name} failed: no number")
        return out / "last.safetensors"

    monkeypatch.setattr(Trainings, "_train", pretend)
    monkeypatch.setattr(trainings, "restore", lambda *_: None)
    monkeypatch.setattr(Trainings, "_fits", lambda *_: True)
    made = Trainings(replace(plan(["losses"], "small", tmp_path), store=store), Stopwatch(tmp_path / "times.json"))
    if goes_on:
        runs = made.run()
        assert runs.left_out == {"adv": "its loss grew until it was no longer a number"}
        assert set(runs.checkpoints) == {"teacher", "student", "dist"}
    else:
        with pytest.raises(InputError, match="training student failed"):
            made.run()


@pytest.mark.slow
def test_a_failure_ends_the_trainings_in_other_processes(
    runs: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other training would take days."""
    wanted = replace(plan(["losses"], "smoke", tmp_path), store=store)
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "vocoder.safetensors").symlink_to(runs / "vocoder" / "last.safetensors")
    recipe = complete(wanted, TRAININGS["student"], {"teacher": runs / "teacher" / "last.safetensors"})
    endless = recipe | {"loop": recipe["loop"] | {"steps": 10**7}}
    started = tmp_path / "runs" / "student" / "config.yaml"

    def chosen(_: Any, training: trainings.Training, __: Any) -> dict[str, Any]:
        if training == TRAININGS["student"]:
            return endless
        while not started.exists():
            time.sleep(0.1)
        return recipe | {"teacher": "none.safetensors"}

    monkeypatch.setattr(trainings, "complete", chosen)
    monkeypatch.setattr(trainings, "restore", lambda *_: None)
    teacher = runs / "teacher" / "last.safetensors"
    small = replace(wanted, budget="small", jobs=2, teacher=teacher)
    with pytest.raises(InputError, match="(?i)no such"):
        Trainings(small, Stopwatch(tmp_path / "times.json")).run()


def summary_of(rows: Any, **more: dict[str, float]) -> dict[str, Any]:
    return {row.key: {"DNSMOS": FIGURE, **more} for row in rows}


def test_the_table_of_discriminators_has_their_cost(runs: Path) -> None:
    table = TABLES["discriminators"]
    checkpoints = {row.run: runs / "student" / "last.safetensors" for row in table.rows if row.run != "wave"}
    found = {
        "summary": summary_of(row for row in table.rows if row.run != "wave"),
        "differences": {"mel": {"DNSMOS": {"mean": -0.1, "low": -0.2, "high": 0.0}}},
    }
    lines = report.section("discriminators", table, found, {}, Runs(checkpoints, {"wave": "too long"})).splitlines()
    cost = read_meta(checkpoints["mel"])["cost"]
    line = next(line for line in lines if line.startswith("| mel |"))
    assert f"| 3.00 [2.90, 3.20] | 4 | {4 / cost['steps_per_second']:.0f} s | {cost['steps_per_second']:.3g} |" in line
    assert "| mel | -0.10 [-0.20, +0.00] |" in lines
    assert "waveform: left out, too long." in lines


def test_schedules_are_compared_with_the_cosine_of_their_own() -> None:
    rows = {kind: [{"DNSMOS": 3.0 + n}] * 2 for n, kind in enumerate(("student", *SCHEDULES))}
    found = {"pairs": ["a", "b"], "rows": rows, "metrics": [{"columns": [{"name": "DNSMOS"}]}], "differences": {}}
    section = report.section("schedules", TABLES["schedules"], found | {"summary": summarise(found)}, {}, Runs())
    assert "Less cosine, S_K = 950, paired:" in section
    assert "| laplace, S_K = 997 | +3.00 [+3.00, +3.00] |" in section


def test_starts_are_plotted_for_each_kind_of_pair(tmp_path: Path, pairs: Path) -> None:
    summary = summary_of(BY_START.values(), **{"CAM++ target": FIGURE, "ECAPA source": FIGURE})
    plot_starts(summary, {"same gender": summary}, tmp_path / "starts.png")
    assert (tmp_path / "starts.png").read_bytes().startswith(b"\x89PNG")
    found = read_pairs(pairs)
    gendered = [
        replace(pair, source=replace(pair.source, gender="f"), natural=replace(pair.natural, gender=gender))
        for pair, gender in zip(found, ("f", "m", "m", None), strict=True)
    ]
    rows = [{"DNSMOS": float(i)} for i in range(4)]
    metrics = [{"columns": [{"name": "DNSMOS"}]}]
    groups = report.by_pair({"pairs": list("abcd"), "rows": {"student": rows}, "metrics": metrics}, gendered)
    assert {kind: group["student"]["DNSMOS"]["mean"] for kind, group in groups.items()} == {
        "same gender": 0.0,
        "across genders": 1.5,
    }
    section = report.section("starts", TABLES["starts"], {"summary": summary, "differences": {}}, {}, Runs())
    assert "![starts](starts.png)" in section


def test_times_add_up_over_several_starts(tmp_path: Path) -> None:
    for _ in range(2):
        with Stopwatch(tmp_path / "times.json").part("training a"):
            time.sleep(0.05)
    assert json.loads((tmp_path / "times.json").read_text())["training a"] >= 0.1
    assert [duration(s) for s in (42, 420, 3900)] == ["42 s", "7 min", "1 h 05 min"]


def test_the_report_names_what_it_lacks() -> None:
    assert "\n- utmos.jit: left out\n" in report.conditions(
        {"pairs": [], "missing": ["utmos.jit: left out"] * 2}, Runs()
    )


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    (tmp_path / "smoke").mkdir()
    (tmp_path / "smoke" / "student.yaml").write_text((RECIPES / "smoke" / "student.yaml").read_text())
    with pytest.raises(Exception, match=r"adv\.yaml: no such recipe"):
        recipe_of(replace(plan(["losses"], "smoke"), recipes=tmp_path), TRAININGS["adv"])
    assert read_yaml(RECIPES / "smoke" / "wave.yaml")["adversary"]["input"] == "wave"
