"""``fastvoicegrad convert``: one recording in another voice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from .common import BundleOption, ThreadsOption, console, errors, findings, friendly

SHORT = 40.0  # seconds of source up to which no progress bar appears: they take less than two seconds


@contextmanager
def progress_bar(total: float | None) -> Iterator[Callable[[float], None]]:
    """A bar on stderr with the time left; what it gives takes the seconds that are done."""
    columns = (TextColumn("converting"), BarColumn(), TextColumn("{task.percentage:.0f} %"), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True) as progress:
        bar = progress.add_task("converting", total=total)
        yield lambda seconds: progress.update(bar, completed=seconds)


@friendly
def convert(
    source: Annotated[Path, typer.Argument(help="Recording to convert: any sound file, or the sound of a video.")],
    to: Annotated[list[Path], typer.Option("--to", help="Reference recording or .voice file; repeat to pool.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write; its suffix names the format.")],
    steps: Annotated[int, typer.Option(min=1, help="Diffusion steps; the built-in bundle needs one.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the initial noise.")] = 0,
    rate: Annotated[
        int | None, typer.Option(help="Sample rate of the output, 8000 to 96000 Hz; default: the source's.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse a source that breaks off.")] = False,
    bundle: BundleOption = None,
    threads: ThreadsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Convert SOURCE to another voice: same words, same timing, same length."""
    from .. import audio
    from ..converter import VoiceConverter, output_rate

    started = time.perf_counter()
    info = audio.inspect(source, strict)
    audio.check_output(output, output_rate(info.rate, rate))
    expected = info.seconds
    converter = VoiceConverter.load(bundle, threads)
    loaded = time.perf_counter()
    hidden = as_json or not errors.is_terminal or (expected is not None and expected < SHORT)
    with (
        findings(quiet=as_json) as found,
        nullcontext(lambda seconds: None) if hidden else progress_bar(expected) as progress,
    ):
        result = converter.convert_file(
            source,
            output,
            to,
            steps=steps,
            seed=seed,
            rate=rate,
            strict=strict,
            progress=progress,
        )
    stages = {"load": loaded - started, **result.stages}
    stages["audio"] = result.elapsed - sum(result.stages.values())
    report = {
        "output": str(result.output),
        "seconds": round(result.seconds, 3),
        "rate": result.rate,
        "samples": result.samples,
        "steps": steps,
        "seed": seed,
        "real_time_factor": round(result.real_time_factor, 5),
        "elapsed": round(result.elapsed, 4),
        "stages": {name: round(seconds, 4) for name, seconds in stages.items()},
        "reference_seconds": round(result.speech, 2),
        "warnings": found,
    }
    if as_json:
        print(json.dumps(report))
        return
    console.print(
        f"{result.output}: {result.seconds:.2f} s at {result.rate} Hz in {result.elapsed:.2f} s, "
        f"{1 / result.real_time_factor:.3g} times as fast as real time"
    )
    console.print("  " + "  ".join(f"{n} {s:.2f} s" for n, s in stages.items()), style="dim")
