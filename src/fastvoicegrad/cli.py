"""The command line: a thin face over the five verbs and the training commands."""

from __future__ import annotations

import functools
import importlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from .errors import InputError

F = TypeVar("F", bound=Callable[..., Any])

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
voices = typer.Typer(no_args_is_help=True, help="Keep voices as small files.")
app.add_typer(voices, name="voice")
console = Console(soft_wrap=True)
errors = Console(stderr=True, soft_wrap=True)

BundleOption = Annotated[Path | None, typer.Option("--bundle", help="Bundle folder or .zip; default: the built-in.")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="CPU threads; default: all cores.")]
PATIENCE = 2.0  # seconds of expected work above which a progress bar appears


def friendly(command: F) -> F:
    """Bad input ends in one line and exit code 2."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except InputError as error:
            errors.print(f"fastvoicegrad: {error}", style="red", markup=False, highlight=False)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            errors.print("stopped")
            raise typer.Exit(130) from error

    return wrapped  # type: ignore[return-value]


def workshop(module: str) -> Any:
    """A module of the training half, or a line that says how to install it."""
    try:
        return importlib.import_module(f"fastvoicegrad.{module}")
    except ModuleNotFoundError as error:
        raise InputError(f"this command needs '{error.name}': run pip install \"fastvoicegrad[train]\"") from error


@app.command()
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
    """Speak SOURCE with another voice: same words, same timing, same length."""
    from .audio import files as audio
    from .converter import VoiceConverter

    started = time.perf_counter()
    info = audio.inspect(source)
    if output.resolve() == source.resolve():
        raise InputError(f"{output} is the source itself; choose another name for the output")
    converter = VoiceConverter.load(bundle, threads)
    loaded = time.perf_counter()
    voice = converter.voice(to)
    embedded = time.perf_counter()
    with Progress(console=errors, transient=True, disable=as_json or info.seconds < 20 * PATIENCE) as progress:
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
        f"{result.output}: {result.seconds:.2f} s at {result.rate} Hz in {elapsed:.2f} s "
        f"(real-time factor {elapsed / result.seconds:.4f}: "
        f"{result.seconds / elapsed:.0f} times faster than real time)",
        highlight=False,
    )
    console.print("  " + "  ".join(f"{n} {s:.2f} s" for n, s in stages.items()), style="dim", highlight=False)


@voices.command("make")
@friendly
def voice_make(
    references: Annotated[list[Path], typer.Argument(help="Recordings of the voice (several speakers blend).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .voice file to write.")],
    bundle: BundleOption = None,
) -> None:
    """Make a .voice file, which --to accepts in place of recordings."""
    from .converter import VoiceConverter

    if output.suffix != ".voice":
        raise InputError(f"{output}: a voice file must be named .voice")
    voice = VoiceConverter.load(bundle).voice(references)
    voice.save(output)
    console.print(f"{output}: {voice.seconds:.1f} s of speech from {', '.join(voice.sources)}", highlight=False)


@app.command()
@friendly
def info(
    bundle: Annotated[Path | None, typer.Argument(help="Bundle folder or .zip; default: the built-in.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the bundle's config.json fields.")] = False,
) -> None:
    """Say what a bundle is, after checking every file of it."""
    from .bundle import Bundle

    opened = Bundle.open(bundle)
    config = opened.config
    if as_json:
        print(json.dumps(asdict(config)))
        return
    rate = config.mel.sample_rate
    table = Table("network", "file", "looks back", "looks ahead", title=config.name, title_justify="left")
    for name, network in config.networks.items():
        reach = [f"{frames * config.mel.hop_length / rate * 1000:.0f} ms" for frames in (network.left, network.right)]
        table.add_row(name, network.file, *(["-", "-"] if name == "speaker" else reach))
    console.print(table)
    console.print(f"{rate} Hz, {config.mel.n_mels} mels, starts at step {config.start} of {config.steps}, ", end="")
    console.print("one step" if config.max_steps == 1 else f"1 to {config.max_steps} steps")
    for key, value in config.notes.items():
        console.print(f"{key}: {value if isinstance(value, str) else json.dumps(value)}", highlight=False, markup=False)


@app.command()
@friendly
def prepare(
    manifest: Annotated[Path, typer.Argument(help="JSON lines: id, path, corpus, speaker, duration, split ...")],
    store: Annotated[Path, typer.Option("-o", "--output", help="Feature store to make or complete.")],
    recipe: Annotated[Path | None, typer.Option(help="YAML with the fields of PrepareConfig.")] = None,
    stage: Annotated[
        list[str] | None,
        typer.Option(help="mel, pitch, units, speaker, content-embedding, speaker-embedding, twins; repeat."),
    ] = None,
    content: Annotated[Path | None, typer.Option(help="Content encoder's checkpoint.")] = None,
    speaker: Annotated[Path | None, typer.Option(help="Speaker encoder's checkpoint.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Override: name=value; repeat.")] = None,
) -> None:
    """Turn recordings into training arrays. What is there already is not made again."""
    prepared, recipes = workshop("training.data.prepare"), workshop("training.recipe")
    data = recipes.read_yaml(recipe, settings) if recipe else recipes.overridden({}, settings)
    config = recipes.build(prepared.PrepareConfig, {**data, "manifest": str(manifest), "store": str(store)})
    stages = stage or list(prepared.STAGES)
    unknown = set(stages) - {*prepared.STAGES, "content-embedding", "speaker-embedding", "twins"}
    if unknown:
        raise InputError(f"unknown stage {', '.join(sorted(unknown))}; see --help")
    opened = prepared.prepare(config, [s for s in stages if s in prepared.STAGES])
    if "content-embedding" in stages or "speaker-embedding" in stages:
        embed = workshop("training.data.embed")
        if "speaker-embedding" in stages:
            embed.embed_speaker(opened, _needed(speaker, "--speaker"))
        if "content-embedding" in stages:
            embed.embed_content(
                opened, _needed(content, "--content"), workshop("training.data.perturb").PerturbConfig(noise=0.0)
            )
    if "twins" in stages:
        workshop("training.data.parallel").align_parallel(opened)


def _needed(path: Path | None, option: str) -> Path:
    if path is None or not path.exists():
        raise InputError(f"{option}: name an existing checkpoint")
    return path


@app.command()
@friendly
def train(
    part: Annotated[str, typer.Argument(help="content, speaker, pitch, vocoder, teacher or student.")],
    recipe: Annotated[Path, typer.Option(help="YAML recipe; recipes/ has several.")],
    out: Annotated[Path, typer.Option("-o", "--output", help="Folder for checkpoints and curves; resumes there.")],
    settings: Annotated[list[str] | None, typer.Option("--set", help="Override: name.name=value; repeat.")] = None,
) -> None:
    """Train one part. Killed and started again, it goes on exactly where its last checkpoint is."""
    recipes, loop = workshop("training.recipe"), workshop("training.loop")
    if part not in recipes.PARTS:
        raise InputError(f"'{part}' cannot be trained; choose one of {', '.join(recipes.PARTS)}")
    data = recipes.read_yaml(recipe, settings)
    try:
        task, resolved = recipes.make_task(part, data)
        loop.Trainer(task, out, resolved).run()
    except (FileNotFoundError, loop.NonFiniteLoss) as error:
        raise InputError(str(error)) from error


@app.command()
@friendly
def distill(
    recipe: Annotated[Path, typer.Option(help="A student's recipe, which names its teacher; recipes/ has several.")],
    out: Annotated[Path, typer.Option("-o", "--output", help="Folder for checkpoints and curves; resumes there.")],
    settings: Annotated[list[str] | None, typer.Option("--set", help="Override: name.name=value; repeat.")] = None,
) -> None:
    """Distil a teacher into one step: the same as 'train student'."""
    train("student", recipe, out, settings)


@app.command()
@friendly
def align(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint with a content encoder.")],
    to: Annotated[Path, typer.Option(help="Checkpoint with the encoder that converters were trained on.")],
    store: Annotated[Path, typer.Option(help="Feature store whose recordings both hear.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Checkpoint to write.")],
    fresh_heads: Annotated[
        bool, typer.Option(help="New heads, to be learnt with kept=encoder, for an encoder that is to learn on.")
    ] = False,
) -> None:
    """Bring a content encoder into another's coordinates: converters of the other go on with it."""
    _needed(checkpoint, "CHECKPOINT")
    _needed(to, "--to")
    met = workshop("training.align").align(checkpoint, to, store, output, fresh_heads)
    console.print(f"{output}: {100 * met:.0f} % of the other's variance met")


@app.command()
@friendly
def average(
    checkpoints: Annotated[list[Path], typer.Argument(help="Two or more checkpoints of one recipe's network.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Checkpoint to write.")],
    share: Annotated[
        list[float] | None, typer.Option(help="Of a checkpoint in the mean; one for each or none: as much of all.")
    ] = None,
) -> None:
    """Write the mean of runs' weights: often better than each of them, and as fast as one."""
    for path in checkpoints:
        _needed(path, "CHECKPOINTS")
    workshop("training.checkpoint").average(checkpoints, output, share or ())


@app.command()
@friendly
def export(
    output: Annotated[Path, typer.Option("-o", "--output", help="Bundle folder to write.")],
    content: Annotated[Path, typer.Option(help="Content encoder's checkpoint.")],
    speaker: Annotated[Path, typer.Option(help="Speaker encoder's checkpoint.")],
    pitch: Annotated[Path, typer.Option(help="Pitch tracker's checkpoint.")],
    vocoder: Annotated[Path, typer.Option(help="Vocoder's checkpoint.")],
    student: Annotated[Path | None, typer.Option(help="Student's checkpoint: a bundle of one step.")] = None,
    teacher: Annotated[Path | None, typer.Option(help="Teacher's checkpoint: a bundle of any number of steps.")] = None,
    smoothing: Annotated[
        float, typer.Option(min=0, max=0.3, help="Share of each neighbouring frame in a converted one.")
    ] = 0.12,
    sharpening: Annotated[
        float, typer.Option(min=0.5, max=2, help="Factor on what is finer than a converted frame's tilt.")
    ] = 1.25,
    match_variance: Annotated[
        bool, typer.Option(help="Bands deviate from their means as far as the voice's do.")
    ] = True,
    temperature: Annotated[
        float, typer.Option(min=0, max=1, help="Deviation of the noise that conversions begin and go on with.")
    ] = 0.5,
    guidance: Annotated[
        float, typer.Option(min=0, max=2, help="How far conversions move away from the source's own voice.")
    ] = 0.65,
    guidance_cosines: Annotated[
        int, typer.Option(min=1, max=80, help="Of that, the slowest cosines over the bands that are kept.")
    ] = 30,
    notes: Annotated[Path | None, typer.Option(help="YAML of licence, training data, metrics for the bundle.")] = None,
    name: Annotated[str, typer.Option(help="The bundle's name.")] = "fastvoicegrad",
) -> None:
    """Write a bundle from checkpoints: all that the run time needs."""
    exporter, recipes = workshop("training.export"), workshop("training.recipe")
    from .postfilter import PostFilter

    if (student is None) == (teacher is None):
        raise InputError("give either --student or --teacher")
    converter = student or teacher
    for path in (content, speaker, pitch, vocoder, converter):
        _needed(path, "checkpoint")
    exporter.export(
        output,
        content=content,
        speaker=speaker,
        pitch=pitch,
        vocoder=vocoder,
        converter=converter,
        teacher=teacher is not None,
        postfilter=PostFilter(smoothing, sharpening, match_variance),
        temperature=temperature,
        guidance=guidance,
        guidance_cosines=guidance_cosines,
        name=name,
        notes=recipes.read_yaml(notes) if notes else None,
    )
    console.print(f"{output}: {sum(f.stat().st_size for f in output.iterdir()) / 1e6:.1f} MB")


@app.command()
@friendly
def quantise(
    speech: Annotated[list[Path], typer.Argument(help="Recordings of two voices or more: what is to be heard well.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Bundle folder to write.")],
    bundle: BundleOption = None,
) -> None:
    """Write a bundle that computes in eight bits: faster, and nearly the same. Judge it before you use it."""
    workshop("training.quantise").quantise(bundle, speech, output)
    console.print(str(output), highlight=False)


@app.command()
@friendly
def restore(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the checkpoints.")],
    bundle: BundleOption = None,
) -> None:
    """Write checkpoints from a bundle: where training can start from (loop.start_from), as can another export."""
    for path in workshop("training.restore").restore(bundle, output):
        console.print(str(path), highlight=False)


@app.command()
@friendly
def evaluate(
    pairs: Annotated[Path, typer.Option(help="Protocol file, a pair a line; --make-pairs writes it.")],
    systems: Annotated[
        list[str] | None,
        typer.Argument(
            help="SYSTEM or NAME=SYSTEM: natural, source, copy-synthesis[:BUNDLE], hifigan:WEIGHTS, folder:PATH, "
            "BUNDLE[@STEPS], default, CHECKPOINT.safetensors[@STEPS]."
        ),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the report and of all results.")] = Path(
        "report"
    ),
    metric_weights: Annotated[Path, typer.Option(help="Folder of the judges' weights, see docs/evaluation.md.")] = Path(
        "metric_weights"
    ),
    against: Annotated[str, typer.Option(help="System that the others are compared with; default: the first.")] = "",
    base: Annotated[Path | None, typer.Option(help="Bundle that lends a checkpoint its other networks.")] = None,
    jobs: Annotated[int, typer.Option(min=0, help="Processes; 0: one for each core.")] = 0,
    speed: Annotated[bool, typer.Option(help="Measure speed and memory as well.")] = True,
    make_pairs: Annotated[Path | None, typer.Option(help="Manifest to make the protocol file of.")] = None,
    corpus: Annotated[list[str] | None, typer.Option(help="With --make-pairs: a corpus; repeat.")] = None,
    split: Annotated[str, typer.Option(help="With --make-pairs: valid to choose by, test to report.")] = "test",
    sentences: Annotated[int, typer.Option(min=2, help="With --make-pairs: sources per ordered pair of voices.")] = 10,
    references: Annotated[int, typer.Option(min=1, help="With --make-pairs: recordings of the target.")] = 3,
    longest: Annotated[
        float, typer.Option(help="With --make-pairs: longer recordings (s) are only references.")
    ] = 30.0,
    seed: Annotated[int, typer.Option(help="With --make-pairs: what is drawn.")] = 0,
) -> None:
    """Judge systems on the same pairs: quality, words, voice, melody, speed. What is there is not done again."""
    protocol, run, report = (workshop(f"evaluation.{name}") for name in ("pairs", "run", "report"))
    if make_pairs:
        _needed(make_pairs, "manifest")
        made = protocol.pairs_of_manifest(make_pairs, corpus or [], split, sentences, references, seed, longest)
        protocol.write_pairs(pairs, made)
        console.print(f"{pairs}: {len(made)} pairs of {len({p.target for p in made})} voices", highlight=False)
    elif not systems:
        raise InputError("give a system to judge, e.g. default, or --make-pairs MANIFEST")
    if systems:
        named = run.name_systems(systems)
        plan = run.Plan(named, str(pairs), str(output), str(metric_weights), str(base) if base else None)
        report.print_summary(run.evaluate(plan, against or next(iter(named)), jobs, speed))


@app.command()
@friendly
def reproduce(
    tables: Annotated[list[str], typer.Argument(help="systems, losses, starts, initial, discriminators.")],
    store: Annotated[Path, typer.Option(help="Feature store to train on.")],
    pairs: Annotated[Path, typer.Option(help="Protocol file to judge on, see evaluate --make-pairs.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of runs, report and tables; resumes there.")],
    budget: Annotated[str, typer.Option(help="smoke (seconds), small (hours on a CPU), paper (days on a GPU).")],
    recipes: Annotated[Path, typer.Option(help="Folder of the recipes.")] = Path("recipes"),
    metric_weights: Annotated[Path, typer.Option(help="Folder of the judges' weights.")] = Path("metric_weights"),
    base: Annotated[
        Path | None, typer.Option(help="Bundle that lends encoders and vocoder; default: built-in.")
    ] = None,
    teacher: Annotated[Path | None, typer.Option(help="Teacher's checkpoint; default: one is trained.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at once.")] = 1,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Override in every student's recipe.")] = None,
) -> None:
    """Make the paper's tables: train what is missing, judge it, write the figures beside the published ones."""
    reproduced = workshop("evaluation.reproduce")
    plan = reproduced.Reproduction(
        tables=tables,
        budget=budget,
        recipes=recipes,
        store=store,
        pairs=pairs,
        metric_weights=metric_weights,
        out=output,
        base=str(base) if base else None,
        teacher=teacher,
        jobs=jobs,
        settings=settings or [],
    )
    print(reproduced.reproduce(plan).read_text())


@app.command()
@friendly
def probe(
    manifest: Annotated[Path, typer.Option(help="Manifest whose test split is used.")],
    campplus: Annotated[Path, typer.Option(help="CAM++ weights.")],
    bundle: BundleOption = None,
    per_voice: Annotated[int, typer.Option(help="Recordings of each voice.")] = 10,
) -> None:
    """Say what a bundle's encoders know: voice left in the content, cosine to the teacher, equal-error rates."""
    probes, corpus, teachers = (
        workshop("evaluation.probes"),
        workshop("training.data.corpus"),
        workshop("training.data.teachers"),
    )
    from .converter import VoiceConverter

    recordings = [r for r in corpus.read_manifest(manifest) if r.split == "test"]
    recordings = corpus.limit_per_voice(recordings, dict.fromkeys({r.corpus for r in recordings}, per_voice))
    converter = VoiceConverter.load(bundle)
    teacher = teachers.SpeakerTeacher(str(campplus))
    report = {
        "content": probes.content_probe(converter.bundle, recordings),
        "speaker": probes.speaker_probe(converter, recordings, teacher),
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    app()
