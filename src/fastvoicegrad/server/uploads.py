"""Uploaded recordings as temporary files, and messages about them that give nothing of this machine away."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory, gettempdir
from typing import BinaryIO

from fastapi import UploadFile

from ..audio import AudioInfo, inspect
from ..errors import InputError
from ..files import shown
from ..library import UnknownVoiceError
from .errors import ApiError
from .formats import wav_header

PCM_RATE = 16000  # Hz of `pcm_s16le_16`
UNNAMED = "the recording"
MOST_STREAMS = 64  # one behind the other in a file: opening each costs more than decoding it
PREFIX = "fastvoicegrad-upload-"  # of folders in the system's temporary folder
OLD = 86_400.0  # seconds after which such a folder is that of a server that was killed
COMMAND_LINE = re.compile(r"[;,][^;,]*'fastvoicegrad .*")  # advice that is of no use over HTTP
COPY = HEAD = 1 << 20  # bytes


@dataclass(frozen=True)
class Upload:
    """A recording that a client sent.

    Attributes:
        file: its bytes; a temporary file of the form parser.
        size: in bytes.
        label: its name in messages.
        pcm: whether it is samples alone: 16 bit, 16 kHz, mono.
    """

    file: BinaryIO
    size: int
    label: str
    pcm: bool = False

    @classmethod
    def of(cls, part: UploadFile, pcm: bool = False) -> Upload:
        """A part of a form."""
        return cls(part.file, part.size or 0, label_of(part.filename), pcm)


def label_of(name: str | None) -> str:
    """A file name of a client as text for messages: no folders, no control characters, at most 100 characters."""
    last = PurePosixPath((name or "").replace("\\", "/")).name
    return shown(last) or UNNAMED


@contextmanager
def opened(upload: Upload, most_seconds: float) -> Iterator[AudioInfo]:
    """The recording as a file, inspected. The file is deleted at the end.

    Errors inside the block become answers too.

    Raises:
        ApiError: 400, it cannot be used; 413, its header gives more than `most_seconds`.
    """
    if upload.label.lower().endswith(".voice"):
        raise ApiError(
            400, f"{upload.label} is a voice file; send a recording, or the name of a stored voice", "invalid_audio"
        )
    # The name is ours: a client's name never becomes a path.
    with TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as folder:  # `remove_old` deletes the rest
        path = Path(folder) / "recording"
        with path.open("wb") as file:
            if upload.pcm:
                file.write(wav_header(upload.size // 2, PCM_RATE))
            upload.file.seek(0)
            shutil.copyfileobj(upload.file, file, COPY)
        with speaking_of(path, upload.label):
            _check_head(path, upload.label, most_seconds)
            info = inspect(path, strict=True)
            check_seconds(info.seconds or 0.0, upload.label, most_seconds)
            if info.source and len(info.source.streams) > MOST_STREAMS:
                raise InputError(f"{upload.label} is a chain of many recordings; join them into one, as WAV or FLAC")
            yield info


def remove_old() -> None:
    """Deletes uploads that killed servers have left."""
    for folder in Path(gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            if time.time() - folder.lstat().st_mtime > OLD:
                shutil.rmtree(folder)


def _check_head(path: Path, label: str, most_seconds: float) -> None:
    """Refuses what is too long by its first MiB. To count the frames of a whole MP3 may take a second."""
    head = path.with_name("head")
    with path.open("rb") as file:
        head.write_bytes(file.read(HEAD))
    if head.stat().st_size < HEAD:
        return
    with suppress(InputError):  # the head alone need not be a recording
        check_seconds(inspect(head).seconds or 0.0, label, most_seconds)


def check_seconds(seconds: float, label: str, most: float) -> None:
    """Raises ApiError (413) where a recording is too long."""
    if seconds > most:
        raise ApiError(413, f"{label} is longer than {most:g} s; send a shorter one", "audio_too_long")


@contextmanager
def speaking_of(path: Path, label: str) -> Iterator[None]:
    """Turns InputError into an answer (400, or 404 for unknown voices) that names the recording as the client does."""
    try:
        yield
    except UnknownVoiceError as error:
        raise voice_not_found(error) from error
    except InputError as error:
        raise ApiError(400, without_path(str(error), path, label), "invalid_audio") from error


def voice_not_found(error: UnknownVoiceError) -> ApiError:
    """404. The library's advice is about the command line and is left out."""
    return ApiError(404, COMMAND_LINE.sub("", str(error)), "voice_not_found")


def reason_for_clients(error: InputError) -> str:
    """A message without advice about the command line; empty where it may name a file of this machine.

    Messages of the library quote names of voices, which have no separators and no suffix.
    """
    message = COMMAND_LINE.sub("", str(error))
    return "" if re.search(r"[/\\]|\.voice\b|\.flac\b| cannot be (changed|written)", message) else message


def without_path(message: str, path: Path, label: str) -> str:
    """A message in which a path of this machine is replaced by a label."""
    for name in (shown(path), str(path)):
        message = message.replace(name, label)
    return f"{label} cannot be used" if path.parent.name in message else message
