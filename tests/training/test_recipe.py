from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from fastvoicegrad import InputError  # noqa: E402
from fastvoicegrad.cli.dev.voices import PresetsRecipe  # noqa: E402
from fastvoicegrad.training.export import ExportSettings  # noqa: E402
from fastvoicegrad.training.recipe import build, overridden, read_yaml  # noqa: E402
from fastvoicegrad.training.stream_export import StreamExportSettings  # noqa: E402
from fastvoicegrad.training.tasks.registry import TASKS, make_task, section  # noqa: E402
from fastvoicegrad.training.tasks.student_recipe import EXTRA_WEIGHTS, PAPER_WEIGHTS, StudentRecipe  # noqa: E402
from tests.cli.conftest import Inside, inside  # noqa: E402, F401
from tests.training.tasks.tiny_runs import RECIPES, trainer  # noqa: E402


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
    assert (settings.temperature, settings.guidance) == (0.5, 0.0)
    assert set(settings.notes) == {"license", "method", "training_data", "teachers", "intended_use"}


def test_losses_judge_the_sound_behind_the_releases_post_filter() -> None:
    student, export = (read_yaml(RECIPES / "release" / f"{name}.yaml") for name in ("student-sound", "export"))
    assert student["judge_sound"]
    assert student["postfilter"].items() <= export["postfilter"].items()


@pytest.mark.parametrize(
    ("change", "name"),
    [("guidance=3", "guidance"), ("postfilter.smoothing=0.5", "smoothing"), ("guidance_cosines=0", "cosines")],
)
def test_export_settings_out_of_range_are_refused(change: str, name: str) -> None:
    with pytest.raises(InputError, match=f"{name} must lie between"):
        build(ExportSettings, read_yaml(RECIPES / "release" / "export.yaml", [change]))


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
        ("loop.mixed_precision=bfloat16", "loop.mixed_precision is one of no, fp16, bf16, not 'bfloat16'"),
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
