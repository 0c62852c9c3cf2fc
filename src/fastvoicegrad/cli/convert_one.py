"""One recording into one file, from a file or a pipe to a file or a pipe."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from .. import audio
from ..batch import Settings, tags_for
from ..converter import Conversion, VoiceConverter
from ..errors import InputError
from ..files import scratch_folder
from ..library import reference_name
from .common import PIPE, STDIN, STDOUT, Names, console, errors, findings, from_stdin, named, printable

SHORT = 40.0  # seconds of source up to which no progress bar appears: they take less than two seconds


@contextmanager
def progress_bar(total: float | None) -> Iterator[Callable[[float], None]]:
    """A bar on stderr with the time left; what it gives takes the seconds that are done."""
    columns = (TextColumn("converting"), BarColumn(), TextColumn("{task.percentage:.0f} %"), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True) as progress:
        bar = progress.add_task("converting", total=total)
        yield lambda seconds: progress.update(bar, completed=seconds)


def convert_one(
    source: str, output: str, to: list[str], settings: Settings, bundle: Path | None, threads: int | None, as_json: bool
) -> None:
    """Convert a file or standard input to a file or standard output, and report.

    Raises:
        InputError: whatever cannot be used.
    """
    if settings.format is not None and output != PIPE:
        raise InputError("--format is for folders and pipes; here the suffix of the output names the format")
    if output == PIPE and sys.stdout is None:
        raise InputError(f"{STDOUT} is closed; send it to a file or a program")
    if output == PIPE and sys.stdout.isatty():
        raise InputError(f"{STDOUT} is a terminal; send it to a file or a program")
    if output == PIPE:
        settings.check_storage()
    piped = PIPE in (source, output)
    with scratch_folder() if piped else nullcontext(Path()) as folder:
        path = from_stdin(folder) if source == PIPE else Path(source)
        result = Path(folder, f"result.{settings.format or 'wav'}") if output == PIPE else Path(output)
        names = ({path: STDIN} if source == PIPE else {}) | ({result: STDOUT} if output == PIPE else {})
        with named(names):
            _convert(path, result, to, settings, bundle, threads, as_json, names)
        if output == PIPE:
            _to_stdout(result)


def _to_stdout(path: Path) -> None:
    try:
        with path.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it at the end
        if isinstance(error, BrokenPipeError):
            raise InputError("the program that reads the result has ended") from error
        raise InputError(f"standard output cannot be written ({error.strerror}); choose another place") from error


def _convert(
    source: Path,
    output: Path,
    to: list[str],
    settings: Settings,
    bundle: Path | None,
    threads: int | None,
    as_json: bool,
    names: Names,
) -> None:
    started = time.perf_counter()
    tracks = audio.inspect_tracks(source, settings.strict, settings.channel)
    rate = audio.output_rate(tracks[0].rate, settings.rate, output)
    audio.check_output(output, rate, settings.subtype, len(tracks), settings.bitrate)
    expected = tracks[0].seconds
    converter = VoiceConverter.load(bundle, threads)
    loaded = time.perf_counter()
    hidden = as_json or not errors.is_terminal or (expected is not None and expected < SHORT)
    tags = tags_for(source, converter, "+".join(map(reference_name, to))) if settings.tagged else None
    with (
        findings(as_json, names) as found,
        nullcontext(lambda seconds: None) if hidden else progress_bar(expected) as progress,
    ):
        result = converter.convert_file(source, output, to, tags=tags, progress=progress, **settings.arguments())
    _report(result, settings, loaded - started, found, as_json, quiet=output in names)


def _report(
    result: Conversion, settings: Settings, loading: float, found: list[str], as_json: bool, quiet: bool
) -> None:
    """Prints what was done; `quiet` keeps standard output free."""
    stages = {"load": loading, **result.stages}
    stages["audio"] = result.elapsed - sum(result.stages.values())
    output = STDOUT if quiet else str(result.output)
    if as_json:
        report = {
            "output": output,
            "seconds": round(result.seconds, 3),
            "rate": result.rate,
            "samples": result.samples,
            "steps": settings.steps,
            "seed": settings.seed,
            "real_time_factor": round(result.real_time_factor, 5),
            "elapsed": round(result.elapsed, 4),
            "stages": {name: round(seconds, 4) for name, seconds in stages.items()},
            "reference_seconds": round(result.speech, 2),
            "warnings": found,
        }
        print(json.dumps(report), file=sys.stderr if quiet else sys.stdout)
        return
    out = errors if quiet else console
    out.print(
        f"{printable(output)}: {result.seconds:.2f} s at {result.rate} Hz in {result.elapsed:.2f} s, "
        f"{1 / result.real_time_factor:.3g} times as fast as real time"
    )
    out.print("  " + "  ".join(f"{n} {s:.2f} s" for n, s in stages.items()), style="dim")
