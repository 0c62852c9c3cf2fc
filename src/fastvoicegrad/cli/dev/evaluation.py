"""Evaluation: pairs, systems, figures, and the paper's tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ...errors import InputError
from ...files import same_file
from ..common import BundleOption, console, developer_module, existing, friendly

PairsOption = Annotated[Path, typer.Option(help="Pairs file, a pair a line; 'dev pairs' writes it.")]
WeightsOption = Annotated[Path, typer.Option(help="Folder of the metrics' weights, see docs/evaluation.md.")]
USUAL_WEIGHTS = Path("metric-weights")  # as in evaluation/weights.py, which only developers import
SystemsArgument = Annotated[
    list[str],
    typer.Argument(
        help="SYSTEM or NAME=SYSTEM: natural, source, hifigan:WEIGHTS, folder:PATH, stream:BUNDLE, MODEL\\[@STEPS], "
        "reference:SECONDS:MODEL, or copy-synthesis, plain, retrieved, converted-envelope or recorded-envelope with "
        ":MODEL. A MODEL is a bundle, default, or a CHECKPOINT.safetensors."
    ),
]


@friendly
def pairs(
    manifest: Annotated[Path, typer.Argument(help="Manifest of the recordings.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Pairs file to write.")],
    corpus: Annotated[list[str] | None, typer.Option(help="A corpus; repeat. Default: all.")] = None,
    split: Annotated[str, typer.Option(help="valid to choose by, test to report.")] = "test",
    sentences: Annotated[int, typer.Option(min=2, help="Sources per ordered pair of voices.")] = 10,
    references: Annotated[int, typer.Option(min=1, help="Recordings of the target.")] = 3,
    longest: Annotated[float, typer.Option(help="Longer recordings (s) are only references.")] = 30.0,
    seed: Annotated[int, typer.Option(help="Of the random choice.")] = 0,
    to_itself: Annotated[bool, typer.Option("--self", help="Each voice to itself, for 'dev diagnose'.")] = False,
) -> None:
    """Write the paper's protocol: ordered pairs of the voices of a split."""
    protocol = developer_module("evaluation.pairs")
    existing(manifest, "MANIFEST")
    if same_file(manifest, output):
        raise InputError(f"{output} is the manifest; give --output another name")
    made = protocol.pairs_of_manifest(
        manifest, corpus or [], split, sentences, references, seed, longest, self_pairs=to_itself
    )
    protocol.write_pairs(output, made)
    console.print(f"{output}: {len(made)} pairs of {len({p.target for p in made})} voices")


@friendly
def evaluate(
    systems: SystemsArgument,
    pairs: PairsOption,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the report and of all results.")] = Path(
        "report"
    ),
    metric_weights: WeightsOption = USUAL_WEIGHTS,
    against: Annotated[str, typer.Option(help="System to compare the others with; default: the first.")] = "",
    base: Annotated[Path | None, typer.Option(help="Bundle that lends a checkpoint its other networks.")] = None,
    jobs: Annotated[int, typer.Option(min=0, help="Processes; 0: one for each core.")] = 0,
    speed: Annotated[bool, typer.Option(help="Measure speed and memory as well.")] = True,
) -> None:
    """Evaluate systems on the same pairs: quality, words, voice, melody, speed. Finished work is not repeated."""
    run, report = developer_module("evaluation.run"), developer_module("evaluation.report")
    named = run.name_systems(systems)
    developer_module("evaluation.weights").check_weights(metric_weights)
    if output.exists() and not output.is_dir():
        raise InputError(f"--output {output} is not a folder; name one, which is made where it is missing")
    plan = run.Plan(named, str(pairs), str(output), str(metric_weights), str(base) if base else None)
    report.print_summary(run.evaluate(plan, against or next(iter(named)), jobs, speed))


@friendly
def diagnose(
    pairs: PairsOption,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the report.")] = Path("diagnosis"),
    metric_weights: WeightsOption = USUAL_WEIGHTS,
    bundle: BundleOption = None,
    jobs: Annotated[int, typer.Option(min=0, help="Processes; 0: one for each core.")] = 0,
) -> None:
    """Show where likeness and words are lost: each voice converted to itself, stage by stage."""
    module = developer_module("evaluation.diagnose")
    developer_module("evaluation.weights").check_weights(metric_weights)
    model = str(bundle) if bundle else None
    print(module.diagnose(pairs, output, metric_weights, model, jobs).read_text(encoding="utf-8"))


@friendly
def reference_length(
    pairs: PairsOption,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the report.")] = Path("reference-length"),
    metric_weights: WeightsOption = USUAL_WEIGHTS,
    bundle: BundleOption = None,
    seconds: Annotated[list[float] | None, typer.Option(help="A length; repeat. Default: 1, 3, 10, 30, 60.")] = None,
    jobs: Annotated[int, typer.Option(min=0, help="Processes; 0: one for each core.")] = 0,
) -> None:
    """Show what a longer reference is worth: likeness and words over its seconds, as a table and a plot."""
    module = developer_module("evaluation.reference_length")
    developer_module("evaluation.weights").check_weights(metric_weights)
    lengths = sorted(set(seconds or module.SECONDS))
    model = str(bundle) if bundle else None
    print(module.reference_length(pairs, output, metric_weights, model, lengths, jobs).read_text(encoding="utf-8"))


@friendly
def reproduce(
    tables: Annotated[
        list[str],
        typer.Argument(
            help="all, or of systems, losses, starts, initial, discriminators, matching, distillation, schedules, "
            "speed, languages."
        ),
    ],
    store: Annotated[Path, typer.Option(help="Feature store to train on.")],
    pairs: PairsOption,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of runs, report and tables; resumes there.")],
    budget: Annotated[str, typer.Option(help="smoke (minutes), small (hours on a CPU), paper (days on a GPU).")],
    recipes: Annotated[Path, typer.Option(help="Folder of the recipes.")] = Path("recipes"),
    metric_weights: WeightsOption = USUAL_WEIGHTS,
    base: Annotated[
        Path | None, typer.Option(help="Bundle that lends encoders and vocoder; default: built-in.")
    ] = None,
    teacher: Annotated[Path | None, typer.Option(help="Teacher's checkpoint; default: one is trained.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="Manifest with many languages, for 'languages'.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at once.")] = 1,
    longest: Annotated[
        float, typer.Option(help="Hours above which the waveform discriminator at equal steps is left out.")
    ] = 3.0,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Override in every student's recipe.")] = None,
) -> None:
    """Make the paper's tables: train what is missing, evaluate it, write the figures beside the published ones."""
    module = developer_module("evaluation.reproduce")
    plan = module.Reproduction(
        tables=tables,
        budget=budget,
        recipes=recipes,
        store=store,
        pairs=pairs,
        metric_weights=metric_weights,
        out=output,
        base=str(base) if base else None,
        teacher=teacher,
        manifest=manifest,
        jobs=jobs,
        longest=longest,
        settings=settings or [],
    )
    print(module.reproduce(plan).read_text(encoding="utf-8"))


@friendly
def probe(
    manifest: Annotated[Path, typer.Option(help="Manifest whose test split is used.")],
    campplus: Annotated[Path, typer.Option(help="CAM++ weights.")],
    bundle: BundleOption = None,
    per_voice: Annotated[int, typer.Option(help="Recordings of each voice.")] = 10,
) -> None:
    """Probe a bundle's encoders: voice left in the content, cosine to the teacher, equal-error rates."""
    existing(manifest, "--manifest")
    if not campplus.exists():
        raise InputError(f"--campplus {campplus}: no such file")
    print(json.dumps(developer_module("evaluation.probes").probe(manifest, campplus, bundle, per_voice), indent=1))


COMMANDS = (pairs, evaluate, diagnose, reference_length, reproduce, probe)
