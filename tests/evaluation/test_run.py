"""The command `dev evaluate` on synthetic speech: systems, resuming, the report."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from fastvoicegrad import InputError
from fastvoicegrad.cli import app
from fastvoicegrad.evaluation import run, systems
from fastvoicegrad.evaluation.pairs import read_pairs, write_pairs
from fastvoicegrad.evaluation.run import Plan, evaluate, name_systems, score
from fastvoicegrad.evaluation.specs import make_system
from fastvoicegrad.evaluation.systems import bundle_key


def arguments(*words: object) -> list[str]:
    return [sys.executable, "-m", "fastvoicegrad", "dev", "evaluate", *map(str, words)]


def command(*words: object) -> None:
    """In this process; the evaluation's workers are processes of their own."""
    done = CliRunner().invoke(app, ["dev", "evaluate", *map(str, words)])
    assert done.exit_code == 0, done.output


def figures(out: Path) -> dict[str, Any]:
    """A report without what differs between runs: times and date."""
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    return {name: value for name, value in report.items() if name not in ("speed", "date")}


@pytest.fixture(scope="module")
def report(two_pairs: Path) -> Path:
    """All kinds of systems. The folder has the sources, shifted in pitch, as files of another tool."""
    shifted = two_pairs.parent / "shifted"
    shifted.mkdir()
    for line in two_pairs.read_text().splitlines():
        source = json.loads(line)["source"]
        wave, rate = soundfile.read(two_pairs.parent / source["path"])
        higher = np.interp(np.arange(0, len(wave) - 1, 1.2), np.arange(len(wave)), wave)
        soundfile.write(shifted / f"{source['id']}--{json.loads(line)['target']}.wav", higher, rate)
    out = two_pairs.parent / "report"
    systems = ("natural", "source", "copy=copy-synthesis", "ours=default", f"shift=folder:{shifted}")
    command(
        *systems,
        "--pairs",
        two_pairs,
        "-o",
        out,
        "--metric-weights",
        two_pairs.parent,
        "--against",
        "copy",
        "--jobs",
        2,
    )
    return out


@pytest.mark.slow
def test_every_system_has_its_figures(report: Path) -> None:
    found = json.loads((report / "report.json").read_text())
    assert list(found["rows"]) == ["natural", "source", "copy", "ours", "shift"]
    f0 = {name: row["F0 Hz"]["mean"] for name, row in found["summary"].items()}
    deviation = {name: row["F0 deviation semitones"]["mean"] for name, row in found["summary"].items()}
    assert deviation["source"] == pytest.approx(12 * np.log2(200 / 110), abs=1)
    assert max(deviation["natural"], deviation["ours"]) < 1.5
    assert f0["shift"] == pytest.approx(1.2 * f0["source"], rel=0.05)
    assert found["summary"]["source"]["F0 correlation"]["mean"] == pytest.approx(1, abs=1e-3)
    assert "F0 correlation" not in found["summary"]["natural"]  # it has other sentences
    assert found["summary"]["ours"]["duration ratio"]["mean"] == pytest.approx(1, abs=1e-3)
    assert set(found["differences"]) == {"natural", "source", "ours", "shift"}
    assert set(found["speed"]) == {"ours"}
    speed, apart = found["speed"]["ours"], ("", "content + converter ")
    parts = {name.removesuffix("real-time factor"): x for name, x in speed.items() if name.endswith("real-time factor")}
    assert sum(x for stage, x in parts.items() if stage not in apart) == pytest.approx(speed["real-time factor"])
    assert found["speed"]["ours"]["converter real-time factor"] < found["speed"]["ours"]["real-time factor"]
    assert found["speed"]["ours"]["loaded peak MB"] < found["speed"]["ours"]["conversion peak MB"]
    assert any("ecapa.ckpt" in line for line in found["missing"])
    assert len(list((report / "waves" / "ours").glob("*.flac"))) == 2


@pytest.mark.slow
def test_the_page_links_to_nothing(report: Path) -> None:
    page = (report / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!#)|https?://', page)
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    shown = {key for case in data["cases"].values() for key in case.values()}
    assert shown == set(data["media"])
    assert all(m["sound"].startswith("data:audio/ogg") for m in data["media"].values())
    assert "95 % confidence" in (report / "report.md").read_text()


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_report(report: Path, two_pairs: Path) -> None:
    out = two_pairs.parent / "killed"
    words = (
        "source",
        "ours=default",
        "--pairs",
        two_pairs,
        "--metric-weights",
        two_pairs.parent,
        "--no-speed",
        "--jobs",
        1,
    )
    run = subprocess.Popen(arguments(*words, "-o", out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while run.poll() is None and len(list(out.glob("cache/*/*.json"))) < 3:
        time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert not (out / "report.json").exists()
    command(*words, "-o", out)
    whole, resumed = figures(report), figures(out)
    for name in ("source", "ours"):
        assert resumed["rows"][name] == whole["rows"][name]
        assert resumed["summary"][name] == whole["summary"][name]


@pytest.mark.slow
def test_finished_work_is_not_repeated(report: Path, two_pairs: Path) -> None:
    def made() -> dict[Path, int]:
        return {p: p.stat().st_mtime_ns for p in report.glob("cache/*/*") if p.is_file()}

    before, first = made(), figures(report)
    words = ("--pairs", two_pairs, "-o", report, "--metric-weights", two_pairs.parent, "--no-speed", "--jobs", 1)
    command("natural", "ours=default", *words)
    assert made() == before
    assert figures(report)["rows"]["ours"] == first["rows"]["ours"]


@pytest.mark.parametrize(
    ("named", "advice"),
    [
        (["nowhere"], "nowhere"),
        (["default@x"], "number of steps"),
        (["teacher.safetensors@6"], "no such checkpoint"),
        (["natural", "--against", "ours"], "not among the systems"),
        (["natural", "natural"], "name of its own"),
    ],
)
def test_bad_systems_are_refused_with_advice(two_pairs: Path, tmp_path: Path, named: list[str], advice: str) -> None:
    words = ["dev", "evaluate", *named, "--pairs", str(two_pairs), "-o", str(tmp_path), "--no-speed"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert advice in " ".join(done.output.split())


def test_a_recording_that_is_gone_is_refused_before_any_work(two_pairs: Path, tmp_path: Path) -> None:
    first, *others = read_pairs(two_pairs)
    gone = replace(first, natural=replace(first.natural, path=str(tmp_path / "gone.wav")))
    write_pairs(tmp_path / "pairs.jsonl", [gone, *others])
    words = ["dev", "evaluate", "source", "--pairs", tmp_path / "pairs.jsonl", "-o", tmp_path / "report", "--no-speed"]
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 2
    assert "gone.wav: no such file" in " ".join(done.output.split())


def test_a_report_needs_a_folder(two_pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "report").touch()
    words = ["dev", "evaluate", "source", "--pairs", two_pairs, "-o", tmp_path / "report", "--no-speed"]
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 2
    assert "is not a folder" in " ".join(done.output.split())


@pytest.mark.parametrize("command", ["evaluate source", "diagnose", "reference-length"])
def test_a_folder_of_weights_that_is_missing_is_named(two_pairs: Path, tmp_path: Path, command: str) -> None:
    words = [*command.split(), "--pairs", two_pairs, "-o", tmp_path / "out", "--metric-weights", tmp_path / "nope"]
    done = CliRunner().invoke(app, ["dev", *map(str, words)])
    assert done.exit_code == 2
    assert "nope: no such folder of metric weights" in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()


def test_what_a_metric_cannot_do_is_one_line(two_pairs: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    (weights / "moonshine").mkdir(parents=True)
    words = ["source", "--pairs", two_pairs, "-o", tmp_path / "out", "--metric-weights", weights, "--no-speed"]
    done = CliRunner().invoke(app, ["dev", "evaluate", *map(str, words), "--jobs", "1"])
    assert done.exit_code == 2
    assert "moonshine has no encoder_model.ort or .onnx" in " ".join(done.output.split())


def test_pairs_below_a_file_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made a folder"):
        write_pairs(tmp_path / "file" / "pairs.jsonl", [])


def test_pairs_never_replace_their_manifest(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("{}\n")
    done = CliRunner().invoke(app, ["dev", "pairs", str(manifest), "-o", f"{tmp_path}/./manifest.jsonl"])
    assert done.exit_code == 2
    assert "is the manifest" in " ".join(done.output.split())
    assert manifest.read_text() == "{}\n"


def test_a_path_may_have_an_at_sign(tmp_path: Path) -> None:
    folder = tmp_path / "me@home"
    folder.mkdir()
    for spec in (f"{folder}/none.safetensors@6", f"{folder}/none.safetensors"):
        with pytest.raises(InputError, match="no such checkpoint"):
            make_system(spec, tmp_path)


def test_other_code_has_other_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    before = bundle_key(None)
    monkeypatch.setattr(systems, "program_key", lambda: "other")
    assert bundle_key(None) != before


def test_systems_are_named_by_their_specs() -> None:
    named = name_systems(["natural", "a=bundles/x@6", "runs/teacher/last.safetensors@30", "copy-synthesis:default"])
    assert list(named) == ["natural", "a", "last.safetensors@30", "copy-synthesis-default"]
    with pytest.raises(InputError, match="name of its own"):
        name_systems(["a=natural", "a=source"])


class DyingPool:
    """Its processes are killed."""

    def __init__(self, *_: object) -> None:
        pass

    def submit(self, *_: object) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(BrokenProcessPool("terminated abruptly"))
        return future

    def shutdown(self, **_: object) -> None:
        pass


def test_a_worker_that_dies_is_one_line(two_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "ProcessPoolExecutor", DyingPool)
    with pytest.raises(InputError, match="^a process ended by itself, .*; try fewer --jobs, or start again"):
        score(Plan({"source": "source"}, str(two_pairs), str(tmp_path), str(tmp_path)), jobs=1)


def test_a_report_is_written_where_its_speed_cannot_be_measured(
    two_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(*_: object) -> None:
        raise BrokenProcessPool("terminated abruptly")

    written: list[dict[str, Any]] = []
    monkeypatch.setattr(run, "score", lambda *_: {"rows": {}})
    monkeypatch.setattr(run, "write_report", lambda report, *_: written.append(report))
    monkeypatch.setattr(run, "measure", dying)
    plan = Plan({"source": "source", "ours": "default"}, str(two_pairs), str(tmp_path), str(tmp_path))
    with pytest.raises(InputError, match="^the speed of ours cannot be measured: a process ended .*; try again, or"):
        evaluate(plan, "source")
    assert [report["speed"] for report in written] == [{}]


def test_workers_end_with_the_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    watched = list[bool]()
    monkeypatch.setattr(run, "end_with_parent", lambda: watched.append(True))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(run, "_evaluator", None, raising=False)
    run._start(Plan({}, "", "", ""))
    assert watched == [True]


def test_a_folder_of_weights_that_lacks_a_file_is_refused_before_any_work(two_pairs: Path, tmp_path: Path) -> None:
    pytest.importorskip("jiwer")
    pytest.importorskip("tokenizers")
    (tmp_path / "moonshine").mkdir()
    for name in ("encoder_model.onnx", "decoder_model_merged.ort"):
        (tmp_path / "moonshine" / name).touch()
    with pytest.raises(InputError, match=r"moonshine has no tokenizer\.json; see 'Metric weights' of the manual"):
        score(Plan({"source": "source"}, str(two_pairs), str(tmp_path / "out"), str(tmp_path)), jobs=1)
