"""All tasks by name."""

from __future__ import annotations

from typing import Any

from ...errors import InputError
from ..recipe import build
from ..task import Task
from .content import ContentRecipe, ContentTask
from .pitch import PitchRecipe, PitchTask
from .speaker import SpeakerRecipe, SpeakerTask
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
}
PARTS = tuple(TASKS)


def make_task(part: str, data: dict[str, Any]) -> tuple[Task, Any]:
    """The task of one of `PARTS`, and its recipe as a dataclass.

    Args:
        data: a recipe as `recipe.read_yaml` returns it.
    Raises:
        InputError: there is no such part, or the recipe is wrong.
    """
    if part not in TASKS:
        raise InputError(f"'{part}' cannot be trained; choose one of {', '.join(PARTS)}")
    recipe_kind, task_kind = TASKS[part]
    recipe = build(recipe_kind, data)
    return task_kind(recipe), recipe
