"""A reproduction checks all that it needs before it writes anything."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from fastvoicegrad import InputError
from fastvoicegrad.cli import app
from fastvoicegrad.evaluation.pairs import read_pairs
from fastvoicegrad.evaluation.reproduce import checks, reproduce, run
from fastvoicegrad.evaluation.reproduce.checks import (
    check_inputs,
    check_manifest,
    check_pairs,
    check_recipes,
    check_store,
    left_out_metrics,
)
from fastvoicegrad.evaluation.weights import check_weights
from fastvoicegrad.files import lock
from tests.evaluation.reproduce.plans import RECIPES, plan


@pytest.mark.parametrize(
    ("tables", "budget", "hint"),
    [("tables", "smoke", "systems"), ("losses", "huge", "small"), ("all", "smoke", "--manifest")],
)
def test_wrong_requests_are_refused_in_a_line(tables: str, budget: str, hint: str, tmp_path: Path) -> None:
    words = ["dev", "reproduce", tables, "--budget", budget, "--store", tmp_path, "--pairs", tmp_path, "-o", tmp_path]
    refused = CliRunner().invoke(app, list(map(str, words)))
    assert refused.exit_code == 2
    assert hint in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("option", "value", "hint"),
    [
        ("--store", "nosuch", "--store: nosuch is not a feature store; make one with 'fastvoicegrad dev prepare'"),
        ("--store", "damaged", "--store: damaged/index.jsonl is damaged"),
        ("--pairs", "nosuch", "--pairs: nosuch: no such file; make one with 'fastvoicegrad dev pairs'"),
        ("--pairs", "text", "--pairs: text, line 1 is not a pair"),
        ("--recipes", "nosuch", "--recipes nosuch: nosuch/smoke is missing; name the folder 'recipes' of a checkout"),
        ("--set", "loop.stepz=2", "stepz"),
        ("--set", "loop.steps", "write it as name.name=value"),
        ("--teacher", "nosuch", "--teacher: nosuch: no such file; name a checkpoint"),
        ("--teacher", "text", "--teacher: text is no checkpoint of this package"),
        ("--base", "nosuch", "nosuch: no such bundle"),
        ("--manifest", "nosuch", "--manifest: nosuch: no such manifest"),
        ("--metric-weights", "nosuch", "nosuch: no such folder"),
        ("--metric-weights", "text", "text: no such folder"),
        ("--set", "vocoder=text", "--set vocoder=PATH: text is no checkpoint"),
        ("-o", "text", "-o text: text is not a folder; name a new folder"),
        ("-o", "text/out", "is not a folder; name a new folder"),
    ],
)
def test_every_input_is_checked_before_anything_is_written(
    store: Path, two_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, value: str, hint: str
) -> None:
    (tmp_path / "text").write_text("no pair, no checkpoint, no folder")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "index.jsonl").write_text("{}\n")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    given = {"--store": store, "--pairs": two_pairs, "--recipes": RECIPES, "-o": "out", option: value}
    tables = ["systems", "languages"] if option == "--manifest" else ["systems"]
    words = [str(word) for pair in given.items() for word in pair]
    refused = CliRunner().invoke(app, ["dev", "reproduce", *tables, "--budget", "smoke", *words])
    assert refused.exit_code == 2, refused.output
    assert hint in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_recordings_of_pairs_and_arrays_of_the_store_must_be_there(
    store: Path, two_pairs: Path, tmp_path: Path
) -> None:
    pairs = [replace(pair, natural=replace(pair.natural, path="gone.wav")) for pair in read_pairs(two_pairs)]
    with pytest.raises(InputError, match=r"gone\.wav: no such recording; make the pairs again"):
        check_pairs(pairs)
    (tmp_path / "index.jsonl").write_text((store / "index.jsonl").read_text())
    with pytest.raises(InputError, match=r"mel\.npy is missing; run 'fastvoicegrad dev prepare'"):
        check_store(replace(plan(["losses"], "smoke"), store=tmp_path))


@pytest.mark.parametrize(
    ("tables", "budget", "settings", "missing"),
    [
        ("losses", "smoke", [], "content_unperturbed"),
        ("losses", "small", [], "parallel"),  # of the teacher
        ("losses", "smoke", ["data.parallel=0.5"], "parallel"),
        ("losses", "smoke", ["weights.speaker=1", "speaker=x"], "speaker_teacher"),
        ("losses", "smoke", ["weights.recogniser=1", "recogniser=x"], "wave"),
        ("losses", "smoke", ["data.context=8"], "units"),
        ("systems", "smoke", [], "units"),
    ],
)
def test_every_array_that_a_training_reads_is_looked_for(
    store: Path, tmp_path: Path, tables: str, budget: str, settings: list[str], missing: str
) -> None:
    for path in store.iterdir():
        if path.stem != missing:
            (tmp_path / path.name).symlink_to(path)
    wanted = replace(plan([tables], budget), store=tmp_path, settings=settings)
    with pytest.raises(InputError, match=rf"{missing}\.npy is missing; run 'fastvoicegrad dev prepare'"):
        check_store(wanted)
    (tmp_path / f"{missing}.npy").symlink_to(store / "pitch.npy")
    check_store(wanted)


def test_arrays_of_a_teacher_that_is_there_are_not_needed(store: Path) -> None:
    assert not (store / "parallel.npy").exists()
    check_store(replace(plan(["losses"], "small"), store=store, teacher=Path("teacher.safetensors")))


def test_metrics_that_the_tables_will_lack_are_named_at_first(tmp_path: Path) -> None:
    lines = left_out_metrics(replace(plan(["losses"], "small"), metric_weights=tmp_path))
    assert f"ge2e.pt: left out, it is not in {tmp_path}" in lines
    (tmp_path / "ge2e.pt").touch()
    lines = left_out_metrics(replace(plan(["languages"], "small"), metric_weights=tmp_path))
    assert not any(line.startswith("ge2e") for line in lines)
    assert len(lines) == len(set(lines))
    assert left_out_metrics(replace(plan(["speed"], "small"), metric_weights=tmp_path)) == []


def test_the_usual_folder_of_metric_weights_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_weights(Path("metric-weights"))


@pytest.mark.parametrize("budget", ["smoke", "small", "paper"])
def test_the_recipes_of_all_tables_pass_the_check(budget: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[str, str]] = []
    monkeypatch.setattr(checks, "load_vocoder", lambda *given: opened.append(given))
    check_recipes(replace(plan(["all"], budget), settings=[f"vocoder={__file__}"]))
    assert opened == [(__file__, "hifigan" if budget == "paper" else "spectral")]


def test_a_vocoder_that_cannot_be_opened_is_found_before_the_teacher_trains() -> None:
    with pytest.raises(InputError, match=r"--set vocoder=PATH: .*HiFi-GAN"):
        check_recipes(replace(plan(["losses"], "paper"), settings=[f"vocoder={__file__}"]))


def test_a_missing_vocoder_is_found_before_the_teacher_trains() -> None:
    with pytest.raises(InputError, match="generator_universal.pth.tar is missing; name HiFi-GAN's weights with --set"):
        check_recipes(plan(["losses"], "paper"))


def test_parallel_recordings_of_pairs_must_be_there(two_pairs: Path) -> None:
    first, *others = read_pairs(two_pairs)
    gone = replace(first, parallel=replace(first.natural, path="gone.wav"))
    with pytest.raises(InputError, match=r"gone\.wav: no such recording; make the pairs again"):
        check_pairs([gone, *others])


def test_recordings_of_the_table_of_languages_must_be_there(tmp_path: Path) -> None:
    rows = [("en", "test", f"en{n % 2}") for n in range(8)] + [("fr", "train", "fr"), ("de", "train", "de")]
    lines = [
        {"id": str(n), "path": f"{n}.wav", "corpus": "c", "split": split, "speaker": voice, "language": language}
        | {"duration": 3.0, "sample_rate": 16000}
        for n, (language, split, voice) in enumerate(rows)
    ]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for n in range(9):
        (tmp_path / f"{n}.wav").touch()
    with pytest.raises(InputError, match=r"9\.wav: no such recording; correct its path in the manifest"):
        check_manifest(tmp_path / "manifest.jsonl")
    (tmp_path / "9.wav").touch()
    check_manifest(tmp_path / "manifest.jsonl")


def test_a_folder_of_weights_must_hold_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jiwer")
    pytest.importorskip("tokenizers")
    for name in ("check_recipes", "check_store", "check_pairs", "read_pairs"):
        monkeypatch.setattr(checks, name, lambda _: None)
    wanted = replace(plan(["losses"], "small", tmp_path / "out"), metric_weights=tmp_path)
    (tmp_path / "moonshine").mkdir()
    with pytest.raises(InputError, match=r"moonshine has no encoder_model\.ort or \.onnx; see 'Metric weights' of"):
        check_inputs(wanted)
    for name in ("encoder_model.ort", "decoder_model_merged.onnx", "tokenizer.json"):
        (tmp_path / "moonshine" / name).touch()
    check_inputs(wanted)


def test_a_second_reproduction_in_one_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "check_inputs", lambda _: None)
    with open(tmp_path / ".lock", "ab") as file:
        assert lock(file.fileno())
        with pytest.raises(InputError, match="another run works in .*; wait for its end, or name another output"):
            reproduce(plan(["speed"], "smoke", tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
