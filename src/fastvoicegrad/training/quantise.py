"""Eight-bit arithmetic for the convolutions of a bundle's converter: twice as fast on CPUs that multiply bytes.

Weights stay in the file as they were trained, in half precision, each with a quantiser behind it that the runtime folds
away, so training can still go on from the bundle (restore.py). What activations span is heard in conversions of real
speech. Weights take seven bits: with eight, sums of two products overflow on CPUs without VNNI. Where chunks of a few
frames round an activation the other way, they equal the whole to 2e-3 of full scale instead of 1e-3.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from ..audio import files as audio
from ..bundle import Bundle, write_config
from ..converter import VoiceConverter
from ..errors import InputError
from ..mel import MEL, Array
from .export import full_weights, half_weights

# Rounding the weights of content and vocoder at the start takes longer than is saved, but for long recordings; pitch is
# no faster.
NETWORK, LAYER = "converter", "Conv"

Inputs = dict[str, np.ndarray]  # of a network, by name


class _Heard(CalibrationDataReader):
    """A network's inputs, one after the other, for the library."""

    def __init__(self, inputs: Sequence[Inputs]) -> None:
        self.inputs = iter(inputs)

    def get_next(self) -> Inputs | None:
        return next(self.inputs, None)


def inputs_of_conversions(bundle: Bundle, speech: Sequence[Path]) -> list[Inputs]:
    """What a bundle's converter is given when each recording is converted to the next one's voice."""
    heard: list[Inputs] = []

    class Listening(Bundle):
        def run(self, name: str, **inputs: np.ndarray) -> list[Array]:
            if name == NETWORK:
                heard.append(inputs)
            return super().run(name, **inputs)

    converter = VoiceConverter(Listening(bundle.config, bundle.read, bundle.threads))
    for source, reference in zip(speech, [*speech[1:], speech[0]], strict=True):
        converter.convert(audio.read(source, MEL.sample_rate), MEL.sample_rate, converter.voice([reference]))
    return heard


def quantised(graph: bytes, inputs: Sequence[Inputs]) -> bytes:
    """A network with its layers in eight bits, but the last: what it says in the end stays exact.

    Args:
        inputs: of the network in use; what activations span in them is what can be said afterwards.
    """
    model = full_weights(onnx.load_from_string(graph))
    layers = [node.name for node in model.graph.node if node.op_type == LAYER]
    with tempfile.TemporaryDirectory() as folder:
        prepared, written = Path(folder) / "prepared.onnx", Path(folder) / "quantised.onnx"
        quant_pre_process(model, prepared, skip_symbolic_shape=True, skip_optimization=True)
        quantize_static(
            prepared,
            written,
            _Heard(inputs),
            op_types_to_quantize=[LAYER],
            nodes_to_quantize=layers[:-1],
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            extra_options={"AddQDQPairToWeight": True},
        )
        return bytes(half_weights(onnx.load(written)).SerializeToString())


def quantise(bundle: str | Path | None, speech: Sequence[Path], out: Path) -> None:
    """Write a bundle that computes in eight bits. Its voices are those of the bundle that it was made of.

    Args:
        bundle: a folder or zip; None is the default one.
        speech: recordings of two or more voices; a minute in all is enough.
    Raises:
        InputError: fewer than two recordings, or the bundle does so already; or see `VoiceConverter.convert`.
    """
    if len(speech) < 2:
        raise InputError("give two recordings or more: each is converted to the voice of the next")
    opened = Bundle.open(bundle)
    graph = opened.graph(NETWORK)
    if b"QuantizeLinear" in graph:
        raise InputError("this bundle computes in eight bits already; give the one that 'fastvoicegrad export' wrote")
    ours = quantised(graph, inputs_of_conversions(opened, speech))
    networks = opened.config.networks
    out.mkdir(parents=True, exist_ok=True)
    for name, network in networks.items():
        (out / network.file).write_bytes(ours if name == NETWORK else opened.graph(name))
    changed = replace(networks[NETWORK], sha256=hashlib.sha256(ours).hexdigest())
    write_config(out, replace(opened.config, networks=networks | {NETWORK: changed}))
