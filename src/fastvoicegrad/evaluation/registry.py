"""The list of all metrics. A new metric is a class in a file of its own and a line in `METRICS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import shown
from .metrics import Metric


@dataclass(frozen=True)
class MetricSpec:
    """How a metric is made.

    Attributes:
        module: the module of this package with its class.
        make: (module, path of the weights) -> metric.
        weights: file or folder below the folder of metric weights; "" if it needs none.
        packages: further packages that it needs.
        files: what a folder of weights must hold; of several names of a file, one is enough.
    """

    module: str
    make: Callable[[Any, str], Metric]
    weights: str = ""
    packages: tuple[str, ...] = ()
    files: tuple[tuple[str, ...], ...] = ()

    def missing(self, metric_weights: Path) -> str:
        """A line that names what is missing; "" if nothing is."""
        for package in self.packages:
            if find_spec(package) is None:
                return f"{self.weights or self.module}: left out, it needs the package {package}"
        if self.weights and not (metric_weights / self.weights).exists():
            return f"{self.weights}: left out, it is not in {metric_weights}"
        return ""

    def check(self, metric_weights: Path) -> None:
        """Raises InputError where the metric's folder lacks a file: a metric that the user wants would fail late."""
        folder = metric_weights / self.weights
        if self.missing(metric_weights) or not folder.is_dir():
            return
        for first, *others in self.files:
            if not any((folder / name).is_file() for name in (first, *others)):
                names = " or ".join([first, *(Path(name).suffix for name in others)])
                raise InputError(
                    f"{shown(folder)} has no {names}; see 'Metric weights' of the manual, or move the folder away"
                )

    def made(self, metric_weights: Path) -> Metric:
        """The metric. Its version names those of its packages: where they change, no cached figure counts."""
        module = import_module(f".{self.module}", __package__)
        metric = self.make(module, str(metric_weights / self.weights))
        names = [name for package in self.packages for name in _distributions().get(package, [])[:1]]
        metric.version = "; ".join([metric.version, *(f"{name} {metadata.version(name)}" for name in names)])
        return metric


@cache
def _distributions() -> Mapping[str, list[str]]:
    """Names of distributions by their packages. Reading all of them takes more than a second."""
    return metadata.packages_distributions()


MOONSHINE = (
    ("encoder_model.ort", "encoder_model.onnx"),
    ("decoder_model_merged.ort", "decoder_model_merged.onnx"),
    ("tokenizer.json",),
)
METRICS = (
    MetricSpec("quality", lambda m, _: m.Dnsmos(), packages=("speechmos",)),
    MetricSpec("quality", lambda m, _: m.DnsmosP808(), packages=("speechmos",)),
    MetricSpec("quality", lambda m, _: m.DistillMos(), packages=("distillmos",)),
    MetricSpec("quality", lambda m, path: m.Utmos(path), "utmos.jit"),
    MetricSpec("distortion", lambda m, _: m.MelCepstralDistortion(), packages=("librosa",)),
    MetricSpec("asr", lambda m, path: m.ErrorRates(m.moonshine(path)), "moonshine", ("jiwer", "tokenizers"), MOONSHINE),
    MetricSpec(
        "asr", lambda m, path: m.TextLikelihood(m.moonshine(path)), "moonshine", ("jiwer", "tokenizers"), MOONSHINE
    ),
    MetricSpec("asr", lambda m, path: m.ErrorRates(m.Whisper(path)), "whisper.pt", ("jiwer", "tokenizers", "whisper")),
    MetricSpec(
        "transcripts",
        lambda m, path: m.SourceTranscript(m.Whisper(path)),
        "whisper-multilingual",
        ("jiwer", "tokenizers", "whisper"),
        (("model.bin",),),
    ),
    MetricSpec(
        "speaker", lambda m, path: m.SpeakerSimilarity(m.CamPlus(path)), "campplus.pt", ("speakerlab", "torchaudio")
    ),
    MetricSpec("speaker", lambda m, path: m.SpeakerSimilarity(m.Ecapa(path)), "ecapa.ckpt", ("speechbrain",)),
    MetricSpec("speaker", lambda m, path: m.SpeakerSimilarity(m.Ge2e(path)), "ge2e.pt"),
    MetricSpec("pitch", lambda m, _: m.Pitch(), packages=("swift_f0",)),
    MetricSpec("expression", lambda m, _: m.Expression(), packages=("swift_f0",)),
)


def available(metric_weights: Path) -> tuple[list[Metric], list[str]]:
    """The metrics whose weights and packages are present, and a line for each of the others.

    Raises:
        InputError: a folder of weights lacks a file.
    """
    metrics, missing = [], []
    for spec in METRICS:
        spec.check(metric_weights)
        if line := spec.missing(metric_weights):
            missing.append(line)
        else:
            metrics.append(spec.made(metric_weights))
    return metrics, missing
