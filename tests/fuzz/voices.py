"""Damaged .voice files, and texts that are no names of voices."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from safetensors import numpy as safetensors

from fastvoicegrad import Voice

from .damage import VALUES, damaged, damaged_tree, pick
from .workspace import Action, Case

TEXTS = (
    "anna", "ánna", "a" * 61, "con", "-o", "anna(0.7)+ben(0.3)", "anna(0.7", "anna(1e999)", "anna(-1)+ben", "(1)+(2)",
    "+", "+" * 5000, "a+" * 5000, " " * 100_000, "a(" * 5000, "a" + "\u0301" * 50, "../x", "x/y(1)+z", "\x00", "\udcff",
    "anna(0)+ben(0)", "\u202e", "~", "anna\n", "con(1)+nul(2)", "9" * 400, "a(" + "9" * 400 + ")", "NaN(nan)",
)  # fmt: skip


def with_header(header: Any, data: bytes, size: int | None = None) -> bytes:
    """A file of safetensors' kind; `size` is what it claims of its header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if size is None else size).to_bytes(8, "little") + text + data


def parts_of(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and arrays of a good file."""
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def damaged_header(case: Case) -> bytes:
    """A header that is not JSON, or that makes other claims about the arrays."""
    header, data = parts_of(case.good.voice_file)
    kind = case.random.random()
    if kind < 0.5:
        name, key = (
            pick(case.random, ["embedding", "keys", "mel"]),
            pick(case.random, ["dtype", "shape", "data_offsets"]),
        )
        claims = [
            "F64",
            "I8",
            "BF16",
            "F8_E4M3",
            "X",
            [],
            [0],
            [80, 0],
            [2**63, 2],
            [-1, -8],
            [10**6, 10**6],
            [0, 2**63],
        ]
        header[name] = header[name] | {key: pick(case.random, [*claims, *VALUES])}
    elif kind < 0.8:
        header = damaged_tree(header, case.random)
    elif kind < 0.9:
        return with_header(pick(case.random, [b"[" * 50_000, b'{"a":' * 5_000, b"", b"null", b"\x00", b"{}"]), data)
    else:
        return with_header(header, data, pick(case.random, [0, 1, 2, 10**6, 2**22, 2**22 + 1, 2**32, 2**63, 2**64 - 1]))
    return with_header(header, data)


def damaged_about(case: Case) -> dict[str, str]:
    about = json.loads(case.good.voice_text())
    kind = case.random.random()
    if kind < 0.6:
        text = json.dumps(damaged_tree(about, case.random))
    elif kind < 0.8:
        field = pick(case.random, sorted(about))
        text = json.dumps(about | {field: pick(case.random, VALUES)})
    elif kind < 0.9:
        text = pick(case.random, ["[" * 50_000, '{"a":' * 5_000, "", "null", "1", '"x"', "\x00", "{}", "[1]"])
    else:
        text = damaged(json.dumps(about).encode(), case.random).decode("latin-1")
    return pick(case.random, [{"voice": text}, {"voice": text, "more": "x"}, {"voice": text}, {"other": text}])


def damaged_arrays(case: Case) -> dict[str, np.ndarray]:
    """One array with other values, another shape or another type; or one more, or one less."""
    random, kind, arrays = case.random, case.random.random(), case.good.voice_arrays()
    name = pick(random, sorted(arrays))
    array = arrays[name]
    if kind < 0.4:
        array = array.astype(np.float32)
        value = pick(random, [np.nan, np.inf, 0.0, -60000.0, 60000.0, 30.0, 1e-8])
        array[(slice(None),) if random.random() < 0.5 else (int(random.integers(len(array))),)] = value
    elif kind < 0.6:
        shapes = [array.reshape(-1), array.T, array[:-1], array[..., :0], array[..., :1], array[None], np.float32(1.0)]
        array = np.asarray(pick(random, shapes))
    elif kind < 0.7:
        array = np.repeat(array, int(pick(random, [2, 20, 200])), -1)
    elif kind < 0.85:
        with np.errstate(all="ignore"):
            array = array.astype(pick(random, ["f8", "i4", "?", "u1", "f4", "f2", "i8"]))
    elif kind < 0.95:
        more = pick(
            random, [np.zeros(5, np.int8), np.full((2, 3), np.nan, np.float16), np.zeros((1, 2, 3), np.float32)]
        )
        return arrays | {pick(random, ["extra.adapter", "", "x" * 1000, "__metadata"]): more}
    else:
        return {other: values for other, values in arrays.items() if other != name}
    return arrays | {name: array}


def hostile_voice(case: Case) -> bytes:
    kind = case.random.random()
    if kind < 0.3:
        return damaged(case.good.voice_file, case.random)
    if kind < 0.5:
        return damaged_header(case)
    about = damaged_about(case) if kind < 0.75 else {"voice": case.good.voice_text()}
    arrays = case.good.voice_arrays() if kind < 0.75 else damaged_arrays(case)
    return safetensors.save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, about)


def voice(case: Case) -> Action:
    if case.random.random() < 0.1:
        return odd_text(case)
    path = case.write("x.voice", hostile_voice(case))

    def action() -> list[np.ndarray]:
        loaded = Voice.load(path)
        voice = case.good.converter.voice([path, loaded])
        return [
            voice.embedding,
            voice.keys,
            voice.mel,
            case.good.converter.convert(case.good.wave[:5000], 22050, loaded),
        ]

    return action


def odd_text(case: Case) -> Action:
    """A text in place of a voice. The library of the process is empty."""
    text = pick(case.random, TEXTS)
    if case.random.random() < 0.5:
        text = damaged(text.encode("utf-8", "surrogatepass"), case.random).decode("latin-1")

    def action() -> list[np.ndarray]:
        return [case.good.converter.voice(text).embedding]

    return action
