"""What a network's graph may be, checked before and after ONNX Runtime loads it.

A graph from a stranger must not read other files, run code of its own, or loop. Its size is bounded by its file, its
operators are those of plain networks, and its inputs and outputs are the ones that the pipeline uses. It can still use
much time and memory: that bound is the operating system's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import onnxruntime

from .errors import InputError
from .mel import MEL

# Tensor arithmetic only: no control flow, sequences or random numbers.
_OPERATORS = """
Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast CastLike Ceil Clip Concat Constant Conv
ConvInteger ConvTranspose Cos CumSum DequantizeLinear Div DynamicQuantizeLinear Einsum Elu Equal Erf Exp
Expand Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool Greater GreaterOrEqual
GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization LayerNormalization LeakyRelu Less
LessOrEqual Log LogSoftmax MatMul MatMulInteger Max MaxPool Min Mish Mod Mul Neg Not Or PRelu Pad Pow
QLinearConv QLinearMatMul QuantizeLinear RMSNormalization Range Reciprocal ReduceL1 ReduceL2 ReduceLogSumExp
ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Round Selu Shape Sigmoid Sign
Sin Slice Softmax Softplus Split Sqrt Squeeze Sub Sum Tan Tanh TopK Transpose Trilu Unsqueeze Where Xor
"""
OPERATORS = frozenset(_OPERATORS.split())
DOMAINS = (b"", b"ai.onnx")
MOST_NODES = 20_000

# The messages of onnx.proto that are looked into: {kind: {field: kind of the field}}.
MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "forbidden", 25: "forbidden"},  # training information, functions
    "graph": {1: "node", 5: "tensor", 15: "forbidden"},  # sparse tensors
    "node": {4: "operator", 5: "attribute", 7: "domain"},
    # Of an attribute: tensors; graphs and sparse tensors, both also as lists.
    "attribute": {5: "tensor", 10: "tensor", 6: "forbidden", 11: "forbidden", 22: "forbidden", 23: "forbidden"},
    "tensor": {13: "external"},  # where data outside the file lie
}

Dimension = int | str  # a number, or a letter for a number that varies
Shapes = dict[str, tuple[Dimension, ...]]
B = MEL.n_mels
SPECTRUM: tuple[Dimension, ...] = (1, MEL.n_fft // 2 + 1, "T")
INPUTS: dict[str, Shapes] = {
    "content": {"mel": (1, B, "T")},
    "pitch": {"mel": (1, B, "T")},
    "speaker": {"mel": (1, B, "T")},
    "vocoder": {"mel": (1, B, "T")},
    "converter": {
        "x": (1, B, "T"),
        "step": (1,),
        "alpha_bar": (1,),
        "speaker": (1, "S"),
        "content": (1, "C", "T"),
        "keys": (1, "C", "N"),
        "reference": (1, B, "N"),
        "pitch": (1, "T"),
        "adapter": (1, "A"),
    },
}
OUTPUTS: dict[str, Shapes] = {
    "content": {"content": (1, "C", "T")},
    "pitch": {"pitch": (1, "T")},
    "speaker": {"embedding": (1, "S")},
    "vocoder": {"pitch": (1, "T"), "real": SPECTRUM, "imaginary": SPECTRUM, "gain": SPECTRUM},
    "converter": {"x0": (1, B, "T")},
}


def inputs_of(network: str, retrieval: bool, harmonics: bool, adapter: bool = False) -> Shapes:
    """Names and shapes of a network's inputs; the converter's depend on the bundle's settings."""
    optional = {"keys": retrieval, "reference": retrieval, "pitch": harmonics, "adapter": adapter}
    left_out = {name for name, wanted in optional.items() if network == "converter" and not wanted}
    return {name: shape for name, shape in INPUTS[network].items() if name not in left_out}


# -- the file -----------------------------------------------------------------------------------------------


def check_graph(data: bytes) -> None:
    """Look through an ONNX file before the runtime reads it.

    Raises:
        InputError: it is damaged, holds an operator that networks do not need, or refers to another file.
    """
    if data[4:8] == b"ORTM":
        raise InputError("it is not ONNX")
    try:
        for kind, value in _parts(memoryview(data), "model"):
            if kind == "operator" and (value is None or str(value, "utf-8") not in OPERATORS):
                raise InputError("it holds an operator that is not allowed" + _quoted(value))
            if kind == "domain" and (value is None or bytes(value) not in DOMAINS):
                raise InputError("it holds operators of another domain" + _quoted(value))
            if kind == "external":
                raise InputError("its weights lie in another file")
            if kind == "forbidden":
                raise InputError("it holds a graph, function or sparse tensor within a graph")
    except (IndexError, UnicodeDecodeError) as error:
        raise InputError("it is damaged") from error


def _quoted(value: memoryview | None) -> str:
    text = "" if value is None else bytes(value[:40]).decode("ascii", "replace")
    return f" ('{text}')" if text.isidentifier() else ""


def _parts(data: memoryview, message: str) -> Iterator[tuple[str, memoryview | None]]:
    """Kind and bytes of every field that `MESSAGES` names, at any depth; None where a field holds a number.

    A field may be there many times, in any order: ONNX Runtime would merge or keep the last, so each one is looked at.
    """
    nodes = 0
    stack = [(message, data)]
    while stack:
        message, data = stack.pop()
        for field, value in _fields(data):
            kind = MESSAGES[message].get(field)
            if kind is None:
                continue
            nodes += kind == "node"
            if nodes > MOST_NODES:
                raise InputError("it has too many operators")
            if kind in MESSAGES and value is not None:
                stack.append((kind, value))
            else:
                yield kind, value


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | None]]:
    """Number and bytes of each field of a protocol buffers message; None for one that holds a number.

    Raises:
        IndexError: the message is not well formed.
    """
    position = 0
    while position < len(data):
        tag, position = _number(data, position)
        field, wire = tag >> 3, tag & 7
        if field == 0 or tag >= 1 << 32 or wire not in (0, 1, 2, 5):
            raise IndexError(position)
        if wire == 0:
            _, position = _number(data, position)
            yield field, None
            continue
        size, position = _number(data, position) if wire == 2 else ({1: 8, 5: 4}[wire], position)
        if position + size > len(data):
            raise IndexError(position)
        yield field, data[position : position + size] if wire == 2 else None
        position += size


def _number(data: memoryview, position: int) -> tuple[int, int]:
    """A varint and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return value, position
    raise IndexError(position)


# -- the session --------------------------------------------------------------------------------------------


def computes_in_bytes(graph: bytes) -> bool:
    """Whether a graph quantises activations. (DequantizeLinear alone restores weights.)"""
    return b"QuantizeLinear" in graph


@cache
def _has_avx512_vnni() -> bool:
    """Whether the CPU adds products of bytes in 32 bits. Other x86 CPUs add two of them in 16, which may overflow.

    CPUs with AVX-VNNI alone add in 32 bits, too. NumPy does not recognise them.
    """
    for package in ("numpy._core", "numpy.core"):  # its name before NumPy 2
        with suppress(ImportError):
            features = getattr(import_module(f"{package}._multiarray_umath"), "__cpu_features__", {})
            return bool(features.get("AVX512VNNI"))
    return False


def session_options(threads: int, graph: bytes) -> Any:
    """Settings of a graph's session: no more threads than asked for, and no way to other files."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # The arena would keep the largest activations of every network at once.
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4  # what goes wrong is raised
    # Idle threads of a network busy-wait. For long they would take the cores from networks that are loading, and after
    # the last operator from whatever comes next. Old versions of ONNX Runtime ignore the first of these settings.
    options.add_session_config_entry("session.intra_op.spin_duration_us", "100")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # Weights in 8 bits become float32 constants, but where activations are bytes, too. For these the second setting has
    # ONNX Runtime take slower instructions, which never overflow.
    options.add_session_config_entry("session.disable_quant_qdq", str(int(not computes_in_bytes(graph))))
    options.add_session_config_entry("session.x64quantprecision", str(int(not _has_avx512_vnni())))
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    return options


def check_session(session: Any, inputs: Shapes, outputs: Shapes) -> None:
    """Compare a loaded graph's inputs and outputs with those that the pipeline uses.

    Raises:
        InputError: a name, a type, or a fixed dimension is another one.
    """
    numbers: dict[str, int] = {}
    for given, wanted, what in ((session.get_inputs(), inputs, "input"), (session.get_outputs(), outputs, "output")):
        shapes = {value.name: value.shape for value in given}
        if set(shapes) != set(wanted) or (what == "output" and list(shapes) != list(wanted)):
            raise InputError(f"its {what}s are not {', '.join(wanted)}")
        for value in given:
            _check_shape(value.name, value.shape, wanted[value.name], numbers)
            kind = "tensor(int64)" if value.name == "step" else "tensor(float)"
            if value.type != kind:
                raise InputError(f"its {what} '{value.name}' is a {value.type}, not a {kind}")


def check_outputs(outputs: list[Any], expected: Shapes, sizes: Mapping[str, int]) -> None:
    """Compare what a network gave with the shapes that it promised.

    Args:
        sizes: what the letters stand for.
    Raises:
        InputError: another shape or type, or values that are not finite.
    """
    numbers = dict(sizes)
    for output, (name, shape) in zip(outputs, expected.items(), strict=True):
        if not isinstance(output, np.ndarray) or output.dtype != np.float32:
            raise InputError(f"its output '{name}' is not an array of floats")
        _check_shape(name, output.shape, shape, numbers)
        if not np.isfinite(output).all():
            raise InputError(f"its output '{name}' is not finite")


def letters(inputs: Mapping[str, np.ndarray], expected: Shapes) -> dict[str, int]:
    """What the letters of the expected shapes stand for in these arrays.

    Raises:
        InputError: an array has another shape.
    """
    numbers: dict[str, int] = {}
    for name, array in inputs.items():
        _check_shape(name, array.shape, expected[name], numbers)
    return numbers


def _check_shape(name: str, shape: Any, expected: tuple[Dimension, ...], numbers: dict[str, int]) -> None:
    """A letter must stand for the same number everywhere; a dimension that varies is a string or None."""
    if shape == tuple([numbers.get(wanted, wanted) if isinstance(wanted, str) else wanted for wanted in expected]):
        return
    fits = len(shape) == len(expected)
    for dimension, wanted in zip(shape, expected, strict=False):
        if isinstance(dimension, int):
            fits &= dimension == (numbers.setdefault(wanted, dimension) if isinstance(wanted, str) else wanted)
    if not fits:
        text = " x ".join(str(d) for d in shape)
        raise InputError(f"'{name}' has the shape {text}, not {' x '.join(str(d) for d in expected)}")
