"""Writing sound files: beside the name that is asked for, so that a failure leaves nothing half-written."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile

from ..errors import InputError
from ..files import check_target, no_room, replacing, shown
from ..mel import Array
from .bitrates import MP3, OPUS, bitrate_range, encoder_options
from .repeatable import remove_chance
from .tags import declare_utf8, set_tags

FORMATS = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".opus": "OGG", ".mp3": "MP3", ".aiff": "AIFF"}
WIDTHS = {"PCM_U8": 1, "ULAW": 1, "ALAW": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4}  # bytes per sample
SUBTYPES = {"WAV": tuple(WIDTHS), "FLAC": ("PCM_16", "PCM_24"), "AIFF": ("PCM_16", "PCM_24", "PCM_32")}
SHORT_NAMES = {"8": "PCM_U8", "16": "PCM_16", "24": "PCM_24", "32": "PCM_32"}
LARGEST = 2**32 - 2**16  # bytes of sound in WAV and AIFF, whose sizes have 32 bits
LOWEST_RATE, HIGHEST_RATE = 8000, 96000  # Hz, of what is written
USUAL_RATE = 48000  # Hz, for formats that do not know the source's rate
WITH_SUBWOOFER = {"OPUS": (6, 7, 8), "VORBIS": (6,)}  # channels of which the encoder keeps only the bass in the last
SLICE = 1 << 16  # samples: libsndfile's Vorbis encoder puts what it is given on the stack


class Writer:
    """Takes the samples of a file. `samples` is their number so far, per channel."""

    def __init__(self, path: Path, file: soundfile.SoundFile, most: int | None) -> None:
        self._path, self._file, self._most = path, file, most
        self.samples = 0

    def write(self, block: Array) -> None:
        """Appends samples, shape ``(N,)``, or ``(N, channels)``, any N; those beyond full scale are clipped.

        Raises:
            InputError: not numbers, more than the format can hold, or the disk is full.
        """
        block = np.asarray(block, np.float32)
        if not np.isfinite(block).all():
            raise InputError(f"{shown(self._path)}: the result has samples that are not numbers")
        if self._most is not None and self.samples + len(block) > self._most:
            raise InputError(f"{shown(self._path)}: too long for its format (4 GiB); write .flac instead")
        for start in range(0, len(block), SLICE):
            self._file.write(np.clip(block[start : start + SLICE], -1.0, 1.0))
        self.samples += len(block)


def check_output(
    path: str | Path, rate: int, subtype: str | None = None, channels: int = 1, bitrate: int | None = None
) -> None:
    """Finds out before any work what would make `writing` fail.

    Raises:
        InputError: unknown suffix, no such folder, not writable, or a rate, a subtype, a number of channels or a
            bitrate that the format does not know.
    """
    path = Path(path)
    check_target(path)
    chosen = subtype_of(path, subtype)
    kind, name = FORMATS[path.suffix.lower()], path.suffix.lower()[1:].upper()
    check_rate(path, rate)
    if not _can_hold(kind, rate, chosen, channels):
        raise InputError(f"{shown(path)}: {name} cannot hold {channels} channels; write .wav instead")
    if bitrate is not None:
        check_bitrate(path, bitrate, rate, channels)


def check_rate(path: str | Path, rate: int) -> None:
    """Raises InputError where a file of this name cannot have a rate in Hz."""
    if not holds_rate(path, rate):
        name = Path(path).suffix.lower()[1:].upper()
        raise InputError(f"{shown(path)}: {name} cannot hold {rate} Hz; choose --rate 48000 or .wav")


def check_bitrate(path: str | Path, bitrate: int, rate: int, channels: int = 1) -> None:
    """Raises InputError where a file of this name and rate in Hz has no such bitrate in kbit/s."""
    name, found = Path(path).suffix.lower()[1:].upper(), bitrate_range(subtype_of(path), rate, channels)
    if found is None:
        raise InputError(f"{shown(path)}: {name} has no fixed bitrate; write .mp3 or .opus, or leave --bitrate out")
    if not found[0] <= bitrate <= found[1]:
        channel = f" and {channels} channels" if channels > 1 else ""
        allowed = f"a bitrate from {found[0]} to {found[1]} kbit/s"
        raise InputError(f"{shown(path)}: {name} with {rate} Hz{channel} takes {allowed}, got {bitrate}")


def subtype_of(path: str | Path, subtype: str | None = None) -> str:
    """How samples are stored in a file of this name, in libsndfile's words such as ``PCM_24``.

    Args:
        subtype: one of `SUBTYPES` in any case, or 8, 16, 24, 32 for as many bits; None: the format's default.
    Raises:
        InputError: unknown suffix, or a subtype that the format does not have.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    kind = FORMATS.get(suffix)
    if not suffix:
        names = ", ".join(shown(path.name).strip(".") + known for known in FORMATS)
        raise InputError(f"{shown(path)}: the name has no suffix; name it {names}")
    if kind is None:
        raise InputError(f"{shown(path)}: unknown kind of file '{shown(path.suffix)}'; name it {', '.join(FORMATS)}")
    if subtype is None:
        return "OPUS" if suffix == ".opus" else str(soundfile.default_subtype(kind))
    known = SUBTYPES.get(kind, ())
    chosen = SHORT_NAMES.get(subtype, subtype.upper())
    if chosen not in known:
        choice = f"choose {', '.join(known)}" if known else "leave --subtype out"
        raise InputError(f"{shown(path)}: {suffix[1:].upper()} has no subtype '{shown(subtype)}'; {choice}")
    return chosen


def has_bitrate(path: str | Path) -> bool:
    """Whether a file of this name has a bitrate that can be chosen."""
    return subtype_of(path) in (MP3, OPUS)


def holds_rate(path: str | Path, rate: int) -> bool:
    """Whether a file of this name can have a rate in Hz: Opus and MP3 know only some."""
    return _can_hold(FORMATS[Path(path).suffix.lower()], rate, subtype_of(path))


def output_rate(source: int, wanted: int | None, output: str | Path | None = None) -> int:
    """The output's rate in Hz: as wanted, else the source's, within what is written.

    Args:
        output: whose format may not know the source's rate, and then has 48 kHz.
    Raises:
        InputError: the wanted rate is outside 8-96 kHz.
    """
    if wanted is not None and not LOWEST_RATE <= wanted <= HIGHEST_RATE:
        raise InputError(f"rate must lie between {LOWEST_RATE} and {HIGHEST_RATE} Hz, got {wanted}")
    if wanted is not None:
        return wanted
    nearest = min(max(source, LOWEST_RATE), HIGHEST_RATE)
    known = output is None or Path(output).suffix.lower() not in FORMATS or holds_rate(output, nearest)
    return nearest if known else USUAL_RATE


def _can_hold(kind: str, rate: int, subtype: str, channels: int = 1) -> bool:
    if channels in WITH_SUBWOOFER.get(subtype, ()):
        return False
    try:
        with soundfile.SoundFile(io.BytesIO(), "w", rate, channels, subtype, format=kind) as file:
            file.write(np.zeros((1, channels), np.float32))  # FLAC refuses some rates only then
    except (soundfile.SoundFileError, ValueError):
        return False
    return True


@contextmanager
def writing(
    path: str | Path,
    rate: int,
    seconds: float | None = None,
    *,
    subtype: str | None = None,
    channels: int = 1,
    bitrate: int | None = None,
    tags: Mapping[str, str] | None = None,
) -> Iterator[Writer]:
    """A sound file that appears under its name only when the block ends without an error.

    The suffix names the format (WAV and AIFF 16 bit, FLAC, OGG Vorbis, MP3, Opus). The same samples and tags give
    the same bytes.

    Args:
        rate: samples per second.
        seconds: what is going to be written. Beyond 4 GiB, WAV gets the header of RF64.
        subtype: see `subtype_of`.
        bitrate: of MP3 and Opus in kbit/s, the nearest that the format has; None: the encoder's own choice.
        tags: see `set_tags`.
    Raises:
        InputError: see `check_output` and `Writer.write`; also where the disk is full.
    """
    path = Path(path)
    check_output(path, rate, subtype, channels, bitrate)
    kind, subtype = FORMATS[path.suffix.lower()], subtype_of(path, subtype)
    width, options = WIDTHS.get(subtype, 2) * channels, encoder_options(subtype, rate, channels, bitrate)
    long = seconds is not None and seconds * rate * width > LARGEST
    if long and kind == "AIFF":
        raise InputError(f"{shown(path)}: too long for AIFF (4 GiB); write .flac or .wav instead")
    container = "RF64" if long and kind == "WAV" else kind
    with replacing(path, path.suffix) as part:
        try:
            file = soundfile.SoundFile(_native(part), "w", rate, channels, subtype, format=container, **options)
            with file:
                set_tags(file, tags or {})
                writer = Writer(path, file, LARGEST // width if container in ("WAV", "AIFF") else None)
                yield writer
            complete = writer.samples == 0 or soundfile.info(_native(part)).frames >= writer.samples
        except soundfile.SoundFileError as error:
            raise no_room(path) from error
        if not complete:  # libsndfile's OGG encoders do not report that the disk is full
            raise no_room(path)
        remove_chance(part)
        if kind == "MP3":
            declare_utf8(part)


def _native(path: Path) -> str | bytes:
    """A name as `soundfile` takes it: on POSIX it need not be UTF-8."""
    return str(path) if sys.platform == "win32" else os.fsencode(path)
