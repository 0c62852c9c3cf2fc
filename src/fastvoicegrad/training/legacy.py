"""What older checkpoints, graphs and feature stores hold: names of settings and arrays, and weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from .models.speaker import behind_threshold, level

# Settings of a network: old name -> new name; None: the setting is gone.
MODEL: dict[str, str | None] = {
    "draft": "retrieval",
    "draft_temperature": "retrieval_temperature",
    "draft_tolerance": None,
}
# Settings of a recipe, of every part together.
RECIPE: dict[str, str | None] = {
    **{f"model.{old}": new and f"model.{new}" for old, new in MODEL.items()},
    "data.twins": "data.parallel",
    "data.new_voices": None,
    "data.new_voice": None,
    "data.speaker": "speaker",
    "kept": "frozen",
    "new_voices": "augmented_voices",
    "new_voice": "voice_augmentation",
    "pieces": "views",
    "again": "repeat_after",
    "perturb.cepstra": None,
    "new_voice.cepstra": None,
    "source_voices": "source_perturbation",
    "source_voices.cepstra": None,
    "adversary.sees": "adversary.input",
    "adversary.steps": None,
    "recognised_apart": "recogniser_margins",
    "converted": "conversions",
    "guidance.nobody": "guidance.unconditional",
    "own_guidance": "conversion_guidance",
    "own_guidance_cosines": "conversion_guidance_cosines",
    "content_learns": "train_content",
    "draft_tolerance": None,
    "weights.voice": "weights.speaker",
    "weights.words": "weights.consistency",
    "weights.recognised": "weights.recogniser",
}
# Arrays of a feature store: new name -> old name.
ARRAYS = {"parallel": "twin", "content_unperturbed": "content_own"}


def renamed(settings: dict[str, Any], names: dict[str, str | None]) -> dict[str, Any]:
    """Settings under today's names; what `names` does not list stays as it is.

    Args:
        names: dotted old name -> dotted new name, or None for a setting that is gone.
    """
    table = {tuple(old.split(".")): None if new is None else tuple(new.split(".")) for old, new in names.items()}
    current: dict[str, Any] = {}
    for path, value in _leaves(settings):
        known = [length for length in range(len(path), 0, -1) if path[:length] in table]
        new = table[path[: known[0]]] if known else ()
        if new is not None:
            _put(current, new + path[known[0] :] if known else path, value)
    return current


def _leaves(settings: dict[str, Any], parents: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Path and value of everything that is not a dictionary with entries."""
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*parents, name))
        else:
            yield (*parents, name), value


def _put(settings: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for parent in path[:-1]:
        settings = settings.setdefault(parent, {})
    settings[path[-1]] = value


def model_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a network, as a checkpoint or a graph holds them, under today's names."""
    return renamed(settings, MODEL)


def upgraded_meta(meta: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint's metadata with today's names in "model", "others" and "recipe"."""
    upgraded = dict(meta)
    if isinstance(meta.get("model"), dict):
        upgraded["model"] = model_settings(meta["model"])
    if "others" in meta:
        upgraded["others"] = {n: model_settings(m) if isinstance(m, dict) else m for n, m in meta["others"].items()}
    if isinstance(meta.get("recipe"), dict):
        upgraded["recipe"] = renamed(meta["recipe"], RECIPE)
    return upgraded


def with_thresholds(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the speaker encoder of 0.16.0, whose normalisations were layers of their own, under today's names."""
    found = dict(weights)
    for name in weights:
        if name.endswith(".between.weight"):
            layer = name.removesuffix("between.weight")
            before = [found.pop(f"{layer}before.{kind}")[:, 0] for kind in ("weight", "bias")]
            gain, offset = (found.pop(f"{layer}between.{kind}")[:, 0] for kind in ("weight", "bias"))
            weight = found[f"{layer}reduce.weight"] * gain[:, None, None]
            found[f"{layer}before.level"] = level(before[0], before[1])
            behind = behind_threshold(weight, offset, before[0], before[1])
            found[f"{layer}reduce.weight"], found[f"{layer}reduce.bias"] = behind
    return found
