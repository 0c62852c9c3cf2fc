"""Sound files, sample rates and levels. An hour of sound needs no more memory than a minute."""

from .level import LevelMeter, level_of_blocks, speech_level
from .mixing import check_channel
from .offset import without_offset
from .programme import at_loudness, check_loudness
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
from .tags import conversion_tags, read_tags
from .writing import FORMATS, SUBTYPES, Writer, check_output, holds_rate, subtype_of, writing

__all__ = [
    "FORMATS",
    "HIGHEST_INPUT_RATE",
    "HIGHEST_RATE",
    "LOWEST_INPUT_RATE",
    "LOWEST_RATE",
    "SUBTYPES",
    "AudioInfo",
    "LevelMeter",
    "Writer",
    "at_loudness",
    "check_channel",
    "check_loudness",
    "check_output",
    "conversion_tags",
    "fit_length",
    "holds_rate",
    "inspect",
    "level_of_blocks",
    "read",
    "read_blocks",
    "read_tags",
    "resampled",
    "speech_level",
    "subtype_of",
    "without_offset",
    "writing",
]
