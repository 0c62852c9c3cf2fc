"""Bring a content encoder into another one's coordinates, so that what was trained on the other goes on with it.

Two runs may hear alike and say it along different axes. The affine map that brings the contents of the one nearest to
the other's, by least squares over recordings of a store, is folded into the encoder's last layer, and its inverse into
the heads: what they tell stays as it was.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from . import checkpoint
from .data.embed import load_content
from .data.store import Store
from .models.content import ContentHeads
from .tasks.content import ContentModel

RECORDINGS, FRAMES = 200, 400  # that the map is fitted on, and of each of them at most


@torch.inference_mode()
def contents(model: ContentModel, store: Store, seed: int = 0) -> Tensor:
    """What an encoder hears in some recordings, (N, C)."""
    mel, random = store.array("mel"), np.random.default_rng(seed)
    rows = random.permutation(len(store.entries))[:RECORDINGS]
    heard = []
    for entry in (store.entries[row] for row in rows):
        frames = mel[entry.start : entry.start + min(entry.frames, FRAMES) // 2 * 2]
        heard.append(model.encoder(torch.from_numpy(frames.astype(np.float32).T[None].copy()))[0].T)
    return torch.cat(heard)


def affine_map(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, float]:
    """The matrix (C, C) and the offset (C,) for which ``matrix @ x + offset`` is nearest to y, both (N, C); and the
    share of y's variance that is met."""
    known = torch.cat([x, torch.ones_like(x[:, :1])], 1).double()
    solution = torch.linalg.lstsq(known, y.double(), driver="gelsd").solution
    missed = (y - known @ solution).square().sum() / (y - y.mean(0)).square().sum()
    return solution[:-1].T, solution[-1], 1 - float(missed)


@torch.no_grad()
def fold(model: ContentModel, matrix: Tensor, offset: Tensor) -> None:
    """Give an encoder's contents other coordinates, in place; its heads tell what they told."""
    last, dim = model.encoder.bottleneck[-1], model.config.dim
    assert isinstance(last, nn.Conv1d)
    assert last.bias is not None
    two = torch.block_diag(matrix, matrix)  # the layer says two frames at once
    last.bias.copy_(two @ last.bias.double() + offset.repeat(2))
    last.weight.copy_((two @ last.weight[:, :, 0].double())[:, :, None])
    for head in (model.heads.units, model.heads.prosody):
        assert head.bias is not None
        back = torch.linalg.solve(matrix, head.weight[:, :, 0].double(), left=False)
        head.weight.copy_(back.view(-1, dim, 1))
        head.bias.copy_(head.bias.double() - back @ offset)


def align(new: Path, to: Path, store: Path, out: Path, fresh_heads: bool = False) -> float:
    """Write the content encoder of a checkpoint in the coordinates of another's; returns the share of the latter's
    variance that is met.

    Args:
        fresh_heads: whether the heads begin anew, to be learnt by a content run that keeps the "encoder". Those that
            the inverse is folded into are too steep where the two see least for an encoder that learns on.
    Raises:
        InputError: the encoders' contents are of different sizes.
    """
    model, other = load_content(new), load_content(to)
    if model.config.dim != other.config.dim:
        raise InputError(f"contents of {model.config.dim} and of {other.config.dim} numbers cannot be aligned")
    recordings = Store(store)
    matrix, offset, met = affine_map(contents(model, recordings), contents(other, recordings))
    fold(model, matrix, offset)
    if fresh_heads:
        torch.manual_seed(0)
        model.heads = ContentHeads(model.config)
    meta = {"step": 0, "task": "content", "model": checkpoint.plain(model.config), "ema": False, "recipe": {}}
    checkpoint.save(out, {"content": model}, {}, meta)
    return met
