"""One conversion among many: what it depends on, and how a worker does it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, cast

import numpy as np
from msgspec.structs import replace

from .. import audio
from ..audio.tags import plain_text
from ..converter import Conversion, VoiceConverter
from ..errors import InputError
from ..files import regular_file, shown
from ..library import Reference, References, is_folder, listed, recordings_of, reference_name
from ..settings import ConversionSettings
from ..tracks import Delivery
from ..version import TOOL
from ..voice import Voice
from .journal import Entry, sha256_of, sha256_of_file

RATES = (audio.USUAL_RATE, 16000, 8000)  # Hz: bitrates of MP3 depend on these

Progress = Callable[[float], None]  # called with the share that is done


@dataclass(frozen=True)
class Settings(ConversionSettings):
    """How recordings are converted, all in the same way. See `VoiceConverter.convert_file`.

    Attributes:
        rate: of the results in Hz; None: each source's, or 48 kHz where the format does not know that one.
        subtype: how WAV, FLAC and AIFF store samples; other formats have their own ways.
        bitrate: of MP3 and Opus in kbit/s; other formats have none.
        format: suffix of the results without its dot; None: each source's where it can be written, else "wav".
        tagged: whether results get their source's text fields and a comment that marks them as converted speech.
    """

    rate: int | None = None
    strict: bool = False
    channel: str | int | None = None
    loudness: float | None = None
    subtype: str | None = None
    bitrate: int | None = None
    watermark: bool = False
    format: str | None = None
    tagged: bool = True

    def check(self, converter: VoiceConverter) -> None:
        """Raises InputError where a setting fits no recording at all."""
        self.check_for(converter.bundle)
        self.check_storage()

    def check_sound(self) -> None:
        """Raises InputError where a setting of the sound fits no recording and no bundle."""
        super().check_sound()
        rate = audio.output_rate(audio.USUAL_RATE, self.rate)
        if self.channel is not None:
            audio.check_channel(self.channel)
        Delivery(rate, self.loudness, self.watermark)

    def check_storage(self) -> None:
        """Raises InputError where no result in a folder can be stored in this way."""
        if self.format is not None and f".{self.format}" not in audio.FORMATS:
            known = ", ".join(suffix[1:] for suffix in audio.FORMATS)
            raise InputError(f"the format must be one of {known}, got '{shown(self.format)}'")
        with _unnamed():
            audio.subtype_of(_result(self.format or "wav"), self.subtype)
            if self.format is not None:
                self._check_format(_result(self.format))

    def _check_format(self, result: str) -> None:
        """Raises InputError where no result of this name can have the rate or the bitrate."""
        if self.rate is not None:
            audio.check_rate(result, self.rate)
        if self.bitrate is None:
            return
        rates = RATES if self.rate is None else (self.rate,)
        channels = range(1, audio.MOST_TRACKS + 1) if self.channel == audio.EACH else (1,)
        problems = list[InputError]()
        for rate, count in product(rates, channels):
            try:
                return audio.check_bitrate(result, self.bitrate, rate, count)
            except InputError as error:
                problems.append(error)
        raise problems[0]

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `VoiceConverter.convert_file`."""
        return {name: value for name, value in asdict(self).items() if name not in ("format", "tagged")}


def _result(kind: str) -> str:
    """A name that stands for all results of a format."""
    return f"results.{kind}"


@contextmanager
def _unnamed() -> Iterator[None]:
    """Errors do not begin with the name of `_result`."""
    try:
        yield
    except InputError as error:
        raise InputError(re.sub(r"^results\.\w+: ", "", str(error))) from error


@dataclass(frozen=True)
class Target:
    """A voice to convert to.

    Attributes:
        name: for people, as it stands in the comment of the results.
        fingerprint: of what it was made from.
        folder: for the results in this voice, below the output folder; empty: that folder itself.
        inputs: real paths of files and folders that it was made from; results must lie elsewhere.
    """

    voice: Voice
    name: str
    fingerprint: str
    folder: str = ""
    inputs: frozenset[str] = frozenset()


def make_target(converter: VoiceConverter, references: References, folder: str = "") -> Target:
    """A target of what `VoiceConverter.voice` takes.

    Raises:
        InputError: see `VoiceConverter.voice`.
    """
    given = listed(references)
    voice = converter.voice(given)
    fingerprints = [part for reference in given for part in _fingerprints(converter, reference)]
    digest = hashlib.sha256(json.dumps(fingerprints).encode()).hexdigest()
    paths = [r for r in given if not isinstance(r, Voice) and os.path.lexists(r)]
    inputs = frozenset(os.path.realpath(r) for r in paths if is_folder(r) or not os.path.isdir(r))
    return Target(voice, "+".join(map(reference_name, given)), digest, folder, inputs)


def _fingerprints(converter: VoiceConverter, reference: Reference) -> Iterator[str]:
    """Of a reference, or of each recording in a folder. Those that cannot be read are not part of the voice."""
    if not is_folder(reference):
        yield _reference_fingerprint(converter, reference)
        return
    for file in recordings_of(reference):
        with suppress(OSError, InputError):
            yield sha256_of_file(cast(Path, file))  # which waits for no pipe


def _reference_fingerprint(converter: VoiceConverter, reference: Reference) -> str:
    """Of a file, its bytes; else the numbers that the voice holds."""
    if not isinstance(reference, Voice):
        if os.path.isfile(reference):
            return sha256_of(reference)
        reference = converter.voice(reference)
    digest = hashlib.sha256(f"{reference.encoder} {reference.pitch!r}".encode())
    for array in (reference.embedding, reference.keys, reference.mel):
        digest.update(array.tobytes())
    if reference.adapter:
        digest.update(reference.adapter.converter.encode() + reference.adapter.values.tobytes())
    return digest.hexdigest()


def fingerprint(converter: VoiceConverter, settings: Settings, target: Target) -> str:
    """Of everything that a result depends on beside its source: bundle, target and settings."""
    bundle = hashlib.sha256(converter.bundle.read("config.json")).hexdigest()
    parts = [bundle, target.fingerprint, target.name if settings.tagged else "", asdict(settings)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=_plain).encode()).hexdigest()


def _plain(number: np.generic) -> object:
    """A number of NumPy as one of Python."""
    return number.item()


@dataclass(frozen=True)
class Task:
    """A recording, the place of its result below the output folder, and the number of its target.

    Attributes:
        problem: why it cannot be converted; empty where nothing is known against it.
        fresh: no file had the name of the result when it was chosen. One that appears later is foreign.
    """

    source: Path
    output: Path
    target: int = 0
    problem: str = ""
    fresh: bool = False


@dataclass(frozen=True)
class Setup:
    """What all tasks share; `fingerprints` has one for each target."""

    converter: VoiceConverter
    targets: tuple[Target, ...]
    settings: Settings
    fingerprints: tuple[str, ...]
    folder: Path

    def perform(self, task: Task, progress: Progress, in_place: Callable[[], None]) -> Entry:
        """Convert one recording. Whatever goes wrong with it stands in the entry.

        Args:
            in_place: called once the result is in its place. Without its entry, the next run makes another.
        """
        started, entry = time.perf_counter(), self.failure(task, task.problem)
        try:
            before = regular_file(task.source)
            entry = replace(entry, sha256=sha256_of(task.source))

            def advance(share: float) -> None:
                _check_same(task.source, before)  # before the result takes the place of an older one
                if task.fresh and os.path.exists(self.folder / task.output):
                    raise InputError(appeared(self.folder / task.output))
                progress(share)

            result = self._convert(task, advance)
            in_place()
            _check_same(task.source, before)
            digest = sha256_of(result.output)
            entry = replace(entry, output_sha256=digest, seconds=round(result.seconds, 3), warnings=result.warnings)
        except Exception as error:  # one recording never ends the run
            entry = replace(entry, error=_reason(error))
        return replace(entry, elapsed=round(time.perf_counter() - started, 3))

    def failure(self, task: Task, error: str) -> Entry:
        """The entry of a task without a result."""
        return Entry(os.path.abspath(task.source), "", self.fingerprints[task.target], str(task.output), error=error)

    def _convert(self, task: Task, progress: Progress) -> Conversion:
        settings, target, output = self.settings, self.targets[task.target], self.folder / task.output
        info = audio.inspect_tracks(task.source, settings.strict, settings.channel)[0]
        output.parent.mkdir(parents=True, exist_ok=True)
        rate = audio.output_rate(info.rate, settings.rate, output)
        stored: dict[str, int | None] = {"rate": rate}
        if settings.subtype and not takes_subtype(output, settings.subtype):
            stored["subtype"] = None
        if not audio.has_bitrate(output):
            stored["bitrate"] = None
        return self.converter.convert_file(
            task.source,
            output,
            target.voice,
            **settings.arguments() | stored,
            tags=tags_for(task.source, self.converter, target.name) if settings.tagged else None,
            progress=lambda seconds: progress(seconds / (info.seconds or seconds or 1.0)),
        )


def takes_subtype(output: str | Path, subtype: str) -> bool:
    """Whether samples can be stored so in a file of this name; see `audio.subtype_of`."""
    try:
        audio.subtype_of(output, subtype)
    except InputError:
        return False
    return True


def tags_for(source: str | Path, converter: VoiceConverter, target: str) -> dict[str, str]:
    """The text fields of a conversion: its source's, and a comment that marks it as converted speech."""
    return audio.conversion_tags(audio.read_tags(source), TOOL, converter.bundle.config.name, target)


def is_marked_for(path: Path, converter: VoiceConverter, target: str) -> bool:
    """Whether a file's comment is one of `tags_for`, whatever the recording. Pipes are not waited for."""
    mark = plain_text(audio.conversion_tags({}, TOOL, converter.bundle.config.name, target)["comment"])
    comment = audio.read_tags(path).get("comment", "") if os.path.isfile(path) else ""
    return comment == mark or comment.startswith(f"{mark}. ")


def appeared(output: Path) -> str:
    """What is wrong where a result would replace a file that was not there when its name was chosen."""
    return f"{shown(output)} was written by another program meanwhile; run the command again"


def _check_same(source: Path, before: os.stat_result) -> None:
    """Raises InputError where a recording is no longer what it was."""
    now = regular_file(source)
    if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise InputError(f"{shown(source)} changed while it was converted; run the command again")


def _reason(error: Exception) -> str:
    """Why a recording was not converted, a sentence."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, MemoryError):
        return "there is too little memory; close other programs and try again"
    if isinstance(error, OSError):
        return f"the system refuses it ({error.strerror or error})"
    return f"an unexpected {type(error).__name__} ({error}); please report it"
