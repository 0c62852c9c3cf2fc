"""`fastvoicegrad adapt` on a tiny bundle: the same bytes after a kill, refusals, and an ordinary voice at the end."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

pytest.importorskip("torch")

from fastvoicegrad import InputError, Voice, VoiceConverter
from fastvoicegrad.training.adapt import run, settings, streams
from fastvoicegrad.training.adapt.recordings import read_voice
from fastvoicegrad.training.adapt.report import Comparison, Report
from fastvoicegrad.training.adapt.run import Budget, NoGain, adapt, prepared
from fastvoicegrad.training.adapt.settings import AdaptConfig
from fastvoicegrad.training.adapt.trainer import AdaptTrainer
from fastvoicegrad.training.checkpoint import read_meta
from fastvoicegrad.training.loop import NonFiniteLoss
from fastvoicegrad.training.task import Scalars
from tests.conftest import RATE, vowels

STEPS = 6


def quiet(sentence: str) -> None:
    pass


def accepted(report: Report) -> Report:
    """Untrained networks give no likeness, so what the report finds is left out."""
    better = {name: value + 1 for name, value in report.comparisons[0].before.items()}
    first = report.comparisons[0]
    return Report(report.name, [Comparison(first.title, first.before, better, 1)], report.encoder, {}, report.notes)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validations every two steps."""
    monkeypatch.setattr(settings, "VALIDATE_EVERY", 2)


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    compare = run.compare
    monkeypatch.setattr(run, "compare", lambda *arguments: accepted(compare(*arguments)))


def trained(
    recordings: Path, output: Path, bundle: Path, steps: int = STEPS, stream_bundle: Path | None = None
) -> Report:
    budget = Budget(steps=steps, threads=1)
    return adapt([recordings], output, budget, bundle=bundle, stream_bundle=stream_bundle, warn=quiet, note=quiet)


@pytest.mark.slow
@pytest.mark.usefixtures("lenient")
def test_an_adapted_voice_is_an_ordinary_voice(speech_folder: Path, bundle: Path, tmp_path: Path) -> None:
    output = tmp_path / "anna.voice"
    trained(speech_folder, output, bundle)
    voice, converter = Voice.load(output), VoiceConverter.load(bundle)
    assert voice.adapter is not None
    assert len(voice.adapter.values) == converter.bundle.config.adapter
    assert output.stat().st_size < 2e6
    assert len(voice.sources) == 6
    converted = converter.convert(vowels(1.0), RATE, output)
    assert converted.shape == (RATE,)
    assert {"index.html", "report.json", "plan.json"} <= {path.name for path in (tmp_path / "anna.adapt").iterdir()}
    assert not (tmp_path / "anna.adapt" / "networks").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("lenient")
def test_a_killed_run_continues_to_the_same_bytes(
    speech_folder: Path, bundle: Path, stream_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams are adapted too, whatever they gain."""
    monkeypatch.setattr(streams, "STEPS", 3)
    monkeypatch.setattr(streams, "gains", lambda *arguments: True)
    whole, killed = tmp_path / "whole" / "anna.voice", tmp_path / "killed" / "anna.voice"
    for output in (whole, killed):
        output.parent.mkdir()
    monkeypatch.setattr(AdaptConfig, "patience", 100)
    trained(speech_folder, whole, bundle, stream_bundle=stream_bundle)
    comparisons = json.loads((tmp_path / "whole" / "anna.adapt" / "report.json").read_text())["comparisons"]
    assert comparisons[-1]["title"] == "Held-back sentences as a stream"
    adapter = Voice.load(whole).adapter
    assert adapter is not None
    assert adapter.stream is not None
    step = AdaptTrainer.train_step

    def until_three(trainer: AdaptTrainer) -> Scalars:
        if trainer.step == 3:
            raise KeyboardInterrupt
        return step(trainer)

    monkeypatch.setattr(AdaptTrainer, "train_step", until_three)
    with pytest.raises(KeyboardInterrupt):
        trained(speech_folder, killed, bundle, stream_bundle=stream_bundle)
    assert read_meta(killed.with_suffix(".adapt") / "last.safetensors")["step"] == 2
    monkeypatch.setattr(AdaptTrainer, "train_step", step)
    trained(speech_folder, killed, bundle, stream_bundle=stream_bundle)
    assert killed.read_bytes() == whole.read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("lenient")
@pytest.mark.parametrize(("seconds", "precision", "steps"), [([2.0, 1.0], "bf16", 6), ([1.0, 4.0], "no", 6)])
def test_minutes_become_steps_in_the_faster_precision(
    speech_folder: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    seconds: list[float], precision: str, steps: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(run, "FEWEST", 1)
    monkeypatch.setattr(run, "_seconds_a_step", lambda trainer, most=0.0: seconds.pop(0))
    notes, used, step = list[str](), set[str](), AdaptTrainer.train_step

    def watched(trainer: AdaptTrainer) -> Scalars:
        used.add(trainer.accelerator.mixed_precision)
        return step(trainer)

    monkeypatch.setattr(AdaptTrainer, "train_step", watched)
    budget = Budget(minutes=6 / 54, threads=1)
    adapt([speech_folder], tmp_path / "anna.voice", budget, bundle=bundle, warn=quiet, note=notes.append)
    plan = json.loads((tmp_path / "anna.adapt" / "plan.json").read_text())
    assert (plan["steps"], plan["precision"], used) == (steps, precision, {precision})
    how = " in bfloat16" if precision == "bf16" else ""
    assert f"training for {steps} steps with 1 thread{how}" in notes


@pytest.mark.parametrize(("most", "seconds", "steps"), [(3.0, 5.0, 1), (6.0, 5.0, 4)])
def test_the_trial_of_a_precision_ends_at_a_hopeless_step(
    monkeypatch: pytest.MonkeyPatch, most: float, seconds: float, steps: int
) -> None:
    clock = SimpleNamespace(now=0.0)

    def step() -> None:
        clock.now += seconds
        taken.append(seconds)

    taken, trainer = list[float](), SimpleNamespace(train_step=step)
    monkeypatch.setattr(run, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    assert run._seconds_a_step(cast(AdaptTrainer, trainer), most) == seconds
    assert len(taken) == steps


@pytest.mark.slow
def test_a_voice_that_got_worse_is_not_written(
    speech_folder: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Report, "problem", "the likeness did not rise")
    with pytest.raises(NoGain, match=r"not written: the likeness did not rise; see .*index\.html"):
        trained(speech_folder, tmp_path / "anna.voice", bundle, steps=1)
    assert not (tmp_path / "anna.voice").exists()
    assert (tmp_path / "anna.adapt" / "index.html").exists()


def test_a_folder_of_another_adaptation_is_refused(speech_folder: Path, bundle: Path, tmp_path: Path) -> None:
    converter = VoiceConverter.load(bundle, 1)
    work = prepared(converter, [read_voice(converter.bundle, [speech_folder], "anna", quiet)], tmp_path)
    budget = Budget(steps=STEPS, threads=1)
    plan = run._planned(work, bundle, budget, quiet)
    assert run._planned(work, bundle, replace(budget, minutes=3.0), quiet) == plan  # they do not count beside steps
    saved = json.loads((tmp_path / "plan.json").read_text())
    for changed, problem in (
        ({"version": "0.1.0"}, "by another version of the package"),
        ({"digest": ""}, "to other recordings, or of another bundle"),
        ({"trains": "student"}, "of another kind"),
        ({"asked": STEPS + 1}, "with other --steps"),
        ({"asked": None, "minutes": 3.0}, "with other --steps"),
    ):
        (tmp_path / "plan.json").write_text(json.dumps(saved | changed))
        with pytest.raises(InputError, match=rf"belongs to an adaptation {problem}; delete it"):
            run._planned(work, bundle, budget, quiet)


def test_a_training_that_diverges_is_one_line(
    speech_folder: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(trainer: AdaptTrainer) -> Scalars:
        raise NonFiniteLoss

    monkeypatch.setattr(AdaptTrainer, "run", diverge)
    with pytest.raises(InputError, match=r"the training diverged; delete .*anna\.adapt"):
        trained(speech_folder, tmp_path / "anna.voice", bundle)
    assert not (tmp_path / "anna.adapt" / "networks").exists()


def test_a_bundle_without_adapters_is_refused(speech_folder: Path, bundle: Path, tmp_path: Path) -> None:
    older = tmp_path / "older"
    shutil.copytree(bundle, older)
    config = json.loads((older / "config.json").read_text())
    (older / "config.json").write_text(json.dumps(config | {"adapter": 0}))
    with pytest.raises(InputError, match="takes no adapted voices"):
        trained(speech_folder, tmp_path / "anna.voice", older)


def test_a_bad_stream_bundle_is_refused_before_any_training(
    speech_folder: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "trained", lambda *arguments: pytest.fail("it trained"))
    with pytest.raises(InputError, match="no such bundle|missing|not found|cannot"):
        trained(speech_folder, tmp_path / "anna.voice", bundle, stream_bundle=tmp_path / "none.zip")


@pytest.mark.slow
def test_the_command_trains_in_a_process_of_its_own(speech_folder: Path, bundle: Path, tmp_path: Path) -> None:
    """Untrained networks may gain or not; both ends are orderly."""
    output = tmp_path / "anna.voice"
    command = [sys.executable, "-m", "fastvoicegrad", "adapt", str(speech_folder), "-o", str(output)]
    options = ["--steps", "2", "--threads", "1", "--bundle", str(bundle)]
    result = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert result.returncode in (0, 1), result.stderr
    assert output.exists() == (result.returncode == 0)
    assert "s of speech to train on" in result.stdout
    if result.returncode:
        assert "the voice is not written" in result.stderr
