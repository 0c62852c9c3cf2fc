"""All tasks by name."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from ...errors import InputError
from ..data.perturb import PerturbConfig
from ..recipe import build, merged
from ..task import Task
from .content import ContentRecipe, ContentTask
from .diffvc import DiffVcRecipe, DiffVcTask
from .diffvc_encoder import AverageVoiceRecipe, AverageVoiceTask
from .pitch import PitchRecipe, PitchTask
from .speaker import SpeakerRecipe, SpeakerTask
from .stream_content import StreamContentRecipe, StreamContentTask
from .stream_converter import StreamConverterRecipe, StreamConverterTask
from .stream_pitch import StreamPitchRecipe, StreamPitchTask
from .stream_renderer import StreamRendererRecipe, StreamRendererTask
from .student import StudentTask
from .student_recipe import StudentRecipe
from .teacher import TeacherRecipe, TeacherTask
from .vocoder import VocoderRecipe, VocoderTask

# In the order in which they need each other's checkpoints.
TASKS: dict[str, tuple[type[Any], type[Any]]] = {
    "content": (ContentRecipe, ContentTask),
    "speaker": (SpeakerRecipe, SpeakerTask),
    "pitch": (PitchRecipe, PitchTask),
    "vocoder": (VocoderRecipe, VocoderTask),
    "teacher": (TeacherRecipe, TeacherTask),
    "student": (StudentRecipe, StudentTask),
    "stream-content": (StreamContentRecipe, StreamContentTask),
    "stream-pitch": (StreamPitchRecipe, StreamPitchTask),
    "stream-renderer": (StreamRendererRecipe, StreamRendererTask),
    "stream-converter": (StreamConverterRecipe, StreamConverterTask),
    "diffvc-encoder": (AverageVoiceRecipe, AverageVoiceTask),
    "diffvc": (DiffVcRecipe, DiffVcTask),
}
PARTS = tuple(TASKS)


def make_task(part: str, data: dict[str, Any]) -> tuple[Task, Any]:
    """The task of one of `PARTS`, and its recipe as a dataclass.

    Args:
        data: a recipe as `recipe.read_yaml` returns it. It may have a section for each of several parts.
    Raises:
        InputError: there is no such part, or the recipe is wrong.
    """
    if part not in TASKS:
        raise InputError(f"'{part}' cannot be trained; choose one of {', '.join(PARTS)}")
    recipe = part_recipe(part, data)
    return TASKS[part][1](recipe), recipe


def part_recipe(part: str, data: dict[str, Any]) -> Any:
    """The recipe of one of `PARTS` as a dataclass.

    Args:
        data: see `make_task`.
    Raises:
        InputError: the recipe is wrong.
    """
    recipe = build(TASKS[part][0], section(part, data))
    if recipe.loop.batch_size < 1:  # only an adaptation chooses its batch by itself
        raise InputError(f"loop.batch_size must be 1 or more, got {recipe.loop.batch_size}")
    _check_tempo(part, recipe)
    return recipe


def _check_tempo(part: str, recipe: Any) -> None:
    """Raises InputError where a recipe sets a tempo that the part does not apply, or one below 1."""
    for entry in fields(recipe):
        value = getattr(recipe, entry.name)
        if not isinstance(value, PerturbConfig):
            continue
        if part != ContentTask.name and value.tempo != 1:
            raise InputError(f"{entry.name}.tempo: only the part content changes the tempo; leave it out")
        if not value.tempo >= 1:  # nor is NaN
            raise InputError(f"{entry.name}.tempo must be 1 or more, got {value.tempo}")


def section(part: str, data: dict[str, Any]) -> dict[str, Any]:
    """A part's own settings in a recipe for several parts; they replace what the parts share.

    Only a table is a section: in a recipe for one part, such a name may hold the path of a checkpoint.
    """
    own = data.get(part)
    if not isinstance(own, dict):
        return data
    return merged({name: value for name, value in data.items() if name not in PARTS}, own)
