from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from fastvoicegrad import InputError  # noqa: E402
from fastvoicegrad.cli.dev.voices import PresetsRecipe  # noqa: E402
from fastvoicegrad.training.adapt.settings import Plan, adapter_loop  # noqa: E402
from fastvoicegrad.training.data.perturb import PerturbConfig  # noqa: E402
from fastvoicegrad.training.export import ExportSettings  # noqa: E402
from fastvoicegrad.training.models.attention import AttentionConfig  # noqa: E402
from fastvoicegrad.training.models.stream import StreamConverterConfig  # noqa: E402
from fastvoicegrad.training.recipe import build, overridden, read_yaml  # noqa: E402
from fastvoicegrad.training.stream_export import StreamExportSettings  # noqa: E402
from fastvoicegrad.training.task import LoopConfig  # noqa: E402
from fastvoicegrad.training.tasks.registry import TASKS, make_task, part_recipe, section  # noqa: E402
from fastvoicegrad.training.tasks.speaker import SpeakerRecipe  # noqa: E402
from fastvoicegrad.training.tasks.stream_converter import StreamConverterRecipe  # noqa: E402
from fastvoicegrad.training.tasks.student_recipe import EXTRA_WEIGHTS, PAPER_WEIGHTS, StudentRecipe  # noqa: E402
from tests.cli.conftest import Inside, inside  # noqa: E402, F401
from tests.training.tasks.tiny_runs import RECIPES, settings, stream_settings, trainer  # noqa: E402


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("*.yaml")), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_every_recipe_can_be_read(path: Path) -> None:
    kinds = {part: recipe for part, (recipe, _) in TASKS.items()}
    kinds |= {"export": ExportSettings, "export-stream": StreamExportSettings, "voices": PresetsRecipe}
    data = read_yaml(path)
    parts = [part for part in data if part in kinds and path.stem == "streaming"]  # a recipe of several parts
    of_one = path.stem if path.stem in kinds else path.stem.partition("-")[0]  # student-joint is a recipe of student
    assert parts or of_one in kinds or path.parent.name in ("ablation", "paper", "smoke")
    parts = parts or [of_one if of_one in kinds else "student"]
    for part in parts:
        build(kinds[part], section(part, data) if path.stem == "streaming" else data)


def test_the_release_is_exported_with_its_settings() -> None:
    settings = build(ExportSettings, read_yaml(RECIPES / "release" / "export.yaml"))
    assert (settings.postfilter.smoothing, settings.postfilter.sharpening) == (0.12, 1.25)
    assert settings.postfilter.match_variance
    assert (settings.temperature, settings.guidance, settings.feedback) == (0.5, 0.0, 0.4)
    assert set(settings.notes) == {"license", "method", "training_data", "teachers", "intended_use"}


def test_losses_judge_the_sound_behind_the_releases_post_filter() -> None:
    student, export = (read_yaml(RECIPES / "release" / f"{name}.yaml") for name in ("student-sound", "export"))
    assert student["judge_sound"]
    assert student["postfilter"].items() <= export["postfilter"].items()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("guidance=11", "guidance cannot be used"),
        ("postfilter.smoothing=0.6", r"postfilter cannot be used .*\.smoothing"),
        ("guidance_cosines=0", "guidance_cosines cannot be used"),
        ("temperature=.nan", "temperature cannot be written"),
        ("encoder=abc", "encoder cannot be used"),
        (f"name={'x' * 201}", "name cannot be used"),
        ("notes.date=2026-11-30", "notes cannot be written as JSON .*; use finite numbers, and text in quotes"),
        ("notes.figures={score: .nan}", "notes cannot be written"),
    ],
)
def test_export_settings_that_no_bundle_may_have_are_refused(change: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(ExportSettings, read_yaml(RECIPES / "release" / "export.yaml", [change]))


@pytest.mark.parametrize(
    ("change", "name"),
    [("sharpening=12", "sharpening"), (f"name={'x' * 201}", "name"), ("notes.date=2026-11-30", "notes")],
)
def test_export_settings_that_no_stream_bundle_may_have_are_refused(change: str, name: str) -> None:
    with pytest.raises(InputError, match=f"{name} cannot be"):
        build(StreamExportSettings, read_yaml(RECIPES / "release" / "export-stream.yaml", [change]))


def test_an_ablation_holds_only_its_change() -> None:
    whole, part = (read_yaml(RECIPES / "ablation" / f"{name}.yaml") for name in ("student", "adv"))
    assert part == whole | {"weights": whole["weights"] | {"dist": 0.0}}
    clean = read_yaml(RECIPES / "ablation" / "clean.yaml", ["schedule.start=3"])
    assert clean["schedule"] == {"start": 3, "initial": "clean"}


def test_no_value_is_an_empty_text() -> None:
    given = {"loop": {"start_from": "init.safetensors"}}
    changed = overridden(given, ["loop.start_from=", "loop.steps=3"])
    assert changed == {"loop": {"start_from": "", "steps": 3}}
    assert given == {"loop": {"start_from": "init.safetensors"}}


def test_a_table_keeps_its_other_defaults() -> None:
    data = read_yaml(RECIPES / "smoke" / "student.yaml")
    recipe = build(StudentRecipe, data | {"weights": {"dist": 1.0}})
    assert recipe.weights == {**PAPER_WEIGHTS, **EXTRA_WEIGHTS, "dist": 1.0}


@pytest.mark.parametrize("part", TASKS)
def test_a_table_with_few_settings_keeps_the_parts_own_defaults(part: str) -> None:
    """They may differ from those of the table's dataclass: the speaker encoder's perturbations stretch nothing."""
    kind, _ = TASKS[part]
    path = RECIPES / "smoke" / ("streaming.yaml" if part.startswith("stream-") else f"{part}.yaml")
    data = section(part, read_yaml(path))
    for entry in dataclasses.fields(kind):
        if entry.default_factory is dataclasses.MISSING or not dataclasses.is_dataclass(entry.default_factory()):
            continue
        default: Any = entry.default_factory()
        for table in ({}, *({f.name: {}} for f in dataclasses.fields(default) if _is_table(default, f.name))):
            assert getattr(build(kind, data | {entry.name: table}), entry.name) == default, (entry.name, table)


def _is_table(settings: Any, name: str) -> bool:
    return dataclasses.is_dataclass(getattr(settings, name))


def test_one_setting_changes_only_itself() -> None:
    speaker = build(SpeakerRecipe, read_yaml(RECIPES / "smoke" / "speaker.yaml", ["perturb.noise=0.5"]))
    assert speaker.perturb == PerturbConfig(formant=1.0, pitch=1.0, equaliser=0.15, gain=0.2, noise=0.5)
    data = section("stream-converter", read_yaml(RECIPES / "smoke" / "streaming.yaml"))
    converter = build(StreamConverterRecipe, data | {"model": {"attention": {"heads": 8}}})
    assert converter.model == StreamConverterConfig(attention=AttentionConfig(width=128, layers=1, heads=8))


@pytest.mark.parametrize("part", TASKS)
def test_a_recipe_of_another_part_is_refused(part: str) -> None:
    """Some of its settings have names of parts, and hold paths."""
    other = RECIPES / ("smoke/content.yaml" if part == "student" else "release/student.yaml")
    with pytest.raises(InputError, match="recipe: "):
        make_task(part, read_yaml(other))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("clip=0", "clip must be above 0, got 0"),
        ("clip=-1", "clip must be above 0"),
        ("clip=.nan", "clip must be above 0, got nan"),
        ("learning_rate=0", "learning_rate must be above 0"),
        ("learning_rate=-1e-3", "learning_rate must be above 0"),
        ("warmup=-1", "warmup must be 0 or more, got -1"),
        ("cooldown=-0.1", "cooldown, a share of the steps, must lie between 0 and 1"),
        ("cooldown=1.5", "cooldown, a share of the steps, must lie between 0 and 1, got 1.5"),
        ("ema=1", "ema must be 0 or more and below 1, got 1"),
        ("ema=-0.1", "ema must be 0 or more and below 1"),
        ("betas=[1.0, 0.9]", r"betas\[0\] must be 0 or more and below 1"),
        ("betas=[0.9, -0.5]", r"betas\[1\] must be 0 or more and below 1, got -0.5"),
        ("weight_decay=-1", "weight_decay must be 0 or more"),
        ("adversary_rate=-1", "adversary_rate must be 0 or more"),
        ("batch_size=-1", "batch_size must be 0 or more"),
        ("batch_size=0", "batch_size must be 1 or more, got 0"),
        ("mixed_precision=fp16", "mixed_precision is one of no, bf16, not 'fp16'"),
    ],
)
def test_settings_of_a_run_out_of_their_range_are_refused(store: Path, change: str, message: str) -> None:
    changes = [f"loop.{change}", f"store={store}"]
    with pytest.raises(InputError, match=f"loop.{message}"):
        make_task("pitch", read_yaml(RECIPES / "smoke" / "pitch.yaml", changes))


def test_an_adaptation_chooses_its_batch_by_itself() -> None:
    assert adapter_loop(Plan(10, 1)).batch_size == 0


def test_wrong_settings_are_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lerning_rate"):
        trainer(store, tmp_path, "teacher", "loop.lerning_rate=1")
    with pytest.raises(InputError, match="'steps' is a value"):
        trainer(store, tmp_path, "teacher", "loop.steps.more=1")
    with pytest.raises(InputError, match="'tenor' cannot be trained"):
        make_task("tenor", {})
    for change, message in (
        ("weights.recognizer=200", "no 'recognizer' in 'weights'; there are adv, fm, dist, "),
        ("guidance.sourc=1", "no 'sourc' in 'guidance'"),
        ("schedule.start=0", "schedule.start must lie between 1 and schedule.steps"),
        ("distill_steps=[0, 9]", "distill_steps must be two steps in order"),
        ("loop.validate_every=0", "loop.validate_every must be 1 or more, got 0"),
        ("loop.seed=-1", "loop.seed must be 0 or more"),
        ("loop.mixed_precision=bfloat16", "loop.mixed_precision is one of no, bf16, not 'bfloat16'"),
    ):
        with pytest.raises(InputError, match=message):
            build(StudentRecipe, read_yaml(RECIPES / "smoke" / "student.yaml", [change]))
    with pytest.raises(InputError, match="is not YAML"):
        overridden({}, ["loop.steps=[1"])
    (tmp_path / "latin.yaml").write_bytes(b"store: K\xe4se")
    with pytest.raises(InputError, match="is not YAML"):
        read_yaml(tmp_path / "latin.yaml")
    (tmp_path / "five.yaml").write_text("extends: 5")
    with pytest.raises(InputError, match="extends the name of a file"):
        read_yaml(tmp_path / "five.yaml")
    (tmp_path / "circle.yaml").write_text("extends: circle.yaml")
    with pytest.raises(InputError, match="extends itself"):
        read_yaml(tmp_path / "circle.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(InputError, match="not a recipe"):
        read_yaml(tmp_path / "list.yaml")


def test_command_trains_and_bad_recipes_are_one_line(
    store: Path,
    tmp_path: Path,
    inside: Inside,  # noqa: F811
) -> None:
    recipe = ("--recipe", RECIPES / "smoke" / "speaker.yaml")
    more = ("-o", tmp_path / "run", "--set", f"store={store}", "--set", "loop.steps=2")
    command = [sys.executable, "-m", "fastvoicegrad", "dev", "train", "speaker", *map(str, (*recipe, *more))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "last.safetensors").exists()
    for arguments in (("speaker", "--recipe", "none.yaml"), ("tenor", *recipe), ("speaker", *recipe)):
        bad = inside("dev", "train", *arguments, "-o", tmp_path / "bad")
        assert bad.returncode == 2
        assert len(bad.stderr.strip().splitlines()) == 1


def test_the_word_no_needs_quotes() -> None:
    given = {"steps": 1, "batch_size": 1, "learning_rate": 1e-3}
    assert build(LoopConfig, overridden(given, ['mixed_precision="no"'])).mixed_precision == "no"
    with pytest.raises(InputError, match="YAML reads the word no as false, so write"):
        build(LoopConfig, overridden(given, ["mixed_precision=no"]))


@pytest.mark.parametrize(
    ("part", "setting"),
    [
        ("speaker", "perturb"),
        ("pitch", "perturb"),
        ("pitch", "voice_augmentation"),
        ("student", "source_perturbation"),
        ("stream-content", "perturb"),
        ("stream-pitch", "voice_augmentation"),
        ("stream-converter", "perturb"),
    ],
)
def test_a_tempo_that_a_part_does_not_apply_is_refused(part: str, setting: str) -> None:
    streams = part.startswith("stream-")
    path = RECIPES / "smoke" / ("streaming.yaml" if streams else f"{part}.yaml")
    own, nowhere = stream_settings if streams else settings, Path("nowhere")
    with pytest.raises(InputError, match=f"{setting}.tempo: only the part content changes the tempo; leave it out"):
        part_recipe(part, read_yaml(path, own(nowhere, nowhere, part, f"{setting}.tempo=1.25")))
    part_recipe(part, read_yaml(path, own(nowhere, nowhere, part, f"{setting}.tempo=1")))


def test_a_tempo_is_no_slower_than_1() -> None:
    data = read_yaml(RECIPES / "smoke" / "content.yaml", ["store=nowhere"])
    assert part_recipe("content", overridden(data, ["perturb.tempo=1.25"])).perturb.tempo == 1.25
    with pytest.raises(InputError, match="perturb.tempo must be 1 or more, got 0.8"):
        part_recipe("content", overridden(data, ["perturb.tempo=0.8"]))
