"""8-bit arithmetic for three networks of a bundle: on two cores with AVX-512 VNNI they take .6 of their time.

Convolutions of the converter, and matrix products of the content encoder and the vocoder, multiply bytes. Conversions
of real speech give the ranges of activations. Weights are stored as storage.py stores them, so training can still
continue from the bundle (restore.py). The pitch tracker stays exact: errors of a pitch add up in the pulses' phase.

Rounding may differ between chunks and the whole recording (docs/experiments/eight-bit.md).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from .. import audio
from ..bundle import Bundle
from ..converter import VoiceConverter
from ..errors import InputError
from ..graphs import computes_in_bytes
from ..mel import MEL, Array
from .phases import with_phases
from .storage import full_weights, quantised_weights, write_networks

LAYERS = {"content": "MatMul", "converter": "Conv", "vocoder": "MatMul"}  # network: what multiplies bytes in it

Inputs = dict[str, np.ndarray]  # of a network, by name


class Calibration(CalibrationDataReader):
    """Gives the library a network's inputs, one after the other."""

    def __init__(self, inputs: Sequence[Inputs]) -> None:
        self.inputs = iter(inputs)

    def get_next(self) -> Inputs | None:
        return next(self.inputs, None)


def inputs_of_conversions(bundle: Bundle, speech: Sequence[Path]) -> dict[str, list[Inputs]]:
    """Inputs of each network of `LAYERS` when each recording is converted to the next one's voice."""
    seen: dict[str, list[Inputs]] = {name: [] for name in LAYERS}

    class Recording(Bundle):
        def run(self, name: str, **inputs: np.ndarray) -> list[Array]:
            if name in LAYERS:
                seen[name].append(inputs)
            return super().run(name, **inputs)

    converter = VoiceConverter(Recording(bundle.config, bundle.read, bundle.threads))
    for source, reference in zip(speech, [*speech[1:], speech[0]], strict=True):
        converter.convert(audio.read(source, MEL.sample_rate), MEL.sample_rate, converter.voice([reference]))
    return seen


def layers_of(graph: onnx.GraphProto, kind: str) -> list[str]:
    """Names of the nodes of a kind that multiply bytes: those with weights, but for the last convolution.

    Convolutions of each channel by itself have nothing to gain.
    """
    weights = {tensor.name for tensor in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == kind and node.input[1] in weights]
    if kind == "Conv":
        nodes = [node for node in nodes[:-1] if all(a.name != "group" or a.i == 1 for a in node.attribute)]
    return [node.name for node in nodes]


def quantised(graph: bytes, kind: str, inputs: Sequence[Inputs]) -> bytes:
    """Quantise the operators of a kind to int8.

    Args:
        inputs: calibration data; activations outside its range saturate.
    """
    model = with_phases(full_weights(onnx.load_from_string(graph)))
    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, written = (Path(folder) / f"{name}.onnx" for name in ("plain", "prepared", "quantised"))
        onnx.save(model, plain)  # old versions of ONNX Runtime prepare no model that is in memory
        quant_pre_process(plain, prepared, skip_symbolic_shape=True, skip_optimization=True)
        quantize_static(
            prepared,
            written,
            Calibration(inputs),
            op_types_to_quantize=[kind],
            nodes_to_quantize=layers_of(onnx.load(prepared).graph, kind),
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            # The sums of a matrix product become floats at once. Those of a convolution are rounded to bytes first.
            extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul"]},
        )
        return bytes(quantised_weights(onnx.load(written)).SerializeToString())


def quantise(bundle: str | Path | None, speech: Sequence[Path], out: Path) -> None:
    """Write a bundle that computes in 8 bits. Networks that do so already stay as they are.

    Args:
        bundle: a folder or zip; None is the default one, in which all do.
        speech: recordings of two or more voices; a minute in all is enough.
        out: folder to write.
    Raises:
        InputError: there are fewer than two recordings, or nothing is left to quantise; or see
            `VoiceConverter.convert`.
    """
    if len(speech) < 2:
        raise InputError("give two recordings or more: each is converted to the voice of the next")
    opened = Bundle.open(bundle)
    plain = {name: graph for name in LAYERS if not computes_in_bytes(graph := opened.graph(name))}
    if not plain:
        raise InputError(
            "this bundle computes in 8 bits already; name the one that 'fastvoicegrad dev export' wrote with --bundle"
        )
    inputs = inputs_of_conversions(opened, speech)
    graphs = {name: quantised(graph, LAYERS[name], inputs[name]) for name, graph in plain.items()}
    write_networks(out, opened, graphs, same_voices=True)
