"""Recordings of one voice: read, checked, and cut into clips, some of which are held back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ... import audio
from ...audio.level import TARGET_LEVEL, LevelMeter
from ...batch.inputs import find_inputs
from ...bundle import Bundle
from ...errors import InputError
from ...files import shown
from ...judgement import holds_speech, judge_reference, speakers_apart
from ...mel import MEL, Array
from ...reference import encode_voice, turns
from ...speech import Frames, analyse, pieces
from ...voice import Voice

CLIP, SHORTEST_CLIP = 344, 96  # frames (4 s, 1.1 s) of a clip
LEAST_SPEECH = 8.0  # seconds of a voice, what is held back included
MOST_SPEECH = 7200.0  # seconds of a voice: all of it stays in memory, 2 MB a minute of each view
HELD_EVERY, MOST_HELD = 5, 15  # every fifth clip is held back, at most 15 (a minute)
NAMED = 3  # inputs that a message names

Warn = Callable[[str], None]


@dataclass(frozen=True)
class Clip:
    """A stretch of speech by one person at the networks' level.

    Attributes:
        wave: (256 T,) at 22,050 Hz.
        mel: log-mel (80, T).
        pitch: F0 in Hz (T,), 0 where unvoiced.
        content: content embedding (C, T).
        views: log-mel (80, T) of the same words in other voices.
    """

    wave: Array
    mel: Array
    pitch: Array
    content: Array
    views: tuple[Array, ...] = ()

    @property
    def frames(self) -> int:
        return self.mel.shape[1]


@dataclass(frozen=True)
class Recordings:
    """One voice.

    Attributes:
        name: of the voice.
        train, held: clips to train on, and clips that are held back.
        voice: made of the clips to train on, without an adapter.
    """

    name: str
    train: list[Clip]
    held: list[Clip]
    voice: Voice

    @property
    def seconds(self) -> float:
        """Of speech to train on."""
        return seconds_of(self.train)


def seconds_of(clips: Sequence[Clip]) -> float:
    return sum(clip.frames for clip in clips) * MEL.hop_length / MEL.sample_rate


def read_voice(bundle: Bundle, inputs: Sequence[str | os.PathLike[str]], name: str, warn: Warn) -> Recordings:
    """Clips and voice of the recordings that files, folders and patterns name.

    Args:
        warn: receives a plain sentence about each recording that is bad or left out.
    Raises:
        InputError: too little speech is left, or the recordings are of several people.
    """
    clips, samples, names = list[Clip](), list[Array](), list[str]()
    for found in find_inputs(inputs, Path(os.devnull)):
        if (room := MOST_SPEECH - seconds_of(clips)) < SHORTEST_CLIP * MEL.hop_length / MEL.sample_rate:
            warn(f"only {MOST_SPEECH / 3600:.0f} hours of speech are used; {found.path.name} and the rest are left out")
            break
        try:
            if found.problem:
                raise InputError(f"{shown(found.path)}: {found.problem}")
            made, speakers = _read(bundle, found.path, room, warn)
        except InputError as error:
            warn(f"{error}; it is left out")
            continue
        clips, names = [*clips, *made], [*names, found.path.name]
        samples.extend(speakers)
    if speakers_apart(np.array(samples)):
        raise InputError("more than one person seems to speak in the recordings; give those of one voice alone")
    if (found_seconds := seconds_of(clips)) < LEAST_SPEECH:
        raise InputError(
            f"{_named(inputs)}: {found_seconds:.1f} s of usable speech were found; adapting needs "
            f"{LEAST_SPEECH:.0f} s, and a minute is better"
        )
    train, held = split(clips)
    waves = [clip.wave for clip in train]
    voice = encode_voice(bundle, lambda: iter(waves), name, name)
    return Recordings(name, train, held, replace(voice, sources=names, seconds=seconds_of(train)))


def _named(inputs: Sequence[str | os.PathLike[str]]) -> str:
    """The first three inputs."""
    names = ", ".join(shown(path) for path in inputs[:NAMED])
    return f"{names} and {len(inputs) - NAMED} more" if len(inputs) > NAMED else names


def split(clips: Sequence[Clip]) -> tuple[list[Clip], list[Clip]]:
    """Clips to train on, and clips that are held back: every fifth, spread evenly where these are too many."""
    held = list(range(HELD_EVERY // 2, len(clips), HELD_EVERY)) or [len(clips) - 1]
    held = [held[i] for i in np.linspace(0, len(held) - 1, min(len(held), MOST_HELD)).round().astype(int)]
    return [clip for i, clip in enumerate(clips) if i not in held], [clips[i] for i in held]


def _read(bundle: Bundle, path: Path, seconds: float, warn: Warn) -> tuple[list[Clip], list[Array]]:
    """Clips of a recording, and speaker embeddings (S,) of up to eight parts of it, or of it all if it is short.

    Args:
        seconds: of the recording that are read.
    Raises:
        InputError: it cannot be read, holds no speech, or several people speak.
    """
    info = audio.inspect(path)
    most = int(seconds * MEL.sample_rate)
    wave = np.concatenate([np.zeros(0, np.float32), *_until(most, audio.read_blocks(info))])
    for message in info.warnings:
        warn(message)
    if len(wave) > most:
        wave = wave[:most]
        warn(f"{info.name} is long; its first {seconds:.0f} s are used")
    meter = LevelMeter()
    meter.add(wave)
    cut = pieces(wave)
    if meter.level == 0.0 or not cut:
        raise InputError(f"{info.name} is silent, or shorter than 0.1 s")
    gain = TARGET_LEVEL / meter.level
    frames = analyse(bundle, cut, gain)
    if not holds_speech(frames):
        raise InputError(f"{info.name} is not a voice: no speech was found in it")
    speakers = turns(bundle, frames)
    if speakers_apart(speakers):
        raise InputError(f"{info.name}: more than one person seems to speak")
    for sentence in judge_reference(info.name, cut, frames, speakers[:0]):
        warn(sentence)
    if not len(speakers):
        speakers = bundle.speaker(frames.mel[:, frames.spoken])[None]
    return _clips(bundle, [piece * np.float32(gain) for piece in cut], frames), list(speakers)


def _until(most: int, blocks: Iterable[Array]) -> Iterator[Array]:
    """Blocks up to the first one that goes beyond so many samples."""
    total = 0
    for block in blocks:
        yield block
        total += len(block)
        if total > most:
            return


def _clips(bundle: Bundle, waves: Sequence[Array], frames: Frames) -> list[Clip]:
    """Stretches near speech, cut evenly into at most 4 s; those below 1.1 s are left out."""
    clips = []
    for wave, piece in zip(waves, frames.pieces(), strict=True):
        mel, pitch, wanted = frames.mel[:, piece], frames.pitch[piece], frames.near_speech[piece]
        content = bundle.content(np.pad(mel, ((0, 0), (0, mel.shape[1] % 2)), mode="edge"))
        edges = np.flatnonzero(np.diff(wanted.astype(int), prepend=0, append=0))
        for start, stop in edges.reshape(-1, 2):
            count = -(-(stop - start) // CLIP)
            for a, b in zip(
                *(np.linspace(start, stop, count + 1).astype(int)[i:][:count] for i in (0, 1)), strict=True
            ):
                if b - a >= SHORTEST_CLIP:
                    samples = wave[a * MEL.hop_length : b * MEL.hop_length]
                    clips.append(Clip(samples, mel[:, a:b], pitch[a:b], content[:, a:b]))
    return clips
