"""Bring one content encoder into the coordinates of another, so that the other's converters work with it.

Two encoders may represent the same content along different axes. A least-squares affine map from one to the other is
folded into the encoder's last layer, and its inverse into the heads, whose predictions stay the same.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..files import check_target
from . import checkpoint
from .data.store import Store
from .models.content import ContentHeads, ContentModel
from .networks import load_content

RECORDINGS, FRAMES = 200, 400  # for the fit: recordings, and frames of each at most


@torch.inference_mode()
def contents(model: ContentModel, store: Store, seed: int = 0) -> Tensor:
    """Content embeddings of some recordings, (N, C)."""
    mel, random = store.array("mel"), np.random.default_rng(seed)
    rows = random.permutation(len(store.entries))[:RECORDINGS]
    encoded = []
    for entry in (store.entries[row] for row in rows):
        frames = mel[entry.start : entry.start + min(entry.frames, FRAMES) // 2 * 2]
        encoded.append(model.encoder(torch.from_numpy(frames.astype(np.float32).T[None].copy()))[0].T)
    return torch.cat(encoded)


def affine_map(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, float]:
    """Least squares: argmin over A, b of |y - (A x + b)|^2, for x and y (N, C).

    Returns:
        A (C, C), b (C,) and the explained share of y's variance.
    """
    inputs = torch.cat([x, torch.ones_like(x[:, :1])], 1).double()
    solution = torch.linalg.lstsq(inputs, y.double(), driver="gelsd").solution
    residual = (y - inputs @ solution).square().sum() / (y - y.mean(0)).square().sum()
    return solution[:-1].T, solution[-1], 1 - float(residual)


@torch.no_grad()
def fold(model: ContentModel, matrix: Tensor, offset: Tensor) -> None:
    """Give an encoder's contents new coordinates, A c + b, in place; its heads predict the same as before."""
    last, dim = model.encoder.bottleneck[-1], model.config.dim
    assert isinstance(last, nn.Conv1d)
    assert last.bias is not None
    two = torch.block_diag(matrix, matrix)  # the layer outputs two frames at once
    last.bias.copy_(two @ last.bias.double() + offset.repeat(2))
    last.weight.copy_((two @ last.weight[:, :, 0].double())[:, :, None])
    for head in model.heads.children():
        assert isinstance(head, nn.Conv1d)
        assert head.bias is not None
        back = torch.linalg.solve(matrix, head.weight[:, :, 0].double(), left=False)
        head.weight.copy_(back.view(-1, dim, 1))
        head.bias.copy_(head.bias.double() - back @ offset)


def align(new: Path, to: Path, store: Path, out: Path, fresh_heads: bool = False) -> float:
    """Write the content encoder of a checkpoint in the coordinates of another.

    Args:
        new: checkpoint of the encoder that changes its coordinates.
        to: checkpoint of the encoder that has the wanted ones.
        store: feature store whose recordings the fit uses.
        out: checkpoint to write.
        fresh_heads: replace the heads by untrained ones, for a content run with `frozen: encoder`. Heads with the
            inverse map are too steep for an encoder that trains on.
    Returns:
        the explained share of the variance of `to`'s contents.
    Raises:
        InputError: the two contents have different sizes, or `out` cannot be written.
    """
    check_target(out)
    model, other = load_content(new), load_content(to)
    if model.config.dim != other.config.dim:
        raise InputError(f"contents of {model.config.dim} and of {other.config.dim} numbers cannot be aligned")
    recordings = Store(store)
    matrix, offset, explained = affine_map(contents(model, recordings), contents(other, recordings))
    fold(model, matrix, offset)
    if fresh_heads:
        torch.manual_seed(0)
        model.heads = ContentHeads(model.config)
    meta = {"step": 0, "task": "content", "model": checkpoint.plain(model.config), "ema": False, "recipe": {}}
    checkpoint.save(out, {"content": model}, {}, meta)
    return explained
