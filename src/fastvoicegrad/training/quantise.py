"""8-bit arithmetic for the convolutions of a bundle's converter: about twice as fast on CPUs with byte products.

The file holds the weights in 16 bits; a quantiser behind each is folded away when a session is made. So training can
still continue from the bundle (restore.py). Conversions of real speech give the ranges of activations. Weights get
seven bits: with eight, sums of two products overflow on CPUs without VNNI.

Rounding differs between chunks of a few frames and the whole recording. They agree to 2e-3 of full scale.
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
from .storage import full_weights, with_storage, write_networks

# Content encoder and vocoder, rounded when they are loaded, take longer to load than short recordings gain.
NETWORK, LAYER = "converter", "Conv"

Inputs = dict[str, np.ndarray]  # of a network, by name


class Calibration(CalibrationDataReader):
    """Gives the library a network's inputs, one after the other."""

    def __init__(self, inputs: Sequence[Inputs]) -> None:
        self.inputs = iter(inputs)

    def get_next(self) -> Inputs | None:
        return next(self.inputs, None)


def inputs_of_conversions(bundle: Bundle, speech: Sequence[Path]) -> list[Inputs]:
    """Inputs of a bundle's converter when each recording is converted to the next one's voice."""
    seen: list[Inputs] = []

    class Recording(Bundle):
        def run(self, name: str, **inputs: np.ndarray) -> list[Array]:
            if name == NETWORK:
                seen.append(inputs)
            return super().run(name, **inputs)

    converter = VoiceConverter(Recording(bundle.config, bundle.read, bundle.threads))
    for source, reference in zip(speech, [*speech[1:], speech[0]], strict=True):
        converter.convert(audio.read(source, MEL.sample_rate), MEL.sample_rate, converter.voice([reference]))
    return seen


def quantised(graph: bytes, inputs: Sequence[Inputs]) -> bytes:
    """Quantise every Conv but the last to int8. Weights are stored in 16 bits: ONNX Runtime folds these here, too.

    Args:
        inputs: calibration data; activations outside its range saturate.
    """
    model = full_weights(onnx.load_from_string(graph))
    layers = [node.name for node in model.graph.node if node.op_type == LAYER]
    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, written = (Path(folder) / f"{name}.onnx" for name in ("plain", "prepared", "quantised"))
        onnx.save(model, plain)  # old versions of ONNX Runtime prepare no model that is in memory
        quant_pre_process(plain, prepared, skip_symbolic_shape=True, skip_optimization=True)
        quantize_static(
            prepared,
            written,
            Calibration(inputs),
            op_types_to_quantize=[LAYER],
            nodes_to_quantize=layers[:-1],
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            extra_options={"AddQDQPairToWeight": True},
        )
        return with_storage(written.read_bytes(), "half")


def quantise(bundle: str | Path | None, speech: Sequence[Path], out: Path) -> None:
    """Write a bundle whose converter computes in 8 bits. Voices of the original bundle fit it.

    Args:
        bundle: a folder or zip; None is the default one.
        speech: recordings of two or more voices; a minute in all is enough.
        out: folder to write.
    Raises:
        InputError: there are fewer than two recordings, or the bundle is quantised already; or see
            `VoiceConverter.convert`.
    """
    if len(speech) < 2:
        raise InputError("give two recordings or more: each is converted to the voice of the next")
    opened = Bundle.open(bundle)
    graph = opened.graph(NETWORK)
    if computes_in_bytes(graph):
        raise InputError("this bundle computes in 8 bits already; give the one that 'fastvoicegrad dev export' wrote")
    write_networks(out, opened, {NETWORK: quantised(graph, inputs_of_conversions(opened, speech))})
