"""Checkpoints as safetensors: networks, optimisers and the step, never pickle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from ..errors import InputError


def _optimizer_tensors(name: str, optimizer: Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{name}.{index}.{key}": value.detach().clone().cpu()
        for index, values in state.items()
        for key, value in values.items()
    }


def _load_optimizer(name: str, optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    prefix = f"optimizer.{name}."
    state: dict[int, dict[str, Tensor]] = {}
    for full, value in tensors.items():
        if full.startswith(prefix):
            index, key = full.removeprefix(prefix).split(".", 1)
            state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def save(path: Path, modules: dict[str, nn.Module], optimizers: dict[str, Optimizer], meta: dict[str, Any]) -> None:
    """Write everything that a run needs to go on exactly, under a temporary name first."""
    tensors = {
        f"{n}.{k}": v.detach().clone().contiguous().cpu() for n, m in modules.items() for k, v in m.state_dict().items()
    }
    for name, optimizer in optimizers.items():
        tensors |= _optimizer_tensors(name, optimizer)
    _write(path, tensors, meta)


def _write(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    save_file(tensors, part, {"meta": json.dumps(meta)})
    part.replace(path)


def read_meta(path: str | Path) -> dict[str, Any]:
    with safe_open(path, "pt") as file:
        meta: dict[str, Any] = json.loads(file.metadata()["meta"])
    return meta


def _tensors(path: str | Path) -> dict[str, Tensor]:
    with safe_open(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)


def load(path: str | Path, modules: dict[str, nn.Module], optimizers: dict[str, Optimizer] | None = None) -> int:
    """Fill modules and optimisers in place; returns the step that the run had reached.

    Raises:
        RuntimeError: the checkpoint is of another network.
    """
    tensors = _tensors(path)
    for name, module in modules.items():
        prefix = f"{name}."
        module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    for name, optimizer in (optimizers or {}).items():
        _load_optimizer(name, optimizer, tensors)
    return int(read_meta(path)["step"])


def load_network(path: str | Path, module: nn.Module) -> None:
    """Fill the network that a checkpoint's run was for; with its averaged weights where the run kept any."""
    meta = read_meta(path)
    load(path, {f"{meta['task']}_ema" if meta["ema"] else meta["task"]: module})


def average(paths: Sequence[str | Path], out: Path) -> None:
    """Write the mean of like networks' weights (model soups, arXiv 2203.05482), of averaged weights where a run kept
    any; with the last one's discriminators, so that a run can start from it.

    Raises:
        InputError: the networks are of different kinds or sizes.
    """
    metas = [read_meta(path) for path in paths]
    if any((meta["task"], meta["model"]) != (metas[-1]["task"], metas[-1]["model"]) for meta in metas):
        raise InputError("these checkpoints' networks differ; average runs of one recipe's model")
    total: dict[str, Tensor] = {}
    for path, meta in zip(paths, metas, strict=True):
        task, tensors = meta["task"], _tensors(path)
        prefix = f"{task}_ema." if meta["ema"] else f"{task}."
        for key, value in tensors.items():
            if key.startswith(prefix):
                name = f"{task}.{key.removeprefix(prefix)}"
                total[name] = total.get(name, torch.zeros(value.shape, dtype=torch.float64)) + value
    mean = {name: (value / len(paths)).float() for name, value in total.items()}
    others = {k: v for k, v in tensors.items() if not k.startswith((f"{task}.", f"{task}_ema.", "optimizer."))}
    _write(out, mean | others, metas[-1] | {"ema": False})


def load_alike(path: str | Path, modules: dict[str, nn.Module]) -> None:
    """Fill those modules of which a checkpoint has like weights; leave the others."""
    tensors = _tensors(path)
    for name, module in modules.items():
        own = {key: value.shape for key, value in module.state_dict().items()}
        found = {key: tensors.get(f"{name}.{key}") for key in own}
        if all(value is not None and value.shape == own[key] for key, value in found.items()):
            module.load_state_dict(found)


def plain(config: Any) -> Any:
    """A dataclass as plain lists and dictionaries, for YAML and JSON."""
    if is_dataclass(config) and not isinstance(config, type):
        config = asdict(config)
    if isinstance(config, dict):
        return {k: plain(v) for k, v in config.items()}
    if isinstance(config, (list, tuple)):
        return [plain(v) for v in config]
    return config


def total_norm_is_finite(modules: list[nn.Module]) -> bool:
    """Whether every gradient is a number."""
    return all(torch.isfinite(p.grad).all() for m in modules for p in m.parameters() if p.grad is not None)
