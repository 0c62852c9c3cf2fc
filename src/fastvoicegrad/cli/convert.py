"""``fastvoicegrad convert``: one recording in another voice."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from ..errors import InputError
from .common import BundleOption, ThreadsOption, console, errors, friendly

SHORT = 40.0  # seconds of source up to which no progress bar appears: they take less than two seconds


@friendly
def convert(
    source: Annotated[Path, typer.Argument(help="Recording to convert (WAV, FLAC, OGG, MP3, Opus).")],
    to: Annotated[list[Path], typer.Option("--to", help="Reference recording or .voice file; repeat to pool.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write; its suffix names the format.")],
    steps: Annotated[int, typer.Option(min=1, help="Diffusion steps; the built-in bundle needs one.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the initial noise.")] = 0,
    rate: Annotated[int | None, typer.Option(help="Sample rate of the output in Hz; default: the source's.")] = None,
    bundle: BundleOption = None,
    threads: ThreadsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Convert SOURCE to another voice: same words, same timing, same length."""
    from .. import audio
    from ..converter import VoiceConverter

    started = time.perf_counter()
    info = audio.inspect(source)
    if output.resolve() == source.resolve():
        raise InputError(f"{output} is the source itself; choose another name for the output")
    converter = VoiceConverter.load(bundle, threads)
    loaded = time.perf_counter()
    voice = converter.voice(to)
    embedded = time.perf_counter()
    with Progress(console=errors, transient=True, disable=as_json or info.seconds < SHORT) as progress:
        bar = progress.add_task("converting", total=info.seconds)
        result = converter.convert_file(
            source,
            output,
            voice,
            steps=steps,
            seed=seed,
            rate=rate,
            progress=lambda s: progress.update(bar, completed=s),
        )
    elapsed = time.perf_counter() - loaded
    stages = {"load": loaded - started, "voice": embedded - loaded, **result.stages}
    stages["audio"] = result.elapsed - sum(result.stages.values())
    report = {
        "output": str(result.output),
        "seconds": round(result.seconds, 3),
        "rate": result.rate,
        "samples": result.samples,
        "steps": steps,
        "seed": seed,
        "real_time_factor": round(elapsed / result.seconds, 5),
        "elapsed": round(elapsed, 4),
        "stages": {name: round(seconds, 4) for name, seconds in stages.items()},
        "reference_seconds": round(voice.seconds, 2),
    }
    if as_json:
        print(json.dumps(report))
        return
    console.print(
        f"{result.output}: {result.seconds:.2f} s at {result.rate} Hz in {elapsed:.2f} s, "
        f"{result.seconds / elapsed:.3g} times as fast as real time"
    )
    console.print("  " + "  ".join(f"{n} {s:.2f} s" for n, s in stages.items()), style="dim")
