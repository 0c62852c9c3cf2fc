"""More blocks for a trained network of streams, without a change of what it computes at first.

The branch of a new block ends in zeros, so the block is the identity until it is trained. A deeper network so starts
where the shallow one ended (Net2DeeperNet, arXiv 1511.05641).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from . import checkpoint
from .models.stream import StreamContentConfig, StreamContentModel, StreamConverter, StreamConverterConfig
from .recipe import build, overridden

DEEPENED: dict[str, tuple[type[nn.Module], type]] = {
    "stream-content": (StreamContentModel, StreamContentConfig),
    "stream-converter": (StreamConverter, StreamConverterConfig),
}
BRANCH_ENDS = (".reduce.weight", ".reduce.bias", ".out.weight", ".out.bias")  # of blocks and of attentions


def deepen(path: str | Path, out: Path, settings: list[str]) -> None:
    """Write a checkpoint of the same network with more layers.

    Args:
        path: checkpoint of `stream-content` or `stream-converter`.
        settings: changes of its model, such as ``layers=12`` and ``attend_after=[2, 5, 8]``; layers come at the end.
    Raises:
        InputError: the part cannot be deepened, or more than the number of layers changes.
    """
    meta = checkpoint.read_meta(path)
    if meta["task"] not in DEEPENED:
        raise InputError(f"{path} is a checkpoint of {meta['task']}; these can be deepened: {', '.join(DEEPENED)}")
    network, config = DEEPENED[meta["task"]]
    shallow = network(build(config, meta["model"]))
    checkpoint.load_network(path, shallow)
    model: dict[str, Any] = overridden(meta["model"], settings)
    torch.manual_seed(0)
    deep = network(build(config, model))
    _copy(shallow, deep)
    checkpoint.save(out, {meta["task"]: deep}, {}, meta | {"step": 0, "model": model, "ema": False})


@torch.no_grad()
def _copy(shallow: nn.Module, deep: nn.Module) -> None:
    """Give the deeper network the weights of the other one. What only it has ends in zeros."""
    known = shallow.state_dict()
    for name, weight in deep.state_dict().items():
        if name not in known:
            weight.mul_(0.0 if name.endswith(BRANCH_ENDS) else 1.0)
        elif weight.shape == known[name].shape:
            weight.copy_(known[name])
        elif name.startswith("film.") and weight[: len(known[name])].shape == known[name].shape:
            weight.zero_()[: len(known[name])] = known[name]  # gains and biases, block after block
        else:
            raise InputError(f"{name} would change its shape; only layers and attend_after may grow")
    if missing := known.keys() - deep.state_dict().keys():
        raise InputError(f"{sorted(missing)[0]} would be lost; layers and attend_after may only grow")
