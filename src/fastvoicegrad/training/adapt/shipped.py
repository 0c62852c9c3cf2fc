"""Speech that ships with the package: what is converted, and the voices that lend other views.

An adapter that trains with a few sources fits these few: other people's speech then comes no nearer to the voice. So
there are many, with other words and voices each, and those that validate and judge take no part in the training.

A view of a clip is the same words in another voice, made by the bundle itself. So a clip of the target has a source
that is not the target's, as at run time, and the result is known.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track

from ... import audio
from ...audio.level import TARGET_LEVEL, speech_level
from ...converter import VoiceConverter
from ...mel import MEL, log_mel
from ...preview import SAMPLE
from ...voice import Voice
from .recordings import Clip

SAMPLED = "Hello! This short recording keeps its words and its melody, but soon another voice will speak them."
NATURAL = {  # the demo's two recordings
    SAMPLE: SAMPLED,
    SAMPLE.with_name("reference.opus"): "A few seconds of speech are enough to show how somebody sounds. "
    "Thank you for stopping by to listen to mine this morning.",
}
SPEECH = Path(__file__).parent / "speech"  # 00.opus and so on, and index.json: their words and how they were made
HELD_EVERY = 12  # every twelfth of these is held back
STRIDE = 4 * MEL.hop_length  # samples of which a source's length is a multiple
VIEWS = 2  # of each clip
MOST_VIEWED = 60  # clips (4 minutes) that get views: each takes a quarter of a second


@dataclass(frozen=True)
class Source:
    """A recording to convert.

    Attributes:
        clip: all of it.
        voice: of the person who speaks.
        text: its words.
        english: whether they are English.
    """

    clip: Clip
    voice: Voice
    text: str
    english: bool = True


class Shipped(NamedTuple):
    """Speech to convert: to train with, and held back, the demo's recordings first."""

    train: list[Source]
    held: list[Source]


def shipped_speech(converter: VoiceConverter) -> Shipped:
    """The demo's recordings, and sentences in many voices and five languages.

    The previews of the preset voices take no part: they are one of the demo's recordings, which is held back.
    """
    entries = json.loads((SPEECH / "index.json").read_text(encoding="utf-8"))
    spoken = {SPEECH / f"{number:02}.opus": entry["text"] for number, entry in enumerate(entries)}
    foreign = {path for path, entry in zip(spoken, entries, strict=True) if not entry["language"].startswith("en")}
    held = NATURAL | dict(list(spoken.items())[::HELD_EVERY])
    texts_of = held | spoken
    hidden = not Console().is_terminal
    paths = track(texts_of, "speech to convert", transient=True, disable=hidden)
    sources = {path: _source(converter, path, texts_of[path], path not in foreign) for path in paths}
    return Shipped([source for path, source in sources.items() if path not in held], [sources[path] for path in held])


def _source(converter: VoiceConverter, path: Path, text: str, english: bool) -> Source:
    wave = audio.read(path, MEL.sample_rate)
    wave = wave[: len(wave) // STRIDE * STRIDE] * np.float32(TARGET_LEVEL / speech_level(wave))
    mel, bundle = log_mel(wave), converter.bundle
    content, pitch = bundle.encode(mel)
    return Source(Clip(wave, mel, pitch, content), converter.voice_of_recording(path, quiet=True), text, english)


def with_views(converter: VoiceConverter, clips: Sequence[Clip], sources: Sequence[Source]) -> list[Clip]:
    """The clips, the first ones with views in the voices of the sources, in turn."""
    voices = [source.voice for source in sources]
    viewed = []
    hidden = not Console().is_terminal
    for index, clip in enumerate(track(clips[:MOST_VIEWED], "views in other voices", transient=True, disable=hidden)):
        chosen = [voices[(VIEWS * index + view) % len(voices)] for view in range(VIEWS)]
        waves = [converter.convert(clip.wave, MEL.sample_rate, voice) for voice in chosen]
        viewed.append(replace(clip, views=tuple(map(log_mel, waves))))
    return [*viewed, *clips[MOST_VIEWED:]]
