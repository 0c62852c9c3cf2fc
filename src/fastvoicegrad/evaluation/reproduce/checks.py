"""What a reproduction needs, checked before it writes anything: trainings of days must not end at a missing file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...bundle import Bundle
from ...errors import InputError
from ...training.checkpoint import read_meta
from ...training.data.store import Store
from ...training.recipe import build, overridden
from ...training.tasks.registry import TASKS
from ...training.tasks.student_recipe import StudentRecipe
from ..languages import language_pairs
from ..pairs import Pair, read_pairs
from .plan import BUDGETS, Reproduction
from .tables import LANGUAGES, TRAININGS, trainings_of
from .trainings import recipe_of

ARRAYS = ("mel", "pitch", "content", "speaker")  # of a store, that every training reads
UNITS = "units"  # that the average-voice encoder of DiffVC reads too


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


def check_output(out: Path) -> None:
    """Raises InputError where no folder of this name can be made."""
    existing = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not existing.is_dir():
        raise InputError(f"-o {out}: {existing} is not a folder; name a new folder, or one to resume in")


def check_recipes(plan: Reproduction) -> None:
    """Raises InputError where a recipe is missing or wrong, or does not take the overrides."""
    folder = plan.recipes / BUDGETS[plan.budget]
    if not folder.is_dir():
        raise InputError(f"--recipes {plan.recipes}: {folder} is missing; name the folder 'recipes' of a checkout")
    for name in trainings_of(list(plan.rows.values())):
        training = TRAININGS[name]
        recipe = recipe_of(plan, training)
        settings = plan.settings if training.part == "student" else []
        built = build(TASKS[training.part][0], overridden(recipe, settings))
        if isinstance(built, StudentRecipe) and built.vocoder_kind == "hifigan" and not Path(built.vocoder).is_file():
            raise InputError(f"the vocoder {built.vocoder} is missing; name HiFi-GAN's weights with --set vocoder=PATH")


def check_store(plan: Reproduction) -> None:
    """Raises InputError where there is no store, or it lacks an array or recordings."""
    store = Store(plan.store)
    if not store.entries:
        raise InputError(f"{plan.store} has no recordings")
    units = (UNITS,) if "diffvc-encoder" in trainings_of(list(plan.rows.values())) else ()
    for name in (*ARRAYS, *units):
        store.array(name)


def check_pairs(pairs: list[Pair]) -> None:
    """Raises InputError where a recording of a pair is missing."""
    recordings = {r.path for pair in pairs for r in (pair.source, pair.natural, *pair.references)}
    for path in sorted(recordings):
        if not Path(path).is_file():
            raise InputError(f"{path}: no such recording; make the pairs again with 'fastvoicegrad dev pairs'")


def check_teacher(path: Path | None) -> None:
    """Raises an error where this is no teacher's checkpoint. None is right: a teacher is trained."""
    if path is None:
        return
    if not path.is_file():
        raise InputError(f"{path}: no such file; name a checkpoint, or leave the option out")
    if read_meta(path).get("task") != "teacher":
        raise InputError(f"{path} is no teacher's checkpoint; leave the option out to train one")


def check_manifest(path: Path | None) -> None:
    """Raises an error where the table of languages cannot be made of these recordings."""
    assert path is not None
    language_pairs(path)


def _named(option: str, check: Callable[[], object]) -> None:
    """Turns what goes wrong into one line that names the option."""
    try:
        check()
    except InputError as error:
        raise InputError(f"{option}: {error}") from error
    except Exception as error:  # a damaged file fails in many ways
        raise InputError(f"{option}: it cannot be read ({' '.join(str(error).split())}); make it again") from error
