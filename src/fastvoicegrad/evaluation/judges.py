"""The metrics of this package as plain functions of a wave, for the report of an adaptation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ..errors import InputError
from ..training.adapt.report import Judges
from .asr import ErrorRates, TextLikelihood, error_rates, normalise
from .metrics import RATE, in_one_line
from .quality import DistillMos
from .registry import METRICS
from .speaker import SpeakerSimilarity


def judges(metric_weights: Path, trained: Sequence[str] = ()) -> Judges:
    """Speaker encoders, recognisers and DistillMOS, as far as their weights and packages are there.

    Each is tried on a second of noise: one that cannot judge is found before a training, not after it.

    Args:
        trained: names of speaker encoders that took part in the training.
    Raises:
        InputError: there is no such folder, or a judge cannot be loaded.
    """
    if not metric_weights.is_dir():
        raise InputError(f"{metric_weights}: no such folder of metric weights")
    _try(_made(metric_weights, trained), metric_weights)
    return _made(metric_weights, trained)  # not loaded: a training needs the memory


def _made(metric_weights: Path, trained: Sequence[str]) -> Judges:
    """The judges, which load their weights at the first call."""
    encoders, rates, likelihoods, qualities = {}, {}, {}, {}
    for spec in METRICS:
        if spec.missing(metric_weights):
            continue
        metric = spec.made(metric_weights)
        if isinstance(metric, SpeakerSimilarity):
            encoders[metric.encoder.name] = metric.encoder
        elif isinstance(metric, ErrorRates):
            rates[metric.recogniser.name] = _error_rate(metric)
        elif isinstance(metric, TextLikelihood):
            likelihoods[metric.recogniser.name] = metric.nats
        elif isinstance(metric, DistillMos):
            qualities["DistillMOS"] = _opinion(metric)
    return Judges(encoders, rates, likelihoods, qualities, frozenset(trained))


def _try(found: Judges, metric_weights: Path) -> None:
    """Raises InputError where a judge cannot be loaded."""
    noise = np.float32(0.01) * np.random.default_rng(0).standard_normal(RATE, dtype=np.float32)
    of_waves = (*found.encoders.items(), *found.qualities.items())
    of_texts = (*found.error_rates.items(), *found.likelihoods.items())
    trials: list[tuple[str, Callable[[], object]]] = [(name, partial(judge, noise)) for name, judge in of_waves]
    trials += [(name, partial(judge, noise, "a")) for name, judge in of_texts]
    for name, trial in trials:
        with in_one_line(f"the judge {name} cannot be loaded", f"check {metric_weights}"):
            trial()


def _error_rate(metric: ErrorRates) -> Callable[[np.ndarray, str], float]:
    """CER in per cent of a wave against its text."""
    return lambda wave, text: error_rates(normalise(text), normalise(metric.recogniser(wave)))[0]


def _opinion(metric: DistillMos) -> Callable[[np.ndarray], float]:
    """Predicted opinion score of a wave."""

    @torch.inference_mode()
    def rate(wave: np.ndarray) -> float:
        return float(metric.model(torch.from_numpy(wave)[None])[0])

    return rate
