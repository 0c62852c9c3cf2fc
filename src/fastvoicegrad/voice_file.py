"""The ``.voice`` file: safetensors with three to five arrays, and a description as JSON in its metadata.

A file is untrusted: names, types, shapes and sizes are compared with limits before an array is used.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from .bundle_config import MOST_ADAPTER
from .errors import InputError
from .files import regular_file, replacing, shown
from .mel import Array

FORMAT = 3  # 1 and 2 were JSON and NumPy's .npz
MOST_FRAMES = 2048  # frames (24 s) that a voice keeps for retrieval
MOST_CHANNELS = 1024  # of an embedding
LOWEST_PITCH, HIGHEST_PITCH = 20.0, 2000.0  # Hz
MOST_SOURCES, LONGEST_SOURCE = 1000, 300  # names that a file keeps, characters of a name
LONGEST_DESCRIPTION = 500  # characters
LONGEST_FINGERPRINT = 64
MOST_BYTES, MOST_HEADER = 1 << 24, 1 << 22  # of a file, and of the JSON at its start
AGAIN = "make it again with 'fastvoicegrad voice make'"
KEY = "voice"  # of the description in the metadata
ADAPTER, STREAM_ADAPTER = "adapter", "stream_adapter"  # arrays, and in the metadata the converters that they are for

RECORDING = r"^[0-9a-f]{32}\.flac$"  # file name of a kept recording
Source = Annotated[str, msgspec.Meta(max_length=LONGEST_SOURCE)]
Recording = Annotated[str, msgspec.Meta(pattern=RECORDING)]
Size = Annotated[int, msgspec.Meta(ge=1, le=MOST_FRAMES)]
Offset = Annotated[int, msgspec.Meta(ge=0, le=MOST_BYTES)]


class About(msgspec.Struct, forbid_unknown_fields=True):
    """The description in a ``.voice`` file; `Voice` explains the fields."""

    pitch: Annotated[float, msgspec.Meta(ge=LOWEST_PITCH, le=HIGHEST_PITCH)]
    encoder: Annotated[str, msgspec.Meta(max_length=LONGEST_FINGERPRINT)]
    seconds: Annotated[float, msgspec.Meta(ge=0, lt=1e7)]
    sources: Annotated[list[Source], msgspec.Meta(max_length=MOST_SOURCES)]
    description: Annotated[str, msgspec.Meta(max_length=LONGEST_DESCRIPTION)] = ""
    recordings: Annotated[list[Recording], msgspec.Meta(max_length=MOST_SOURCES)] = []
    format: int = FORMAT


@dataclass(frozen=True)
class Adapter:
    """What `fastvoicegrad adapt` learns of a voice: one more input of a converter.

    Attributes:
        values: (A,), float32; zeros change nothing.
        converter: fingerprint of the converter that it was trained with; it fits no other one.
        stream: the same for the converter of a stream bundle; None: streams convert to the plain voice.
    """

    values: Array
    converter: str
    stream: Adapter | None = None


class _Tensor(msgspec.Struct, forbid_unknown_fields=True):
    dtype: Literal["F16", "F32"]
    shape: Annotated[list[Size], msgspec.Meta(min_length=1, max_length=2)]
    data_offsets: tuple[Offset, Offset]


class _AdapterTensor(msgspec.Struct, forbid_unknown_fields=True):
    dtype: Literal["F16"]
    shape: tuple[Annotated[int, msgspec.Meta(ge=1, le=MOST_ADAPTER)]]
    data_offsets: tuple[Offset, Offset]


class _Tensors(msgspec.Struct):
    """The arrays that every voice has, and the adapters that some have. Others are left out."""

    embedding: _Tensor
    keys: _Tensor
    mel: _Tensor
    adapter: _AdapterTensor | None = None
    stream_adapter: _AdapterTensor | None = None


class _OtherFormat(Exception):
    """A file of another format than this version's."""


UNREADABLE = (OSError, ValueError, KeyError, msgspec.MsgspecError, RecursionError, SafetensorError)


def write_voice(path: str | Path, about: About, arrays: dict[str, np.ndarray], adapter: Adapter | None = None) -> None:
    """Write a file; it appears whole or not at all.

    A version without adapters reads an adapted voice as the plain one.

    Raises:
        InputError: it cannot be written, or the description is out of range.
    """
    text = msgspec.json.encode(about)
    try:
        msgspec.json.decode(text, type=About)
    except msgspec.MsgspecError as error:
        raise InputError(f"{shown(path)}: the voice cannot be described so ({error})") from error
    # safetensors takes the memory of an array as it is.
    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    metadata = {KEY: text.decode()}
    for key, one in ((ADAPTER, adapter), (STREAM_ADAPTER, adapter and adapter.stream)):
        if one is not None:
            plain[key], metadata[key] = one.values.astype(np.float16), one.converter
    with replacing(path) as part:
        part.write_bytes(_in_order(safetensors.save(plain, metadata)))


def _in_order(data: bytes) -> bytes:
    """The same file with its metadata in alphabetical order: safetensors writes them in any."""
    (size,) = struct.unpack("<Q", data[:8])
    header = msgspec.json.decode(data[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = msgspec.json.encode(header)
    text += b" " * (-len(text) % 8)  # the arrays stay aligned
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


def read_voice(path: str | Path) -> tuple[About, dict[str, Array], Adapter | None]:
    """The description; embedding (S,), keys (C, N) and mel (M, N) as float32; the adapter. Values are not checked.

    Raises:
        InputError: missing, damaged, too large, or of another format.
    """
    with _opened(Path(path)) as file:
        header = _header(file)
        about = _about(header)
        file.seek(0)
        arrays = _arrays(file.read(MOST_BYTES + 1))
        stream = _adapter(header, arrays, STREAM_ADAPTER)
        return about, arrays, _adapter(header, arrays, ADAPTER, stream)


def read_about(path: str | Path) -> About:
    """The description alone.

    Raises:
        InputError: see `read_voice`.
    """
    with _opened(Path(path)) as file:
        return _about(_header(file))


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A file to read; whatever is wrong with it becomes one line."""
    regular_file(path)
    try:
        with path.open("rb") as file:
            yield file
    except _OtherFormat as error:
        raise InputError(f"{shown(path)} {error}; {AGAIN}") from error
    except UNREADABLE as error:
        raise InputError(f"{shown(path)} is damaged, or no voice; {AGAIN}") from error


def storable(text: str, most: int) -> str:
    """Text without what JSON cannot hold (file names need not be text), cut to `most` characters."""
    return text[:most].encode("utf-8", "replace").decode("utf-8")


def _header(file: BinaryIO) -> dict[str, Any]:
    """The JSON at the start of a safetensors file."""
    start = file.read(8)
    if start[:2] == b"PK":
        raise _OtherFormat("was made by an older version")
    (size,) = struct.unpack("<Q", start) if len(start) == 8 else (0,)
    if not 2 <= size <= MOST_HEADER:
        raise ValueError("no header")
    header = msgspec.json.decode(file.read(size))
    if not isinstance(header, dict):
        raise ValueError("no header")
    return header


def _about(header: dict[str, Any]) -> About:
    metadata = msgspec.convert(header.get("__metadata__"), dict[str, str])
    raw = msgspec.json.decode(metadata[KEY])
    version = raw.get("format") if isinstance(raw, dict) else None
    if type(version) is not int or not 0 < version < 10**6:
        raise ValueError("no format number")
    if version != FORMAT:
        raise _OtherFormat(f"has format {version}, this version reads {FORMAT}")
    about = msgspec.convert(raw, About)
    msgspec.convert(header, _Tensors)
    return about


def _arrays(data: bytes) -> dict[str, Array]:
    if len(data) > MOST_BYTES:
        raise ValueError("too large")
    arrays = safetensors.load(data)
    return {name: arrays[name].astype(np.float32) for name in _Tensors.__struct_fields__ if name in arrays}


def _adapter(
    header: dict[str, Any], arrays: dict[str, Array], key: str, stream: Adapter | None = None
) -> Adapter | None:
    values = arrays.pop(key, None)
    converter = header["__metadata__"].get(key, "")
    if (values is None) != (not converter) or len(converter) > LONGEST_FINGERPRINT:
        raise ValueError("an adapter without a converter")
    return None if values is None else Adapter(values, converter, stream)
