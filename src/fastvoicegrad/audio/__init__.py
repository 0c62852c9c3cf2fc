"""Sound files, sample rates and levels. An hour of sound needs no more memory than a minute."""

from .level import LevelMeter, level_of_blocks, speech_level
from .offset import without_offset
from .reading import (
    HIGHEST_INPUT_RATE,
    HIGHEST_RATE,
    LOWEST_INPUT_RATE,
    LOWEST_RATE,
    AudioInfo,
    inspect,
    read,
    read_blocks,
)
from .resampling import fit_length, resampled
from .writing import FORMATS, Writer, check_output, writing

__all__ = [
    "FORMATS",
    "HIGHEST_INPUT_RATE",
    "HIGHEST_RATE",
    "LOWEST_INPUT_RATE",
    "LOWEST_RATE",
    "AudioInfo",
    "LevelMeter",
    "Writer",
    "check_output",
    "fit_length",
    "inspect",
    "level_of_blocks",
    "read",
    "read_blocks",
    "resampled",
    "speech_level",
    "without_offset",
    "writing",
]
