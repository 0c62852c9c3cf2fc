"""Reading recordings in blocks: every sample that a decoder gives, as mono without an offset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import soundfile

from ..errors import InputError
from ..files import regular_file, shown
from ..mel import MEL, Array
from .formats import ForeignFacts, decode_foreign, foreign_facts
from .mixing import EACH, Mix, Statistics, checked, choose_mix, wanted_channels
from .offset import without_offset
from .resampling import resampled
from .sndfile import Damage, StreamFacts, decode_stream, stream_facts
from .streams import Stream, after_damage, find_streams

LOWEST_INPUT_RATE, HIGHEST_INPUT_RATE = 4000, 384000  # Hz, of what is read
MOST_TRACKS = 8  # channels that are read side by side
MOST_COUNTED = 64  # streams whose headers are all read for the length
SLACK, FOREIGN_SLACK = 0.05, 0.5  # seconds by which a length in a header may be too large


@dataclass
class AudioInfo:
    """What is known of a recording; more after it was read.

    Attributes:
        rate: samples per second; of the first stream, where there are several.
        samples: per channel by the header, for progress only; None: unknown.
        decoded: samples per channel at `rate` that the decoder gives; None before `read_blocks` has ended once.
        warnings: sentences on what is wrong with it.
        strict: a recording that is cut off or damaged is an error.
        wanted: indices of the channels that are asked for; None: those with sound.
    """

    path: Path
    rate: int
    samples: int | None
    channels: int
    decoded: int | None = None
    warnings: list[str] = field(default_factory=list)
    strict: bool = False
    wanted: list[int] | None = None
    source: _Source | None = field(default=None, repr=False)
    mix: Mix | None = field(default=None, repr=False)

    def decoded_seconds(self) -> float:
        """Length of a recording that was read to its end."""
        assert self.decoded is not None
        return self.decoded / self.rate

    @property
    def seconds(self) -> float | None:
        """Its length, as far as it is known."""
        samples = self.samples if self.decoded is None else self.decoded
        return None if samples is None else samples / self.rate

    @property
    def name(self) -> str:
        return shown(self.path)

    def warn(self, sentence: str) -> None:
        """Adds a warning, once."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def incomplete(self, sentence: str) -> None:
        """Warns that sound is missing.

        Raises:
            InputError: with `strict`.
        """
        if self.strict:
            raise InputError(f"{sentence}; copy or export it again")
        self.warn(sentence)


@dataclass(frozen=True)
class _Source:
    """How a recording is decoded: its streams by libsndfile, or all of it by PyAV or ffmpeg (`foreign`).

    `samples` at the first stream's rate are there by the headers and the size; `promised` ones by the headers alone.
    """

    streams: list[Stream]
    first: StreamFacts | ForeignFacts
    samples: int | None
    promised: int | None
    foreign: ForeignFacts | None = None


def inspect(path: str | Path, strict: bool = False, channel: str | int | None = None) -> AudioInfo:
    """Looks at a recording without decoding it.

    Args:
        strict: see `AudioInfo`.
        channel: "left", "right", "mix" or a number from 1 on; None: the channels with sound.
    Raises:
        InputError: missing, not a regular file, empty, not audio, of a rate outside 4-384 kHz, or without that
            channel.
    """
    path = Path(path)
    if regular_file(path).st_size == 0:
        raise InputError(f"{shown(path)} is empty (0 bytes); record or copy it again")
    try:
        source = _find_source(path)
    except OSError as error:
        raise InputError(f"{shown(path)} cannot be read ({error.strerror or error})") from error
    rate = source.first.rate
    if not LOWEST_INPUT_RATE <= rate <= HIGHEST_INPUT_RATE:
        raise InputError(
            f"{shown(path)} has {rate} Hz; resample it to between {LOWEST_INPUT_RATE} and {HIGHEST_INPUT_RATE} Hz"
        )
    channels = source.first.channels
    wanted = wanted_channels(channel, channels, shown(path))
    return AudioInfo(path, rate, source.samples, channels, strict=strict, wanted=wanted, source=source)


def inspect_tracks(path: str | Path, strict: bool = False, channel: str | int | None = None) -> list[AudioInfo]:
    """A recording as one track, or with the channel "each" as a track for each of its channels.

    They share their warnings. See `inspect`.

    Raises:
        InputError: see `inspect`; also where "each" is asked for and there are more than eight channels.
    """
    return tracks_of(inspect(path, strict), channel)


def tracks_of(info: AudioInfo, channel: str | int | None) -> list[AudioInfo]:
    """A recording that was inspected as the tracks that a channel means. See `inspect_tracks`.

    Raises:
        InputError: there is no such channel, or "each" is asked for and there are more than eight.
    """
    if channel != EACH:
        return [replace(info, wanted=wanted_channels(channel, info.channels, info.name))]
    if info.channels > MOST_TRACKS:
        raise InputError(f"{info.name} has {info.channels} channels, more than {MOST_TRACKS}; choose one by its number")
    return [replace(info, wanted=[number]) for number in range(info.channels)]


def _find_source(path: Path) -> _Source:
    """How to decode a file."""
    streams = find_streams(path)
    try:
        first = stream_facts(path, streams[0])
    except soundfile.SoundFileError:
        foreign = foreign_facts(path)
        return _Source([], foreign, foreign.samples, foreign.samples, foreign)
    samples, promised = 0.0, 0.0
    for stream in streams:
        facts = None if len(streams) > MOST_COUNTED else _facts_if_any(path, stream)
        if facts is None or facts.samples is None:
            return _Source(streams, first, None, None)
        length = facts.samples * first.rate / facts.rate
        samples, promised = samples + length, promised + length / facts.there
    return _Source(streams, first, round(samples), round(promised))


def _facts_if_any(path: Path, stream: Stream) -> StreamFacts | None:
    try:
        return stream_facts(path, stream)
    except soundfile.SoundFileError:
        return None


def read_blocks(info: AudioInfo, rate: int = MEL.sample_rate) -> Iterator[Array]:
    """A recording as mono float32 blocks at `rate`, offset removed; the same samples each time.

    The first call reads files with several channels, and files of floats, once before it begins: the channels with
    sound and the scale are chosen for the whole file. `info.decoded` and warnings are complete at the end.

    Raises:
        InputError: nothing decodes, samples are not numbers, or it is cut off or damaged and `info.strict` is set.
    """
    return resampled(without_offset(_mono_blocks(info), info.rate), info.rate, rate)


def read(path: str | Path, rate: int = MEL.sample_rate) -> Array:
    """A whole recording, mono, float32, shape ``(N,)`` at `rate`. For short ones; sources are read in blocks.

    Raises:
        InputError: see `inspect` and `read_blocks`.
    """
    return np.concatenate(list(read_blocks(inspect(path), rate)))


def _mono_blocks(info: AudioInfo) -> Iterator[Array]:
    """All samples at the file's own rate."""
    if info.mix is None:
        info.mix = _find_mix(info)
    done = 0
    for block in checked(decoded_blocks(info), info.name, info.rate):
        done += len(block)
        yield info.mix(block)
    if done == 0:
        raise InputError(f"{info.name} holds no samples that can be decoded; record or copy it again")
    info.decoded = done


def _find_mix(info: AudioInfo) -> Mix:
    assert info.source is not None
    is_float = info.source.first.is_float
    if not is_float and (info.wanted is not None or info.channels == 1):
        return Mix(info.wanted or [0])
    statistics = Statistics(info.channels, is_float)
    for block in checked(decoded_blocks(info), info.name, info.rate) if is_float else decoded_blocks(info):
        statistics.add(block)
    mix = choose_mix(statistics, info.name, info.rate, info.wanted)
    for note in mix.notes:
        info.warn(f"{info.name}: {note}")
    return mix


# -- decoding -------------------------------------------------------------------------------------------------


def decoded_blocks(info: AudioInfo) -> Iterator[Array]:
    """Blocks ``(N, channels)`` of all streams, and a warning at the end where sound is missing."""
    assert info.source is not None
    foreign = info.source.foreign
    done, damaged = 0, False
    try:
        for block in _streams(info) if foreign is None else decode_foreign(info.path, foreign):
            done += len(block)
            yield block
    except Damage:
        damaged = True
    except OSError as error:
        raise InputError(f"{info.name} cannot be read ({error.strerror or error})") from error
    if done:
        _judge_length(info, done, damaged)


def _streams(info: AudioInfo) -> Iterator[Array]:
    """All streams one after the other.

    Raises:
        Damage: at the end, where one of them has been damaged.
    """
    assert info.source is not None
    damage: Damage | None = None
    waiting: list[Stream] = info.source.streams[::-1]
    while waiting:
        stream = waiting.pop()
        try:
            yield from _like_first(decode_stream(info.path, stream), stream_facts(info.path, stream), info)
        except Damage as error:
            damage, rest = error, after_damage(info.path, stream, error.position)
            waiting += [] if rest is None else [rest]
        except soundfile.SoundFileError as error:
            damage = Damage(str(error))
    if damage is not None:
        raise damage


def _like_first(blocks: Iterator[Array], facts: StreamFacts, info: AudioInfo) -> Iterator[Array]:
    """A stream with the first one's rate and number of channels."""
    if facts.channels != info.channels:
        blocks = (np.repeat(block.mean(axis=1, keepdims=True), info.channels, axis=1) for block in blocks)
    return resampled(blocks, facts.rate, info.rate, info.channels)


def _judge_length(info: AudioInfo, done: int, damaged: bool) -> None:
    """Compares what was decoded with what the headers give."""
    assert info.source is not None
    seconds, promised = done / info.rate, (info.source.promised or 0) / info.rate
    missing = seconds < promised - (FOREIGN_SLACK if info.source.foreign else SLACK)
    if missing and damaged:
        info.incomplete(
            f"{info.name} is damaged or cut off: {seconds:.1f} s of the {promised:.1f} s that its header gives "
            "can be decoded"
        )
    elif missing:
        info.incomplete(f"{info.name} ends after {seconds:.1f} s of the {promised:.1f} s that its header gives")
    elif damaged:
        info.incomplete(f"{info.name} is damaged or cut off: {seconds:.1f} s of it can be decoded")
    elif any(stream.cut for stream in info.source.streams):
        info.incomplete(f"{info.name} is cut off: it ends after {seconds:.1f} s in the middle of a page")
