"""``fastvoicegrad adapt``: a voice from minutes of speech, nearer than the one from seconds (needs [train])."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import InputError
from ..files import check_target
from .common import (
    BundleOption,
    StreamBundleOption,
    ThreadsOption,
    console,
    developer_module,
    errors,
    findings,
    friendly,
    printable,
)

TRAINED = ("CAM++",)  # the bundle's speaker encoder
SHORTEST, LONGEST = 0.1, 10_080  # minutes of training: six seconds, a week


@friendly
def adapt(
    recordings: Annotated[list[str], typer.Argument(help="Recordings of one voice: files, folders, patterns.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The .voice file to write.")] = None,
    minutes: Annotated[float, typer.Option(help="How long to train.")] = 10.0,
    steps: Annotated[int | None, typer.Option(min=1, help="Train for so many steps instead.")] = None,
    bundle_out: Annotated[
        Path | None,
        typer.Option(help="Train the whole converter on folders of voices, and write this bundle."),
    ] = None,
    metric_weights: Annotated[
        Path | None, typer.Option(help="Folder of the weights of judges that take no part in training.")
    ] = None,
    stream_bundle: StreamBundleOption = None,
    bundle: BundleOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Adapt the bundle to one voice, and report what it was worth. A killed run continues when started again."""
    if (output is None) == (bundle_out is None):
        raise InputError("give either -o NAME.voice for one voice, or --bundle-out FOLDER for a corpus")
    if not SHORTEST <= minutes <= LONGEST:
        raise InputError(f"--minutes must lie between {SHORTEST} and {LONGEST}, got {minutes}")
    if output is not None and output.suffix != ".voice":
        raise InputError(f"{output}: a voice file must be named .voice")
    if metric_weights is not None and not os.path.isdir(metric_weights):
        raise InputError(f"{metric_weights}: no such folder of metric weights")
    if bundle_out is not None and (metric_weights or stream_bundle):
        raise InputError("--metric-weights and --stream-bundle are for one voice; leave them out with --bundle-out")
    if output is not None:
        check_target(output)  # the judges take seconds to load
    run = developer_module("training.adapt.run")
    judges = developer_module("evaluation.judges").judges(metric_weights, TRAINED) if metric_weights else None
    shared = {"budget": run.Budget(minutes, steps, threads), "bundle": bundle, "warn": _warn, "note": _note}
    try:
        with findings(quiet=True):  # `_warn` gets what is found about the recordings, and conversions repeat it
            if output is not None:
                report = run.adapt(recordings, output, stream_bundle=stream_bundle, judges=judges, **shared)
                _print(report, output)
            else:
                developer_module("training.adapt.corpus").train_on(recordings, bundle_out, **shared)
    except run.NoGain as error:
        errors.print(f"fastvoicegrad: {printable(str(error))}", style="red")
        raise typer.Exit(1) from error


def _warn(sentence: str) -> None:
    errors.print(f"fastvoicegrad: warning: {printable(sentence)}", style="yellow")


def _note(sentence: str) -> None:
    console.print(printable(sentence))


def _print(report: Any, output: Path) -> None:
    """Prints a `training.adapt.report.Report`."""
    for comparison in report.comparisons:
        console.print(comparison.title, style="bold")
        for name, before in comparison.before.items():
            console.print(f"  {name}: {before:.3f} before, {comparison.after[name]:.3f} after")
    for sentence in report.notes:
        console.print(sentence)
    from ..audio.folders import REPORT

    page = output.with_suffix(REPORT) / "index.html"
    console.print(printable(f"{output}: written; {page} plays both voices"))
