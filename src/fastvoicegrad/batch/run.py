"""Conversion of many recordings into a folder: what is done is skipped, and one bad recording stops nothing.

with Batch(converter, "out", [make_target(converter, "nora")]) as batch:
    for event in batch.convert(["talks"]):
        print(event)
"""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal

from .. import audio
from ..converter import References, VoiceConverter
from ..errors import AudioWarning, InputError
from ..files import shown
from .checks import check_stored, check_targets
from .inputs import Earlier, Found, Inputs, find_inputs, output_names
from .journal import NAME, Entry, Journal, is_as_written, results_of
from .tasks import Settings, Setup, Target, Task, appeared, fingerprint, is_marked_for, make_target
from .watching import Facts, arrivals
from .workers import Done, Step, Workers

State = Literal["converted", "skipped", "failed"]

NO_BITRATE = "results that are neither MP3 nor Opus have no fixed bitrate; add --format to have one"


@dataclass(frozen=True)
class Outcome:
    """What became of a recording.

    Attributes:
        source: as it is reached from the inputs.
        output: the result, in the output folder. It exists unless the state is "failed".
        seconds: length of the recording; 0 where it was skipped or failed.
        warnings: findings about it, a sentence each.
        error: why it failed, a sentence that names it.
    """

    source: Path
    output: Path
    state: State
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    error: str = ""

    @property
    def findings(self) -> list[str]:
        """The warnings, each with the recording's name."""
        name = self.source.name
        return [warning if name in warning else f"{name}: {warning}" for warning in self.warnings]


@dataclass(frozen=True)
class Advance:
    """Progress of a recording that is being converted: the share that is done."""

    source: Path
    output: Path
    share: float


Event = Outcome | Advance
Known = Mapping[str, tuple[str, str, str]]


def convert_files(
    converter: VoiceConverter,
    inputs: Inputs,
    folder: str | os.PathLike[str],
    voice: References,
    settings: Settings | None = None,
    *,
    workers: int = 1,
    force: bool = False,
) -> list[Outcome]:
    """Convert files, folders and patterns to one voice, and return when all are done. See `Batch`.

    Raises:
        InputError: an input is missing, the voice or a setting cannot be used, or the folder cannot be written.
    """
    with Batch(converter, folder, [make_target(converter, voice)], settings, workers=workers, force=force) as batch:
        return [event for event in batch.convert(inputs) if isinstance(event, Outcome)]


class Batch:
    """An output folder, its log, and the processes that convert into it.

    Args:
        folder: is made where it is missing; it has the log, ``fastvoicegrad.jsonl``.
        targets: voices; more than one need folders of their own.
        workers: processes that convert side by side; the converter's threads are shared among them.
        force: whether to convert what is there already.
    Raises:
        InputError: a setting or a target cannot be used.
    """

    def __init__(
        self,
        converter: VoiceConverter,
        folder: str | os.PathLike[str],
        targets: Sequence[Target],
        settings: Settings | None = None,
        *,
        workers: int = 1,
        force: bool = False,
    ) -> None:
        settings = settings or Settings()
        settings.check(converter)
        check_targets(targets)
        if workers < 1:
            raise InputError(f"at least one worker is needed, got {workers}")
        self.folder, self.force = Path(folder), force
        prints = tuple(fingerprint(converter, settings, target) for target in targets)
        converter = _with_threads(converter, max(1, converter.bundle.threads // workers))
        self._setup = Setup(converter, tuple(targets), settings, prints, self.folder)
        self._journal: Journal | None = None
        self._seen: Known | None = None  # by which names were chosen before the log was locked
        self._ended = False
        self._workers = Workers(workers, self._setup)

    def __enter__(self) -> Batch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        self._workers.close()
        if self._journal is not None:
            self._journal.close()

    @property
    def log(self) -> Path:
        """The log: a JSON object a line for each recording that was finished."""
        return self.folder / NAME

    # -- once -----------------------------------------------------------------------------------------------

    def tasks(self, inputs: Inputs) -> list[Task]:
        """What is to be done for all recordings that are there now.

        Earlier results are read, and so are recordings that may take over the name of one.
        Warns with `AudioWarning` where a bitrate or a subtype is asked for that some results cannot have.

        Raises:
            InputError: an input is missing, a result would replace a source or a reference, or no result can have the
                bitrate or the subtype.
        """
        tasks = self._tasks_of(find_inputs(inputs, self.folder))
        check_stored(self._setup.settings, [task.output for task in tasks])
        return tasks

    def convert(self, inputs: Inputs) -> Iterator[Event]:
        """Convert all recordings; gives what happens, as it happens.

        Raises:
            InputError: see `tasks`; also where workers cannot start or the log cannot be written.
        """
        return self.run(self.tasks(inputs))

    def run(self, tasks: Iterable[Task]) -> Iterator[Event]:
        """`convert` for tasks that are known.

        Raises:
            InputError: the folder cannot be written, or another run uses it, or has done so since `tasks`.
                See also `convert`.
        """
        if self._ended:
            raise InputError("this run has ended; take its events within the 'with' block")
        journal = self._journal = self._journal or self._locked()
        failed, tasks = set[Path](), (self._at_its_turn(journal, task) for task in tasks)
        for event in self._workers.run(tasks, lambda task: self._is_done(journal, task), journal.add):
            if isinstance(event, Step):
                yield Advance(event.task.source, self.folder / event.task.output, event.share)
            else:
                if event.entry is not None and event.entry.error:
                    failed.add(self.folder / event.task.output)
                yield self._outcome(event)
        _remove_empty_folders(failed, self.folder)

    def _locked(self) -> Journal:
        """The log, locked. Names that were chosen before are good only if no other run has changed it since."""
        journal = Journal(self.folder)
        if self._seen is not None and _known(journal.results) != self._seen:
            journal.close()
            raise InputError(f"{shown(self.folder)}: another run has changed this folder; start again")
        return journal

    def _at_its_turn(self, journal: Journal, task: Task) -> Task:
        """A task as its conversion begins: it must not replace a file that has appeared since its name was chosen."""
        output = self.folder / task.output
        if task.problem or not task.fresh or not os.path.exists(output):
            return task
        if str(task.output) in journal.results:  # made by an earlier run of the same tasks
            return replace(task, fresh=False)
        return replace(task, problem=appeared(output))

    def _tasks_of(self, found: Sequence[Found]) -> list[Task]:
        results = self._journal.results if self._journal is not None else results_of(self.log)
        if self._journal is None:
            self._seen = _known(results)
        sources = {os.path.realpath(item.path) for item in found}
        is_foreign = partial(self._is_foreign, results, sources)
        names = output_names(found, self._setup.settings.format, self._earlier(results), is_foreign)
        tasks = [
            self._task(item, Path(target.folder) / name, number)
            for item, name in zip(found, names, strict=True)
            for number, target in enumerate(self._setup.targets)
        ]
        for output in (self.folder / task.output for task in tasks):
            if problem := self._in_the_way(output, sources):
                raise InputError(f"{shown(output)} {problem}; choose another folder")
        return tasks

    def _task(self, item: Found, output: Path, target: int) -> Task:
        return Task(item.path, output, target, item.problem, fresh=not os.path.exists(self.folder / output))

    def _earlier(self, results: Mapping[str, Entry]) -> list[Earlier]:
        """The log's results that are still there, without the folders of the targets."""
        found = list[Earlier]()
        for target in self._setup.targets:
            for output, entry in results.items():
                if not Path(output).is_relative_to(target.folder) or not os.path.exists(self.folder / output):
                    continue
                if self._is_edited(entry):
                    continue
                found.append(Earlier(entry.source, entry.sha256, Path(output).relative_to(target.folder)))
        return found

    def _is_foreign(self, results: Mapping[str, Entry], sources: Set[str], name: Path) -> bool:
        """Whether a file that is no result for its target has this name. Sources and references are refused."""
        for target in self._setup.targets:
            output = Path(target.folder) / name
            path, entry = self.folder / output, results.get(str(output))
            # `Path.exists` raises an OSError where a name is too long, until Python 3.14.
            if not os.path.exists(path) or self._in_the_way(path, sources):
                continue
            if self._is_edited(entry) if entry else not is_marked_for(path, self._setup.converter, target.name):
                return True
        return False

    def _is_edited(self, entry: Entry) -> bool:
        """Whether another program has made another recording of a result; damage is no edit. `force` replaces both."""
        try:
            if self.force or is_as_written(self.folder, entry):
                return False
            audio.inspect(self.folder / entry.output)
        except (OSError, InputError):
            return False
        return True

    def _in_the_way(self, output: Path, sources: Set[str]) -> str:
        """Why a result must not be written there: it would replace a source or a reference, or lie among references.

        Args:
            sources: real paths.
        """
        place, references = os.path.realpath(output), {path for t in self._setup.targets for path in t.inputs}
        if place in sources:
            return "is a source itself"
        if place in references:
            return "is a reference itself"
        among = any(str(parent) in references and parent.is_dir() for parent in Path(place).parents)
        return "would lie among the recordings of a voice" if among else ""

    def _is_done(self, journal: Journal, task: Task) -> bool:
        if self.force or task.problem:
            return False
        return journal.is_done(task.source, task.output, self._setup.fingerprints[task.target])

    def _outcome(self, event: Done) -> Outcome:
        entry, source, output = event.entry, event.task.source, self.folder / event.task.output
        if entry is None:
            return Outcome(source, output, "skipped")
        if entry.error:
            return Outcome(source, output, "failed", error=_named(source, entry))
        return Outcome(source, output, "converted", entry.seconds, tuple(entry.warnings))

    # -- going on -------------------------------------------------------------------------------------------

    def watch(self, inputs: Inputs) -> Iterator[Event | None]:
        """Convert what is there and what arrives, without an end. None: nothing new was found.

        A file that fails is tried again when it changes. Warns with `AudioWarning` where some results may have no
        bitrate.

        Raises:
            InputError: see `convert`.
        """
        if self._setup.settings.bitrate is not None and self._setup.settings.format is None:
            warnings.warn(NO_BITRATE, AudioWarning, stacklevel=2)
        return self._watched(inputs)

    def _watched(self, inputs: Inputs) -> Iterator[Event | None]:
        settled: dict[tuple[Path, Path], Facts] = {}
        for complete in arrivals(inputs, self.folder):
            if not complete:  # the names of all results are looked at where something came
                yield None
                continue
            facts = {item.path: facts for item, facts in complete.items()}
            tasks = self._tasks_of(list(complete))
            tasks = [task for task in tasks if settled.get((task.source, task.output)) != facts[task.source]]
            settled |= {(task.source, task.output): facts[task.source] for task in tasks}
            yield from self.run(tasks) if tasks else [None]


def _known(results: Mapping[str, Entry]) -> Known:
    """What names depend on: the recording of each result, its bytes and the result's."""
    return {output: (entry.source, entry.sha256, entry.output_sha256) for output, entry in results.items()}


def _remove_empty_folders(outputs: Iterable[Path], top: Path) -> None:
    """Removes folders below `top` that were made for results that do not exist."""
    for output in outputs:
        for folder in output.parents:
            if folder == top or not folder.is_relative_to(top):
                break
            with suppress(OSError):  # it is not empty, or was never made
                folder.rmdir()


def _with_threads(converter: VoiceConverter, threads: int) -> VoiceConverter:
    """A converter whose bundle uses that many threads."""
    bundle = copy.copy(converter.bundle)
    bundle.threads = threads
    return VoiceConverter(bundle)


def _named(source: Path, entry: Entry) -> str:
    """An error as a line that names its recording."""
    return entry.error if shown(source) in entry.error else f"{shown(source)}: {entry.error}"
