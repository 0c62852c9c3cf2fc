"""What the page does, without its looks: every method takes and gives paths, names and numbers."""

from __future__ import annotations

import re
import shutil
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp

from .. import audio
from ..batch import Advance, Batch, Outcome, Settings, Target, make_target, tags_for
from ..converter import VoiceConverter
from ..errors import AudioWarning, InputError
from ..files import shown
from ..library import VoiceLibrary
from ..preview import render_preview
from ..voice import Voice, blend

RESULTS = "converted.zip"
LONGEST_STEM = 60  # characters of a source's name in its result's
COMMAND_LINE = re.compile(r"; 'fastvoicegrad [^']*' lists the voices|, or --replace it")  # advice for another place

Progress = Callable[[float], None]  # called with the share that is done


@dataclass(frozen=True)
class Choice:
    """A target: the name of a voice or a blend, or else a recording."""

    name: str = ""
    recording: str | None = None

    @property
    def label(self) -> str:
        """In one word."""
        return self.name or Path(self.recording or "").stem


@dataclass(frozen=True)
class Sound:
    """A result, and what was found about the recordings, a sentence each."""

    path: Path
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Results:
    """What became of several recordings.

    Attributes:
        archive: a .zip of the converted ones; None where there is none.
        converted: how many there are in it.
        errors: why the others failed, a sentence each.
        notes: what was found about recordings.
    """

    archive: Path | None
    converted: int
    errors: tuple[str, ...]
    notes: tuple[str, ...]


class Studio:
    """Conversions, voices and their samples, one at a time.

    Args:
        converters: by the bundles' names; the first one converts, all can be compared.
        folder: for results; its owner deletes it.
    """

    def __init__(self, converters: Mapping[str, VoiceConverter], library: VoiceLibrary, folder: Path) -> None:
        self.converters, self.library, self.folder = dict(converters), library, folder
        self.converter = next(iter(self.converters.values()))
        self._lock = threading.Lock()

    # -- voices ---------------------------------------------------------------------------------------------

    def choices(self) -> list[tuple[str, str]]:
        """Name with description, and name, of each voice that can be read."""
        return [(label, name) for name in self.library.names() if (label := self._described(name))]

    def _described(self, name: str) -> str:
        try:
            description = self.library.entry(name).description
        except InputError:
            return ""
        return f"{name}: {description}" if description else name

    def sample(self, name: str) -> Sound:
        """The shipped recording in a voice of the library.

        Raises:
            InputError: no such voice, or it fits another bundle.
        """
        with self._work() as notes:
            entry = self.library.entry(name)
            if entry.preview:
                return Sound(entry.preview)
            path = self.folder / f"{entry.name}-{entry.path.stat().st_mtime_ns}.wav"
            if not path.exists():
                render_preview(self.converter, self._voice(Choice(name)), path, name=name)
        return Sound(path, tuple(notes))

    def blend(self, one: Choice, other: Choice, share: float) -> Sound:
        """The shipped recording in a voice between two.

        Args:
            share: of the other voice, 0 to 1.
        Raises:
            InputError: a voice or recording is missing or cannot be used.
        """
        with self._work(one.recording, other.recording) as notes:
            path = self.place("blend.wav")
            render_preview(self.converter, self._blend(one, other, share), path)
        return Sound(path, tuple(notes))

    def save_blend(self, name: str, one: Choice, other: Choice, share: float) -> None:
        """Keep a voice between two under a name.

        Raises:
            InputError: no name, or a taken one. See also `blend`.
        """
        with self._work(one.recording, other.recording):
            self.library.check_free(name.strip())
            description = f"{one.label}({1 - share:.2g})+{other.label}({share:.2g})"
            self.library.add(name.strip(), self._blend(one, other, share), description=f"blend of {description}")

    def _blend(self, one: Choice, other: Choice, share: float) -> Voice:
        return blend([self._voice(one), self._voice(other)], [1 - share, share])

    def _voice(self, choice: Choice, converter: VoiceConverter | None = None) -> Voice:
        converter = converter or self.converter
        if choice.name:
            return self.library.voice(converter, choice.name)
        if not choice.recording:
            raise InputError("the target is missing; choose a voice, or drop a recording of one")
        return converter.voice(Path(choice.recording))

    # -- conversion -----------------------------------------------------------------------------------------

    def convert(
        self,
        source: str | None,
        target: Choice,
        semitones: float = 0.0,
        keep_pitch: bool = False,
        formant: float = 0.0,
        pauses: str = "converted",
        progress: Progress = lambda share: None,
        bundle: str | None = None,
    ) -> Sound:
        """Convert a recording to a WAV of its length and rate.

        Args:
            semitones, keep_pitch, formant, pauses: see `VoiceConverter.convert`.
            bundle: by its name; None: the first.
        Raises:
            InputError: source or target are missing or cannot be used.
        """
        with self._work(source, target.recording) as notes:
            if not source:
                raise InputError("the source is missing; drop a recording, or record one")
            converter = self.converter if bundle is None else self.converters[bundle]
            voice, seconds = self._voice(target, converter), audio.inspect(source).seconds
            output = self.place(f"{Path(source).stem[:LONGEST_STEM]}-converted.wav")
            converter.convert_file(
                source,
                output,
                voice,
                semitones=semitones,
                keep_pitch=keep_pitch,
                formant=formant,
                pauses=pauses,
                tags=tags_for(source, converter, target.label),
                progress=lambda done: progress(done / (seconds or done or 1.0)),
            )
        return Sound(output, tuple(notes))

    def convert_files(
        self,
        sources: list[str] | None,
        target: Choice,
        semitones: float = 0.0,
        keep_pitch: bool = False,
        formant: float = 0.0,
        pauses: str = "converted",
        progress: Progress = lambda share: None,
    ) -> Results:
        """Convert recordings into one .zip. See `convert`.

        Raises:
            InputError: no source, or the target cannot be used.
        """
        sources = list(dict.fromkeys(sources or []))  # a file that was dropped twice is converted once
        with self._work(*sources, target.recording) as notes:
            if not sources:
                raise InputError("the sources are missing; drop one or more recordings")
            folder = self.place("results")
            made = replace(make_target(self.converter, self._voice(target)), name=target.label)
            settings = Settings(semitones=semitones, keep_pitch=keep_pitch, formant=formant, pauses=pauses)
            try:
                outcomes = self._run(folder, made, sources, settings, progress)
                notes += [finding for outcome in outcomes for finding in outcome.findings]
                errors = [outcome.error for outcome in outcomes if outcome.error]
                outputs = sorted(outcome.output for outcome in outcomes if not outcome.error)
                archive = folder.with_name(RESULTS) if outputs else None
                if archive:
                    with zipfile.ZipFile(archive, "w") as file:
                        for output in outputs:
                            file.write(output, output.relative_to(folder))
            finally:  # the page deletes what it gave away, which is the archive alone
                shutil.rmtree(folder, ignore_errors=True)
        return Results(archive, len(outputs), tuple(sentence(error, sources) for error in errors), tuple(notes))

    def _run(
        self, folder: Path, target: Target, sources: list[str], settings: Settings, progress: Progress
    ) -> list[Outcome]:
        outcomes = list[Outcome]()
        with Batch(self.converter, folder, [target], settings) as batch:
            for event in batch.convert(sources):
                share = event.share if isinstance(event, Advance) else 0.0
                outcomes += [event] if isinstance(event, Outcome) else []
                progress((len(outcomes) + share) / len(sources))
        return outcomes

    # -- around them ----------------------------------------------------------------------------------------

    def place(self, name: str) -> Path:
        """A new path for a result."""
        return Path(mkdtemp(dir=self.folder)) / name

    @contextmanager
    def _work(self, *recordings: str | None) -> Iterator[list[str]]:
        """One piece of work at a time. Gives a list that has the notes of the work when the block ends.

        Filters of warnings belong to the whole process, so two blocks must not overlap.
        """
        notes = list[str]()
        paths = [recording for recording in recordings if recording]
        with self._lock, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", AudioWarning)
            try:
                yield notes
            except InputError as error:
                raise InputError(sentence(str(error), paths)) from error
            found = [str(w.message) for w in caught if issubclass(w.category, AudioWarning)]
            notes[:] = dict.fromkeys(sentence(note, paths) for note in [*found, *notes])


def sentence(message: str, recordings: list[str]) -> str:
    """A message as a sentence that names recordings as the user does: without the folders of uploads."""
    for path in recordings:
        for text in (shown(path), path):
            message = message.replace(text, Path(path).name)
    message = COMMAND_LINE.sub("", message)
    is_name = message.startswith(tuple(Path(path).name for path in recordings))
    return (message if is_name else message[:1].upper() + message[1:]) + "."
