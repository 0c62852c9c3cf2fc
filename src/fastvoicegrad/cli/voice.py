"""``fastvoicegrad voice``: voices by name, and as small files."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.cells import cell_len, set_cell_size

from ..errors import InputError
from .common import BundleOption, console, findings, friendly, known_names, printable

if TYPE_CHECKING:
    from ..converter import VoiceConverter
    from ..library import VoiceEntry, VoiceLibrary
    from ..voice import Voice

LONGEST_AUTOMATIC = 400  # characters of a blend that its description repeats

voices = typer.Typer(no_args_is_help=True, help="Make, list, play and blend voices.")


Known = typer.Argument(metavar="NAME", help="Name of a voice.", autocompletion=known_names)
KnownOrFile = typer.Argument(metavar="NAME", help="Name of a voice, or a .voice file.", autocompletion=known_names)
AnyVoice = typer.Argument(
    metavar="NAME", help="Name, blend, .voice file, recording or folder of them.", autocompletion=known_names
)
OutputOption = Annotated[Path | None, typer.Option("-o", "--output", help="The .voice file to write.")]
NameOption = Annotated[str | None, typer.Option("--name", help="Name under which your library keeps the voice.")]
DescriptionOption = Annotated[str, typer.Option("--description", help="One line about the voice.")]
ReplaceOption = Annotated[bool, typer.Option("--replace", help="Replace an older voice of this name.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@voices.command("make")
@friendly
def make(
    references: Annotated[
        list[str], typer.Argument(help="Recordings of the voice, or folders of them (several speakers blend).")
    ],
    output: OutputOption = None,
    name: NameOption = None,
    description: DescriptionOption = "",
    keep_audio: Annotated[
        bool, typer.Option("--keep-audio", help="Keep copies of the recordings, to make the voice again from.")
    ] = False,
    replace: ReplaceOption = False,
    bundle: BundleOption = None,
) -> None:
    """Make a voice from recordings: under a name, or as a .voice file."""
    from ..files import same_file

    _check_place(output, name, description, replace)
    if output is not None and any(same_file(output, reference) for reference in references):
        raise InputError(f"{output} is a reference itself; choose another name for the output")
    if keep_audio:
        _check_recordings(references, name)
    from ..converter import VoiceConverter

    with findings():
        converter = VoiceConverter.load(bundle)
        voice = converter.voice(references)
        kept = _recordings(references, converter) if keep_audio else []
        _store(voice, output, name, description, replace, kept)


@voices.command("blend")
@friendly
def blend(
    text: Annotated[str, typer.Argument(metavar="BLEND", help="Names with weights: anna(0.7)+ben(0.3).")],
    output: OutputOption = None,
    name: NameOption = None,
    description: DescriptionOption = "",
    replace: ReplaceOption = False,
    bundle: BundleOption = None,
) -> None:
    """Make one voice from several named ones, by weights."""
    _check_place(output, name, description, replace)
    from ..converter import VoiceConverter
    from ..library import VoiceLibrary

    automatic = f"blend of {text}" if len(text) <= LONGEST_AUTOMATIC else "a blend"
    with findings():
        voice = VoiceLibrary().voice(VoiceConverter.load(bundle), text)
        _store(voice, output, name, description or automatic, replace)


@voices.command("list")
@friendly
def show_all(as_json: JsonOption = False) -> None:
    """List the preset voices and your own."""
    from ..library import VoiceLibrary

    library = VoiceLibrary()
    found = [(name, _entry_or_problem(library, name)) for name in library.names()]
    if as_json:
        print(json.dumps([{"name": name, "problem": x} if isinstance(x, str) else _as_json(x) for name, x in found]))
        return
    if not found:
        console.print("There is no voice yet. 'fastvoicegrad voice make RECORDINGS --name NAME' makes one.")
        return
    rows = [("name", "kind", "pitch", "speech", "description")]
    for name, entry in found:
        if isinstance(entry, str):
            rows.append((name, "damaged", "", "", printable(entry)))
        else:
            kind = "preset" if entry.preset else "own"
            facts = f"{entry.pitch:.0f} Hz", f"{entry.seconds:.0f} s", printable(entry.description)
            rows.append((name, kind, *facts))
    _print_columns(rows)


@voices.command("show")
@friendly
def show(name: Annotated[str, KnownOrFile], bundle: BundleOption = None, as_json: JsonOption = False) -> None:
    """Show what is known of a voice."""
    from ..bundle import Bundle
    from ..library import VoiceLibrary, entry_of_file
    from ..voice_file import read_voice

    is_file = Path(name).suffix.lower() == ".voice"
    entry = entry_of_file(Path(name)) if is_file else VoiceLibrary().entry(name)
    opened, (_, _, adapter) = Bundle.open(bundle), read_voice(entry.path)
    fits = opened.fingerprint == entry.encoder
    adapted = None if adapter is None else adapter.converter
    streams = adapter.stream.converter if adapter is not None and adapter.stream is not None else None
    if as_json:
        print(json.dumps(_as_json(entry) | {"fits": fits, "adapted_for": adapted, "streams_adapted_for": streams}))
        return
    fit = "yes" if fits else _otherwise(entry, is_file or adapter is not None)
    facts = {
        "name": entry.name + (" (preset)" if entry.preset else ""),
        "description": entry.description or "none",
        "pitch": f"{entry.pitch:.0f} Hz, median",
        "speech": f"{entry.seconds:.1f} s",
        "sources": ", ".join(entry.sources) or "unknown",
        "kept recordings": str(entry.recordings),
        "encoders": f"{entry.encoder}; fits the bundle: {fit}",
        "file": str(entry.path),
    }
    if adapted:
        known = "yes" if adapted == opened.converter_fingerprint else "no; adapt the voice again"
        facts["adapted for"] = f"converter {adapted}; that of the bundle: {known}"
        facts["streams"] = f"adapted for converter {streams}" if streams else "not adapted; they use the plain voice"
    for fact, value in facts.items():
        console.print(printable(f"{fact}: {value}"))


def _otherwise(entry: VoiceEntry, fixed: bool) -> str:
    """What becomes of a voice of other encoders; `fixed`: it is never made again."""
    if entry.preset:
        return "no; presets fit the built-in bundle alone"
    return "no; it is made again when it is used" if entry.recordings and not fixed else "no; make the voice again"


@voices.command("play")
@friendly
def play(
    name: Annotated[str, AnyVoice],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Only write this sound file.")] = None,
    bundle: BundleOption = None,
) -> None:
    """Play the sample recording in a voice."""
    from ..converter import VoiceConverter
    from ..library import VoiceLibrary, check_apart, reference_name
    from ..preview import play, render_preview

    if output is not None:
        check_apart(output, [name])
    with findings():
        converter = VoiceConverter.load(bundle)
        voice = converter.voice(name)
        known = "" if os.path.exists(name) else name  # a file of this name comes before a voice
        path = output or VoiceLibrary().preview_path(known, converter.bundle.converter_fingerprint[:8])
        render_preview(converter, voice, path, name=reference_name(name))
    played = output is None and play(path)
    if not played:
        what = "" if output else "nothing was played, as no program for that was found; "
        console.print(f"{what}{printable(str(path))} is the sample in the voice of {printable(name)}", soft_wrap=True)


@voices.command("rename")
@friendly
def rename(old: Annotated[str, Known], new: Annotated[str, typer.Argument(help="New name.")]) -> None:
    """Give one of your voices another name."""
    from ..library import VoiceLibrary

    with findings():
        VoiceLibrary().rename(old, new)
    console.print(f"{printable(old)} is now {new}")


@voices.command("remove")
@friendly
def remove(names: Annotated[list[str], Known]) -> None:
    """Delete voices of yours, with their kept recordings."""
    from ..library import VoiceLibrary

    with findings():
        VoiceLibrary().remove(*names)
    for name in dict.fromkeys(names):
        console.print(f"{printable(name)} is removed")


def _check_place(output: Path | None, name: str | None, description: str, replace: bool) -> None:
    """Finds out before any work what would make `_store` fail.

    Raises:
        InputError: neither or both of file and name, one that cannot be written, or too long a description.
    """
    from ..files import check_target
    from ..library import VoiceLibrary, one_line

    one_line(description)

    if (output is None) == (name is None):
        raise InputError("give either --name NAME, to keep the voice in your library, or -o FILE.voice")
    if name is not None:
        VoiceLibrary().check_free(name, replace)
    if output is not None:
        if output.suffix != ".voice":
            raise InputError(f"{output}: a voice file must be named .voice")
        check_target(output)


def _check_recordings(references: Sequence[str], name: str | None) -> None:
    """Finds out whether recordings can be kept.

    Raises:
        InputError: something else than recordings, or no library to keep them in.
    """
    from ..library import is_recording, recordings_of

    if name is None:
        raise InputError("--keep-audio needs --name NAME: recordings are kept in your library")
    listed = [part for reference in references for part in recordings_of(reference)]
    for reference in listed:
        if not is_recording(reference):
            raise InputError(f"--keep-audio keeps recordings, and {reference} is none")


def _recordings(references: Sequence[str], converter: VoiceConverter) -> list[Path]:
    """The recordings to keep: of folders, those that a voice can be made from."""
    from ..library import is_folder, recordings_of

    def gives_voice(path: Path) -> bool:
        try:
            converter.voice_of_recording(path, quiet=True)
        except InputError:
            return False
        return True

    listed = [(Path(str(part)), is_folder(one)) for one in references for part in recordings_of(one)]
    return [path for path, in_folder in listed if not in_folder or gives_voice(path)]


def _store(
    voice: Voice,
    output: Path | None,
    name: str | None,
    description: str,
    replace: bool,
    recordings: Sequence[Path] = (),
) -> None:
    import dataclasses

    from ..library import VoiceLibrary, one_line

    if output is not None:
        description = one_line(description) or voice.description
        dataclasses.replace(voice, description=description, recordings=[]).save(output)
    elif name is not None:
        VoiceLibrary().add(name, voice, description=description, replace=replace, recordings=recordings)
    sources = ", ".join(voice.sources)
    console.print(printable(f"{output or name}: {voice.seconds:.1f} s of speech from {sources}"))


def _entry_or_problem(library: VoiceLibrary, name: str) -> VoiceEntry | str:
    try:
        return library.entry(name)
    except InputError as error:
        return str(error)


def _print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Cells below each other. No line is cut or wrapped, whatever the width of the terminal: names are copied."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (set_cell_size(cell, width) for cell, width in zip(row, widths, strict=True))
        console.print("  ".join(cells).rstrip())


def _as_json(entry: VoiceEntry) -> dict[str, Any]:
    preview = None if entry.preview is None else str(entry.preview)
    return asdict(entry) | {"path": str(entry.path), "preview": preview}
