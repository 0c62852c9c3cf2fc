"""Sound files, sample rates and levels. An hour of sound needs no more memory than a minute."""

from .level import LevelMeter, level_of_blocks, speech_level
from .mixing import EACH, check_channel
from .offset import without_offset
from .programme import at_loudness, check_loudness
from .reading import (
    HIGHEST_INPUT_RATE,
    LOWEST_INPUT_RATE,
    MOST_TRACKS,
    AudioInfo,
    inspect,
    inspect_tracks,
    read,
    read_blocks,
    tracks_of,
)
from .resampling import fit_length, resampled, side_by_side
from .tags import check_tags, conversion_tags, read_tags
from .writing import (
    FORMATS,
    HIGHEST_RATE,
    LOWEST_RATE,
    SUBTYPES,
    USUAL_RATE,
    Writer,
    check_bitrate,
    check_output,
    check_rate,
    has_bitrate,
    holds_rate,
    output_rate,
    subtype_of,
    writing,
)

__all__ = [
    "EACH",
    "FORMATS",
    "HIGHEST_INPUT_RATE",
    "HIGHEST_RATE",
    "LOWEST_INPUT_RATE",
    "LOWEST_RATE",
    "MOST_TRACKS",
    "SUBTYPES",
    "USUAL_RATE",
    "AudioInfo",
    "LevelMeter",
    "Writer",
    "at_loudness",
    "check_bitrate",
    "check_channel",
    "check_loudness",
    "check_output",
    "check_rate",
    "check_tags",
    "conversion_tags",
    "fit_length",
    "has_bitrate",
    "holds_rate",
    "inspect",
    "inspect_tracks",
    "level_of_blocks",
    "output_rate",
    "read",
    "read_blocks",
    "read_tags",
    "resampled",
    "side_by_side",
    "speech_level",
    "subtype_of",
    "tracks_of",
    "without_offset",
    "writing",
]
