"""What a reproduction needs, checked before it writes anything: trainings of days must not end at a missing file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...bundle import Bundle
from ...errors import InputError
from ...files import shown
from ...training.checkpoint import read_meta
from ...training.data.store import Store
from ...training.networks import VocoderKind, load_vocoder
from ...training.recipe import overridden
from ...training.tasks.diffvc_encoder import AverageVoiceRecipe
from ...training.tasks.registry import part_recipe
from ...training.tasks.student_recipe import StudentRecipe
from ..languages import language_pairs
from ..pairs import Pair, read_pairs
from ..registry import METRICS
from ..weights import check_weights
from .plan import BUDGETS, Reproduction
from .tables import LANGUAGES, TRAININGS, trainings_of
from .trainings import chosen_settings, recipe_of

ARRAYS = ("mel", "pitch", "content", "content_unperturbed", "speaker")  # of a store, that converters train on
AVERAGE_ARRAYS = ("mel", "units")  # that the average-voice encoder of DiffVC trains on


def check_inputs(plan: Reproduction) -> None:
    """Read all that the plan names.

    Raises:
        InputError: an input is missing or damaged, or the output is no folder; one line with the option.
    """
    check_output(plan.out)
    _named("--base", lambda: Bundle.open(plan.base))
    if plan.rows:
        check_recipes(plan)
        _named("--store", lambda: check_store(plan))
        _named("--pairs", lambda: check_pairs(read_pairs(plan.pairs)))
        _named("--teacher", lambda: check_teacher(plan.teacher))
    if LANGUAGES in plan.wanted:
        _named("--manifest", lambda: check_manifest(plan.manifest))
    if plan.rows or LANGUAGES in plan.wanted:
        check_metrics(plan.metric_weights)


def check_output(out: Path) -> None:
    """Raises InputError where no folder of this name can be made."""
    existing = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not existing.is_dir():
        raise InputError(f"-o {out}: {existing} is not a folder; name a new folder, or one to resume in")


def check_recipes(plan: Reproduction) -> None:
    """Raises InputError where a recipe is missing or wrong, does not take the overrides, or names a wrong vocoder."""
    folder = plan.recipes / BUDGETS[plan.budget]
    if not folder.is_dir():
        raise InputError(f"--recipes {plan.recipes}: {folder} is missing; name the folder 'recipes' of a checkout")
    students = [recipe for recipe in _recipes(plan).values() if isinstance(recipe, StudentRecipe)]
    named = any(setting.startswith("vocoder=") for setting in plan.settings)  # else the base lends a spectral one
    for path, kind in dict.fromkeys((student.vocoder, student.vocoder_kind) for student in students):
        if named or kind == "hifigan":
            check_vocoder(path, kind)


def check_vocoder(path: str, kind: VocoderKind) -> None:
    """Raises InputError where a file does not hold such a vocoder."""
    if kind == "hifigan" and not Path(path).is_file():
        raise InputError(f"the vocoder {shown(path)} is missing; name HiFi-GAN's weights with --set vocoder=PATH")
    _named("--set vocoder=PATH", lambda: load_vocoder(path, kind))


def _recipes(plan: Reproduction) -> dict[str, Any]:
    """The recipes of all trainings of a plan, by their names."""
    chosen = {name: TRAININGS[name] for name in trainings_of(list(plan.rows.values()))}
    return {
        name: part_recipe(training.part, overridden(recipe_of(plan, training), chosen_settings(plan, training)))
        for name, training in chosen.items()
    }


def arrays_of(recipe: Any) -> tuple[str, ...]:
    """Names of a store's arrays that a training reads."""
    if isinstance(recipe, AverageVoiceRecipe):
        return AVERAGE_ARRAYS
    student = isinstance(recipe, StudentRecipe)
    more = {
        "parallel": recipe.data.parallel > 0,
        "units": recipe.data.context > 0,
        "speaker_teacher": student and recipe.converting,
        "wave": student and any(recipe.weights.get(name) for name in ("ge2e", "recogniser")),
    }
    return (*ARRAYS, *(name for name, needed in more.items() if needed))


def check_store(plan: Reproduction) -> None:
    """Raises InputError where there is no store, or it lacks recordings or an array that a training reads."""
    store = Store(plan.store)
    if not store.entries:
        raise InputError(f"{plan.store} has no recordings")
    trained = [recipe for name, recipe in _recipes(plan).items() if plan.teacher is None or name != "teacher"]
    for name in dict.fromkeys(name for recipe in trained for name in arrays_of(recipe)):
        store.array(name)


def left_out_metrics(plan: Reproduction) -> list[str]:
    """A line for each metric that the tables will lack."""
    if not plan.rows and LANGUAGES not in plan.wanted:
        return []
    return list(dict.fromkeys(line for metric in METRICS if (line := metric.missing(plan.metric_weights))))


def check_metrics(folder: Path) -> None:
    """Raises InputError where the folder of weights is missing, or a folder in it lacks a file."""
    check_weights(folder)
    for metric in METRICS:
        metric.check(folder)


def check_pairs(pairs: list[Pair], advice: str = "make the pairs again with 'fastvoicegrad dev pairs'") -> None:
    """Raises InputError where a recording of a pair is missing, with what to do about it."""
    for path in sorted({recording.path for pair in pairs for recording in pair.recordings}):
        if not Path(path).is_file():
            raise InputError(f"{path}: no such recording; {advice}")


def check_teacher(path: Path | None) -> None:
    """Raises an error where this is no teacher's checkpoint. None is right: a teacher is trained."""
    if path is None:
        return
    if not path.is_file():
        raise InputError(f"{path}: no such file; name a checkpoint, or leave the option out")
    if read_meta(path).get("task") != "teacher":
        raise InputError(f"{path} is no teacher's checkpoint; leave the option out to train one")


def check_manifest(path: Path | None) -> None:
    """Raises an error where a recording is missing, or the table of languages cannot be made."""
    assert path is not None
    check_pairs(language_pairs(path), "correct its path in the manifest, or remove its line")


def _named(option: str, check: Callable[[], object]) -> None:
    """Turns what goes wrong into one line that names the option."""
    try:
        check()
    except InputError as error:
        raise InputError(f"{option}: {error}") from error
    except Exception as error:  # a damaged file fails in many ways
        raise InputError(f"{option}: it cannot be read ({' '.join(str(error).split())}); make it again") from error
