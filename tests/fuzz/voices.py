"""Damaged .voice files."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np

from fastvoicegrad import Voice

from .archives import hostile, packed
from .damage import VALUES, damaged, damaged_tree, pick
from .workspace import Action, Case


def npy(array: np.ndarray, pickled: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=pickled)
    return buffer.getvalue()


def lying_header(data: bytes, case: Case) -> bytes:
    """The header of an .npy claims another shape or type; its length stays right."""
    claims = [
        "(1000000000000,)",
        "(-1, -1)",
        "(2**9,)",
        "(80, 10, 10)",
        "()",
        "(None,)",
        "((((((((((1,),),),),),),),),),)",
    ]
    types = ["<f8", "|O", "<U999999999", "|V8", "<c16", "<M8[s]", "|b1", "<f16", "[('a', '<f4')]"]
    claim, kind = pick(case.random, claims), pick(case.random, types) if case.random.random() < 0.5 else "<f2"
    kind = kind if kind.startswith("[") else f"'{kind}'"
    header = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {claim}, }}".encode().ljust(117) + b"\n"
    return (
        b"\x93NUMPY"
        + pick(case.random, [b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x09\x00"])
        + b"\x76\x00"
        + header
        + data[128:]
    )


def damaged_array(array: np.ndarray, case: Case) -> bytes:
    """One array of the file with other values, another shape or another type."""
    random, kind = case.random, case.random.random()
    if array.ndim and kind < 0.4:
        value = pick(random, [np.nan, np.inf, 0.0, -60000.0, 60000.0, 30.0, 1e-8])
        array = array.astype(np.float32)
        array[(slice(None),) if random.random() < 0.5 else (int(random.integers(len(array))),)] = value
    elif array.ndim and kind < 0.6:
        shapes = [array.reshape(-1), array.T, array[:-1], array[..., :0], array[..., :1], array[None], np.float32(1.0)]
        array = np.asarray(pick(random, shapes))
    elif array.ndim and kind < 0.7:
        array = np.repeat(array, int(pick(random, [2, 20, 200])), -1)
    elif kind < 0.85:
        if random.random() < 0.3:
            return npy(np.array([array, {"a": 1}], dtype=object), pickled=True)
        try:
            with np.errstate(all="ignore"):
                array = array.astype(pick(random, ["f8", ">f4", "i4", "c8", "?", "U8", "S8", "u1", "f4"]))
        except ValueError:  # text is no number
            array = np.zeros(3)
    else:
        return lying_header(npy(array), case)
    return npy(array)


def damaged_about(case: Case) -> bytes:
    about = json.loads(str(case.good.voice_parts()["about"]))
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
    return npy(np.array(text))


def hostile_voice(case: Case) -> bytes:
    parts: dict[str, Any] = {f"{name}.npy": npy(array) for name, array in case.good.voice_parts().items()}
    kind = case.random.random()
    if kind < 0.3:
        return damaged(case.good.voice_file, case.random)
    if kind < 0.45:
        return hostile(parts, case.random)
    if kind < 0.7:
        parts["about.npy"] = damaged_about(case)
    else:
        name = pick(case.random, ["embedding", "keys", "mel", "about"])
        parts[f"{name}.npy"] = damaged_array(case.good.voice_parts()[name], case)
    return packed(parts)


def voice(case: Case) -> Action:
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
