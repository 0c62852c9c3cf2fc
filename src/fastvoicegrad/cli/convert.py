"""``fastvoicegrad convert``: recordings in another voice. The options; `convert_one` and `convert_many` do the rest."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import InputError
from ..files import shown
from .common import PIPE, BundleOption, ThreadsOption, friendly, known_names

FOLDER = "converted"  # of the results where none is named
SOUND, FOLDERS = "Sound", "Folders"  # panels of the help


@friendly
def convert(
    sources: Annotated[
        list[str], typer.Argument(metavar="IN", help="Recordings, videos, folders or patterns; - is standard input.")
    ],
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to",
            metavar="VOICE",
            help="Recording, folder of them, .voice file or name; repeat to pool.",
            autocompletion=known_names,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="For one recording: a file, whose suffix names the format; - is standard output. Else a folder "
            f"(default: {FOLDER}), finished recordings in it are skipped.",
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Diffusion steps; the built-in bundle allows one only.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the initial noise.")] = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse a source that breaks off.")] = False,
    bundle: BundleOption = None,
    threads: ThreadsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
    rate: Annotated[
        int | None,
        typer.Option(help="Sample rate, 8000 to 96000 Hz; default: the source's.", rich_help_panel=SOUND),
    ] = None,
    semitones: Annotated[
        float, typer.Option(help="Move the pitch away from the target's, -24 to 24.", rich_help_panel=SOUND)
    ] = 0.0,
    keep_pitch: Annotated[
        bool, typer.Option("--keep-pitch", help="Keep the height of the source's pitch.", rich_help_panel=SOUND)
    ] = False,
    formant: Annotated[
        float,
        typer.Option(
            help="Semitones, -12 to 12: higher = smaller, brighter-sounding speaker; lower = larger. The pitch stays.",
            rich_help_panel=SOUND,
        ),
    ] = 0.0,
    pauses: Annotated[
        Literal["converted", "silence", "source"],
        typer.Option(
            case_sensitive=False,
            help="What stands in the source's pauses; source is its own background.",
            rich_help_panel=SOUND,
        ),
    ] = "converted",
    loudness: Annotated[
        float | None,
        typer.Option(
            metavar="LUFS", help="Integrated loudness, -60 to -6; default: the source's.", rich_help_panel=SOUND
        ),
    ] = None,
    channel: Annotated[
        str | None,
        typer.Option(
            help="Of the source: left, right, mix or a number; each = every one by itself, side by side; "
            "default: the channels that have sound.",
            rich_help_panel=SOUND,
        ),
    ] = None,
    subtype: Annotated[
        str | None,
        typer.Option(help="Of WAV, FLAC and AIFF: 16, 24, FLOAT, ...; default: 16 bits.", rich_help_panel=SOUND),
    ] = None,
    bitrate: Annotated[
        int | None, typer.Option(min=1, metavar="KBIT/S", help="Of MP3 and Opus.", rich_help_panel=SOUND)
    ] = None,
    watermark: Annotated[
        bool,
        typer.Option("--watermark", help="Add an inaudible mark; needs the extra 'watermark'.", rich_help_panel=SOUND),
    ] = False,
    tags: Annotated[
        bool,
        typer.Option(
            "--tags/--no-tags", help="Copy title, artist, ... and mark as converted speech.", rich_help_panel=SOUND
        ),
    ] = True,
    each: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VOICE",
            help="Instead of --to: convert to each voice, in a folder of its own; repeat.",
            autocompletion=known_names,
            rich_help_panel=FOLDERS,
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="wav, flac, mp3, ogg, opus or aiff; default: the source's, or wav; of a pipe: wav.",
            rich_help_panel=FOLDERS,
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=256, help="Processes that convert side by side.", rich_help_panel=FOLDERS)
    ] = 1,
    force: Annotated[bool, typer.Option("--force", help="Convert also what is done.", rich_help_panel=FOLDERS)] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Wait for new recordings and convert them, until Ctrl-C.", rich_help_panel=FOLDERS
        ),
    ] = False,
) -> None:
    """Convert IN to another voice: same words, same timing, same length."""
    from ..batch import Settings

    if to and each:
        raise InputError("name a voice with --to VOICE, or several with --each VOICE, but not both")
    if not to and not each:
        raise InputError("name a voice with --to, e.g. --to nora; 'fastvoicegrad voice list' shows all names")
    check_texts({"IN": sources, "--to": to, "--each": each, "-o": None if output is None else [output]})
    if kind is not None and not (kind := kind.lower().removeprefix(".")):
        raise InputError("--format is empty; give wav, flac, mp3, ogg, opus or aiff, or leave it out")
    settings = Settings(
        steps=steps,
        seed=seed,
        rate=rate,
        strict=strict,
        semitones=semitones,
        keep_pitch=keep_pitch,
        formant=formant,
        pauses=pauses,
        channel=channel.lower() if channel else channel,
        loudness=loudness,
        subtype=subtype,
        bitrate=bitrate,
        watermark=watermark,
        format=kind,
        tagged=tags,
    )
    settings.check_sound()
    if PIPE in sources and output is None:
        output = PIPE
    if is_single(sources, output, bool(each or watch)):
        from .convert_one import convert_one

        assert output is not None
        convert_one(sources[0], output, to or [], settings, bundle, threads, as_json)
    else:
        from .convert_many import Run

        check_folder(output or FOLDER, sources)
        settings.check_storage()
        run = Run(settings, bundle, threads, workers, force, as_json)
        run.convert(sources, output or FOLDER, to or [], each or [], watch)


def check_texts(given: Mapping[str, Sequence[str] | None]) -> None:
    """Raises InputError where a text is empty, as that of an unset variable of the shell is."""
    for option, texts in given.items():
        if any(not text.strip() for text in texts or ()):
            raise InputError(f"{option} is empty; give it a name")


def is_single(sources: list[str], output: str | None, needs_folder: bool) -> bool:
    """Whether one recording is to become one file.

    Raises:
        InputError: standard input or output together with what needs a folder.
    """
    source = sources[0]
    folder = output is None or output.endswith(("/", os.sep)) or os.path.isdir(output)
    pattern = glob.has_magic(source) and not os.path.lexists(source)
    several = len(sources) > 1 or os.path.isdir(source) or pattern or needs_folder
    if PIPE in sources and (several or folder):
        raise InputError("standard input (-) is one recording; name one file as the output, or - again")
    if output == PIPE and several:
        raise InputError("standard output (-) takes one recording; name a folder")
    return not several and not folder


def check_folder(output: str, sources: Sequence[str]) -> None:
    """Raises InputError where an output folder has the name of one sound file."""
    from ..audio import FORMATS
    from ..batch.inputs import find_inputs

    suffix = os.path.splitext(output)[1].lower()
    if suffix in FORMATS and not os.path.lexists(output):
        if len(sources) > 1:
            some = ", ".join(map(shown, sources[:3]))
            raise InputError(
                f"{shown(output)} names one file, but there are {len(sources)} sources: {some}; "
                "quote names with spaces, repeat --to for each recording of a voice, or name a folder with -o"
            )
        if not any(os.path.isdir(source) for source in sources):
            find_inputs(sources[0], Path(output))  # a pattern that matches nothing is named instead
        raise InputError(f"{shown(output)} names one file, but several results may come; name a folder with -o")
