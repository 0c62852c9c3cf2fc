"""From a bundle back to checkpoints, to continue training from it.

A graph keeps the names of its network's weights. Those of `nn.Linear` over time became transposed factors of a matrix
product, and biases of attention became tables. Both stand in the order of their layers.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from ..bundle import Bundle
from ..errors import InputError
from ..files import new_folder, shown
from ..stream.bundle import StreamBundle
from . import checkpoint
from .legacy import model_settings, with_thresholds
from .models.content import ContentConfig, ContentModel
from .models.local_attention import SPAN, LocalAttention
from .models.pitch import PitchConfig, PitchTracker
from .models.speaker import SpeakerConfig, SpeakerEncoder
from .models.unet import UNet, UNetConfig
from .models.vocoder import SpectralVocoder, VocoderConfig
from .phases import without_phases
from .recipe import build
from .schedule import ScheduleConfig
from .storage import full_weights


class Restored(NamedTuple):
    """How a network of a bundle becomes a checkpoint."""

    task: str  # name in checkpoints
    network: type[nn.Module]
    settings: type
    renamed: dict[str, str]  # prefix of a name in the graph -> prefix in the network


RESTORED = {
    "content": Restored("content", ContentModel, ContentConfig, {"": "encoder."}),
    "pitch": Restored("pitch", PitchTracker, PitchConfig, {"tracker.": ""}),
    "speaker": Restored("speaker", SpeakerEncoder, SpeakerConfig, {}),
    "converter": Restored("student", UNet, UNetConfig, {"unet.": ""}),
    "vocoder": Restored("vocoder", SpectralVocoder, VocoderConfig, {"vocoder.": ""}),
}
FOLDED = "val_"  # prefix of constants that the tracer made


def _weights(graph: onnx.GraphProto, renamed: dict[str, str]) -> dict[str, Tensor]:
    """Initializers by the names of the network, in float32."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:  # biases of layers in 8-bit arithmetic (quantise.py)
        if node.op_type == "DequantizeLinear" and node.input[0] in stored:
            stored[node.output[0]] = stored[node.input[0]] * stored[node.input[1]]
    weights = {}
    for name, values in without_phases(stored).items():
        for old, new in renamed.items():
            named = name.startswith(old) and not name.startswith(FOLDED)
            name = new + name.removeprefix(old) if named else name
        if np.issubdtype(values.dtype, np.floating):
            weights[name] = torch.from_numpy(values.astype(np.float32))
    return with_thresholds(weights)


def fill(model: nn.Module, graph: onnx.GraphProto, renamed: dict[str, str]) -> tuple[list[str], list[str]]:
    """Give a network a graph's weights, in place. What no graph holds, the content's heads, stays as it is.

    Returns:
        the names of weights that the network lacks, and of those that the graph lacks.
    """
    weights, used, missing = _weights(graph, renamed), set[str](), list[str]()
    exported = tuple(renamed.values()) or ("",)
    folded = [w for name, w in weights.items() if name.startswith(FOLDED) and w.ndim == 2]
    biases = [w for w in weights.values() if w.shape[1:] == (SPAN, 3 * SPAN)]
    with torch.no_grad():
        for path, part in model.named_modules():
            for kind in ("weight", "bias", "scale", "level", "mean", "std"):
                value, name = getattr(part, kind, None), f"{path}.{kind}".lstrip(".")
                if not isinstance(value, Tensor):
                    continue
                used.add(name)
                if name in weights and kind == "weight" and is_parametrized(part):
                    part.weight = weights[name]  # sets direction and length
                elif name in weights:
                    value.copy_(weights[name])
                elif isinstance(part, nn.Linear) and kind == "weight" and folded:
                    value.copy_(folded.pop(0).T)
                elif isinstance(part, LocalAttention) and biases:
                    part.take_bias(biases.pop(0))
                elif name.startswith(exported) and value.min() < value.max():  # an exporter drops constants
                    missing.append(name)
    return [name for name in weights if name.endswith((".weight", ".bias")) and name not in used], missing


def _opened(bundle: str | Path | None) -> Bundle:
    """The bundle; where it is one for streams, the error names the other command."""
    try:
        return Bundle.open(bundle)
    except InputError as error:
        if bundle is None or not _streams(bundle):
            raise
        raise InputError(
            f"{shown(bundle)} is a bundle for streams; restore it with 'fastvoicegrad dev restore-stream'"
        ) from error


def _streams(bundle: str | Path) -> bool:
    try:
        StreamBundle.open(bundle)
    except InputError:
        return False
    return True


def restore(bundle: str | Path | None, out: Path) -> list[Path]:
    """Write a checkpoint for each network of a bundle, to train from or to export again.

    Args:
        bundle: a folder or zip; None is the default one.
        out: folder for `content.safetensors` and so on; the converter becomes a student's checkpoint.
    Returns:
        the checkpoints.
    Raises:
        InputError: the graphs do not store their networks' settings, or another version's networks wrote them.
    """
    opened = _opened(bundle)
    new_folder(out)
    recipe, written = {"schedule": asdict(ScheduleConfig.of(opened.config))}, []
    for part, (task, network, settings, renamed) in RESTORED.items():
        proto = full_weights(onnx.load_from_string(opened.graph(part)))
        stored = {entry.key: entry.value for entry in proto.metadata_props}
        if "model" not in stored:
            raise InputError(f"'{part}' of this bundle lacks its network's settings; export the bundle again")
        config = model_settings(json.loads(stored["model"]))
        torch.manual_seed(0)  # of what the graphs lack, such as classifiers
        model = network(build(settings, config))
        unknown, missing = fill(model, proto.graph, renamed)
        for verb, names in (("has", unknown), ("lacks", missing)):
            if names:
                raise InputError(
                    f"'{part}' of this bundle {verb} '{names[0]}'; restore it with the version that wrote it"
                )
        meta = {"step": 0, "task": task, "model": config, "ema": False, "recipe": recipe}
        written.append(out / f"{task}.safetensors")
        checkpoint.save(written[-1], {task: model}, {}, meta)
    return written
