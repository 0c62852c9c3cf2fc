"""Checkpoints as safetensors: networks, optimisers and the step, never pickle."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from ..errors import InputError
from ..files import check_target, shown
from .legacy import upgraded_meta, with_thresholds
from .task import DISCRIMINATOR


class OtherNetworkError(InputError):
    """A checkpoint holds another network than the one that it should fill."""


class OtherWeightsError(InputError):
    """An optimiser of a checkpoint trained other weights than the one that it should fill."""


def _optimizer_tensors(name: str, optimizer: Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{name}.{index}.{key}": value.detach().clone().cpu()
        for index, values in state.items()
        for key, value in values.items()
    }


def _trained(module: nn.Module, optimizer: Optimizer) -> list[str]:
    """Names of the weights that an optimiser trains, in its order: it knows them by their numbers."""
    names = {id(weight): name for name, weight in module.named_parameters()}
    return [names.get(id(weight), "") for weight in _weights_in(optimizer)]


def _weights_in(optimizer: Optimizer) -> list[Tensor]:
    return [weight for group in optimizer.param_groups for weight in group["params"]]


def _load_optimizer(name: str, optimizer: Optimizer, tensors: dict[str, Tensor]) -> bool:
    """Fill an optimiser. False: the checkpoint has values for weights of other shapes, or for more weights."""
    prefix = f"optimizer.{name}."
    state: dict[int, dict[str, Tensor]] = {}
    for full, value in tensors.items():
        if full.startswith(prefix):
            index, key = full.removeprefix(prefix).split(".", 1)
            state.setdefault(int(index), {})[key] = value
    shapes = [weight.shape for weight in _weights_in(optimizer)]
    for number, values in state.items():  # a weight without a gradient so far has none
        if number >= len(shapes) or any(value.ndim and value.shape != shapes[number] for value in values.values()):
            return False
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return True


def save(path: Path, modules: dict[str, nn.Module], optimizers: dict[str, Optimizer], meta: dict[str, Any]) -> None:
    """Write everything that a run needs to continue exactly. The file appears only once it is complete."""
    tensors = {
        f"{n}.{k}": v.detach().clone().contiguous().cpu() for n, m in modules.items() for k, v in m.state_dict().items()
    }
    for name, optimizer in optimizers.items():
        tensors |= _optimizer_tensors(name, optimizer)
    trained = {name: _trained(modules[name], optimizer) for name, optimizer in optimizers.items()}
    write(path, tensors, meta | {"trained": trained})


def write(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write a checkpoint of tensors by their names in it.

    Raises:
        InputError: it cannot be written (see `files.check_target`); an older one stays as it is.
    """
    check_target(path)
    part = path.with_suffix(".part")  # beside the path itself: a link to another run's checkpoint is replaced, not that
    try:
        save_file(tensors, part, {"meta": json.dumps(meta)})
        part.replace(path)
    except (SafetensorError, OSError) as error:
        part.unlink(missing_ok=True)
        raise InputError(
            f"{shown(path)} cannot be written ({error}); free some room, or choose another folder"
        ) from error


def read_meta(path: str | Path) -> dict[str, Any]:
    """What a checkpoint records of its run, under today's names: task, model, others, recipe, step, ema."""
    try:
        with safe_open(path, "pt") as file:
            return upgraded_meta(json.loads(file.metadata()["meta"]))
    except FileNotFoundError as error:
        raise InputError(f"{shown(path)}: no such file; train that part first, or name its checkpoint") from error
    except (SafetensorError, OSError, TypeError, KeyError) as error:
        raise InputError(f"{shown(path)} is no checkpoint of this package; name another file") from error


def _tensors(path: str | Path) -> dict[str, Tensor]:
    with safe_open(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)


def load(path: str | Path, modules: dict[str, nn.Module], optimizers: dict[str, Optimizer] | None = None) -> int:
    """Fill modules and optimisers in place; returns the step of the checkpoint.

    Raises:
        OtherNetworkError: it is of another network.
        OtherWeightsError: the run trained other weights, as where another part was frozen.
        InputError: it is no checkpoint, or a damaged one.
    """
    meta, tensors = read_meta(path), _tensors(path)
    for name, module in modules.items():
        _fill(module, _weights_of(name, tensors), path)
    for name, optimizer in (optimizers or {}).items():
        trained = _trained(modules[name], optimizer)
        known = meta.get("trained", {}).get(name, trained)  # older checkpoints do not name them
        if known != trained or not _load_optimizer(name, optimizer, tensors):
            raise OtherWeightsError(
                f"{shown(path)} is of a run that trained other weights; freeze what it froze, or name another folder"
            )
    return int(meta["step"])


def load_network(path: str | Path, module: nn.Module, name: str = "") -> None:
    """Fill a network from a checkpoint, with the averaged weights where the run kept any.

    Args:
        name: of the network in the checkpoint; "" is the main one.
    Raises:
        OtherNetworkError: it is of another network.
        InputError: it is no checkpoint, or a damaged one.
    """
    meta = read_meta(path)
    name = name or meta["task"]
    weights = _weights_of(f"{name}_ema" if meta["ema"] else name, _tensors(path))
    _fill(module, with_thresholds(weights), path)


def _weights_of(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of one network of a checkpoint, by their names in the network."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _fill(module: nn.Module, weights: dict[str, Tensor], path: str | Path) -> None:
    """Give a network the weights that a checkpoint holds of it."""
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:  # names or sizes differ
        kind = type(module).__name__
        raise OtherNetworkError(f"{shown(path)} does not hold this {kind}; name a checkpoint that does") from error


def load_matching(path: str | Path, modules: dict[str, nn.Module]) -> None:
    """Fill the modules whose names and shapes a checkpoint has; leave the others as they are.

    Averaged weights come first, where the run kept any: networks that were trained together stay together.
    """
    tensors = _tensors(path)
    for name, module in modules.items():
        shapes = {key: value.shape for key, value in module.state_dict().items()}
        for stored in (f"{name}_ema", name):
            found = {key: tensors.get(f"{stored}.{key}") for key in shapes}
            if all(value is not None and value.shape == shapes[key] for key, value in found.items()):
                module.load_state_dict(found)
                break


def average(paths: Sequence[str | Path], out: Path, shares: Sequence[float] = ()) -> None:
    """Write the mean of several runs' weights (model soups, arXiv 2203.05482).

    Runs with averaged weights contribute those. The last checkpoint lends its discriminator, so a run can start from
    the result. A network that only some checkpoints have is the mean of theirs. So a content run can take part, where
    the others are students that train their content encoders.

    Args:
        shares: weight of each checkpoint, relative to the others; () weighs all alike.
    Raises:
        InputError: the networks are of different kinds or sizes, the last checkpoint lacks one of them, or the shares
            do not match the checkpoints or are not above 0; or `out` cannot be written.
    """
    check_target(out)
    shares = shares or [1.0] * len(paths)
    if len(shares) != len(paths) or not all(0 < share < math.inf for share in shares):
        raise InputError(f"{len(paths)} checkpoints need as many shares, all above 0 and finite")
    metas = [read_meta(path) for path in paths]
    last = _settings_of(metas[-1])
    for settings in map(_settings_of, metas):
        shared = settings.keys() & last.keys()
        if not shared or any(settings[name] != last[name] for name in shared):
            raise InputError("these checkpoints' networks differ; average runs of one recipe's model")
    runs = [generator_weights(path, meta["ema"]) for path, meta in zip(paths, metas, strict=True)]
    if any(weights.keys() - runs[-1].keys() for weights in runs):
        raise InputError("some of these checkpoints have networks that the last one lacks; name a run with all last")
    mean = {}
    for name in runs[-1]:
        having = [(share, weights[name]) for share, weights in zip(shares, runs, strict=True) if name in weights]
        total = torch.stack([share * weights.double() for share, weights in having]).sum(0)
        mean[name] = (total / sum(share for share, _ in having)).float()
    discriminator = {k: v for k, v in _tensors(paths[-1]).items() if k.startswith(f"{DISCRIMINATOR}.")}
    write(out, mean | discriminator, metas[-1] | {"ema": False})


def _settings_of(meta: dict[str, Any]) -> dict[str, Any]:
    """Settings of the networks of a checkpoint, by their names in it."""
    return {meta["task"]: meta["model"], **meta.get("others", {})}


def generator_weights(path: str | Path, averaged: bool) -> dict[str, Tensor]:
    """Weights of all networks but the discriminator, averaged ones where the run kept any."""
    weights = {k: v for k, v in _tensors(path).items() if not k.startswith(("optimizer.", f"{DISCRIMINATOR}."))}
    if averaged:
        weights = {k.replace("_ema.", ".", 1): v for k, v in weights.items() if "_ema." in k}
    return weights


def plain(config: Any) -> Any:
    """A dataclass as plain lists and dictionaries, for YAML and JSON."""
    if is_dataclass(config) and not isinstance(config, type):
        config = asdict(config)
    if isinstance(config, dict):
        return {k: plain(v) for k, v in config.items()}
    if isinstance(config, (list, tuple)):
        return [plain(v) for v in config]
    return config
