"""All tasks by name."""

from __future__ import annotations

from typing import Any

from ...errors import InputError
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
    recipe_kind, task_kind = TASKS[part]
    recipe = build(recipe_kind, section(part, data))
    return task_kind(recipe), recipe


def section(part: str, data: dict[str, Any]) -> dict[str, Any]:
    """A part's own settings in a recipe for several parts; they replace what the parts share."""
    if part not in data:
        return data
    return merged({name: value for name, value in data.items() if name not in PARTS}, data[part])
