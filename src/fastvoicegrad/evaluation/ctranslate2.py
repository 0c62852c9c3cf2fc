"""Whisper models in CTranslate2's file format, as PyTorch models of `whisper`.

The file: version, name and revision of the specification, number of arrays; then each array's name, rank, dimensions,
type, bytes and data. A text is its length with a final zero (16 bits) and its bytes. Numbers are little-endian.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError

FORMAT = 6
TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)
N_MELS, HEAD_SIZE = 80, 64
# Parts of names there and here.
NAMES = (
    (r"layer_(\d+)/", r"blocks.\1."),
    (r"self_attention/layer_norm", "attn_ln"),
    (r"attention/layer_norm", "cross_attn_ln"),
    (r"ffn/layer_norm", "mlp_ln"),
    (r"ffn/linear_0", "mlp.0"),
    (r"ffn/linear_1", "mlp.2"),
    (r"encoder/layer_norm", "encoder.ln_post"),
    (r"decoder/layer_norm", "decoder.ln"),
    (r"decoder/embeddings/weight", "decoder.token_embedding.weight"),
    (r"position_encodings/encodings", "positional_embedding"),
    (r"gamma$", "weight"),
    (r"beta$", "bias"),
)


class _Bytes:
    """A cursor over the file."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def number(self, kind: str) -> int:
        (value,) = struct.unpack_from(f"<{kind}", self.data, self.place)
        self.place += struct.calcsize(kind)
        return int(value)

    def take(self, count: int) -> bytes:
        self.place += count
        return self.data[self.place - count : self.place]

    def text(self) -> str:
        return self.take(self.number("H"))[:-1].decode()


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a ``model.bin`` by their names there.

    Raises:
        InputError: it is of another format.
    """
    file = _Bytes(path.read_bytes())
    if file.number("I") != FORMAT or file.text() != "WhisperSpec":
        raise InputError(f"{path} is no Whisper model of CTranslate2's format {FORMAT}")
    file.number("I")  # revision
    arrays = {}
    for _ in range(file.number("I")):
        name = file.text()
        shape = [file.number("I") for _ in range(file.number("B"))]
        kind = TYPES[file.number("B")]
        arrays[name] = np.frombuffer(file.take(file.number("I")), kind).reshape(shape)
    return arrays


def openai_names(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights under the names of OpenAI's model, in float32."""
    weights: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        if array.dtype != np.float16 and array.dtype != np.float32:
            continue  # a setting
        array = array.astype(np.float32)
        attention = re.fullmatch(r"(.*)/layer_(\d+)/(self_attention|attention)/linear_(\d)/(weight|bias)", name)
        if attention:
            side, layer, kind, number, part = attention.groups()
            block = f"{side}.blocks.{layer}.{'attn' if kind == 'self_attention' else 'cross_attn'}"
            targets = _projections(kind, int(number))
            for target, piece in zip(targets, np.split(array, len(targets)), strict=True):
                weights[f"{block}.{target}.{part}"] = piece
            weights.pop(f"{block}.key.bias", None)  # it is zero, and the model has none
            continue
        for there, here in NAMES:
            name = re.sub(there, here, name)
        weights[name.replace("/", ".")] = array
    return weights


def _projections(kind: str, number: int) -> tuple[str, ...]:
    """The projections that one fused array holds."""
    fused = {
        "self_attention": (("query", "key", "value"), ("out",)),
        "attention": (("query",), ("key", "value"), ("out",)),
    }
    return fused[kind][number]


def whisper_model(folder: Path) -> Any:
    """The model of a folder with ``model.bin``, on the CPU, for evaluation."""
    import torch
    from whisper.model import ModelDimensions, Whisper

    weights = openai_names(read_arrays(folder / "model.bin"))
    vocabulary, width = weights["decoder.token_embedding.weight"].shape
    layers = [
        len([n for n in weights if re.fullmatch(rf"{side}\.blocks\.\d+\.mlp\.0\.bias", n)])
        for side in ("encoder", "decoder")
    ]
    audio, text = (len(weights[f"{side}.positional_embedding"]) for side in ("encoder", "decoder"))
    heads = width // HEAD_SIZE
    model = Whisper(ModelDimensions(N_MELS, audio, width, heads, layers[0], vocabulary, text, width, heads, layers[1]))
    model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in weights.items()})
    return model.eval()
