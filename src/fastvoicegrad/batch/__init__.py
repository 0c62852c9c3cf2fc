"""Folders of recordings: all converted in one run, in several processes, and only what is not done yet."""

from .run import Advance, Batch, Event, Outcome, convert_files
from .tasks import Settings, Target, Task, make_target, tags_for

__all__ = [
    "Advance",
    "Batch",
    "Event",
    "Outcome",
    "Settings",
    "Target",
    "Task",
    "convert_files",
    "make_target",
    "tags_for",
]
