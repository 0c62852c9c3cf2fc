"""More blocks for a trained network of streams, without a change of what it computes at first.

The branch of a new block ends in zeros, so the block is the identity until it is trained. A deeper network therefore
starts where the shallow one ended (Net2DeeperNet, arXiv 1511.05641).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from ..files import check_target
from . import checkpoint
from .models.stream import StreamContentConfig, StreamContentModel, StreamConverter, StreamConverterConfig
from .models.stream_renderer import StreamRenderer, StreamRendererConfig
from .recipe import build, overridden

DEEPENED: dict[str, tuple[type[nn.Module], type]] = {
    "stream-content": (StreamContentModel, StreamContentConfig),
    "stream-converter": (StreamConverter, StreamConverterConfig),
    "stream-renderer": (StreamRenderer, StreamRendererConfig),
}
BRANCH_ENDS = (".reduce.weight", ".reduce.bias", ".out.weight", ".out.bias")  # of blocks and of attentions
GROWING = ("layers", "attend_after")  # settings that may change


def deepen(path: str | Path, out: Path, settings: list[str]) -> None:
    """Write a checkpoint of the same network with more layers. The other networks of the checkpoint are copied.

    Args:
        path: checkpoint of `stream-content`, `stream-converter` or `stream-renderer`.
        settings: changes of its model, such as ``layers=12`` and ``attend_after=[2, 5, 8]``; layers come at the end.
    Raises:
        InputError: the part cannot be deepened, something else than these settings would change, or `out` cannot be
            written.
    """
    check_target(out)
    meta = checkpoint.read_meta(path)
    task, model = meta["task"], overridden(meta["model"], settings)
    if task not in DEEPENED:
        raise InputError(f"{path} is a checkpoint of {task}; these can be deepened: {', '.join(DEEPENED)}")
    network, config = DEEPENED[task]
    deeper: Any = build(config, model)
    _check_growth(meta["model"], model)
    shallow = network(build(config, meta["model"]))
    checkpoint.load_network(path, shallow)
    torch.manual_seed(0)
    deep = network(deeper)
    _copy(shallow, deep)
    others = {k: v for k, v in checkpoint.generator_weights(path, meta["ema"]).items() if not k.startswith(f"{task}.")}
    weights = {f"{task}.{name}": weight.contiguous() for name, weight in deep.state_dict().items()}
    checkpoint.write(out, weights | others, meta | {"step": 0, "model": model, "ema": False})


def _check_growth(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Raises InputError unless layers are added behind the others, and nothing else changes."""
    if changed := [name for name in new if new[name] != old.get(name) and name not in GROWING]:
        raise InputError(f"{changed[0]} would change; only {' and '.join(GROWING)} may grow")
    before, after = (settings.get("attend_after", []) for settings in (old, new))
    added = after[len(before) :]
    misplaced = [n for n in added if not old["layers"] <= n < new["layers"]]  # no new layer comes before it
    if new["layers"] < old["layers"] or after[: len(before)] != before or misplaced:
        raise InputError("layers and attend_after may only grow at their ends, behind the layers that are trained")
    if old.get("lookahead", 0) > old["layers"]:  # `spread` would move some of it to the new layers
        raise InputError("a network that looks further ahead than it has layers cannot be deepened")


@torch.no_grad()
def _copy(shallow: nn.Module, deep: nn.Module) -> None:
    """Give the deeper network the weights of the other one. What only it has ends in zeros."""
    known = shallow.state_dict()
    for name, weight in deep.state_dict().items():
        if name not in known:
            if name.endswith(BRANCH_ENDS):
                weight.zero_()
        elif weight.shape == known[name].shape:
            weight.copy_(known[name])
        else:  # gains and biases of all blocks, one block after the other
            weight.zero_()[: len(known[name])] = known[name]
