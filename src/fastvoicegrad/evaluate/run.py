"""Judge systems on pairs and print one table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from rich.console import Console
from rich.progress import track
from rich.table import Table

from .. import audio
from ..bundle import Bundle
from ..converter import VoiceConverter
from ..data.corpus import Recording, read_manifest
from ..data.teachers import SpeakerTeacher
from ..loudness import TARGET_LEVEL, speech_level
from ..mel import MEL, log_mel
from .asr import Moonshine, error_rates
from .pairs import Pair, make_pairs
from .quality import DistillMos, Dnsmos
from .speaker import Ecapa

RATE = 16000
System = Callable[[Pair], np.ndarray]  # a pair to samples at 22,050 Hz


@dataclass(frozen=True)
class Rulers:
    """Paths of the judges' published weights."""

    moonshine: str  # folder
    campplus: str
    ecapa: str


@dataclass(frozen=True)
class Judgement:
    """Every figure of one converted utterance."""

    pair: str
    text: str
    heard: str
    dnsmos: float
    distillmos: float
    campplus_target: float
    campplus_source: float
    ecapa_target: float
    ecapa_source: float


def natural(pair: Pair) -> np.ndarray:
    """The target's own recording of another sentence."""
    return audio.read(pair.natural.path)


def source(pair: Pair) -> np.ndarray:
    return audio.read(pair.source.path)


def copy_synthesis(vocoder: Callable[[np.ndarray], np.ndarray]) -> System:
    """The source's mel through a vocoder, (80, T) -> (N,): the ceiling of every system with that vocoder."""

    def system(pair: Pair) -> np.ndarray:
        wave = audio.read(pair.source.path)
        gain = np.float32(TARGET_LEVEL / speech_level(wave))
        return vocoder(log_mel(wave * gain)) / gain

    return system


def bundle_vocoder(bundle: Bundle) -> Callable[[np.ndarray], np.ndarray]:
    converter = VoiceConverter(bundle)
    return lambda mel: converter.render(mel, 0, slice(0, mel.shape[1]), 0.0, seed=0)[0]


def hifigan_vocoder(weights: str) -> Callable[[np.ndarray], np.ndarray]:
    import torch

    from ..models.vocoder import HiFiGAN

    model = HiFiGAN.from_checkpoint(weights)

    def render(mel: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(mel)[None])[0].numpy()

    return render


def conversion(converter: VoiceConverter, steps: int) -> System:
    """A bundle with a number of steps."""

    def system(pair: Pair) -> np.ndarray:
        voice = converter.voice([r.path for r in pair.references])
        return converter.convert(audio.read(pair.source.path), MEL.sample_rate, voice, steps=steps)

    return system


def make_system(spec: str) -> System:
    """A system by its name.

    ``natural``, ``source``, ``copy-synthesis:BUNDLE``, ``hifigan:WEIGHTS``, or ``BUNDLE[@STEPS]`` where BUNDLE
    is a folder, a zip or ``default``.
    """
    if spec in ("natural", "source"):
        return {"natural": natural, "source": source}[spec]
    kind, _, path = spec.partition(":")
    if kind == "copy-synthesis":
        return copy_synthesis(bundle_vocoder(Bundle.open(None if path in ("", "default") else path)))
    if kind == "hifigan":
        return copy_synthesis(hifigan_vocoder(path))
    name, _, steps = spec.partition("@")
    return conversion(VoiceConverter.load(None if name == "default" else name), int(steps or 1))


class Judge:
    """All metrics; embeddings of recordings are computed once."""

    def __init__(self, rulers: Rulers) -> None:
        self.asr = Moonshine(rulers.moonshine)
        self.encoders = {"campplus": SpeakerTeacher(rulers.campplus), "ecapa": Ecapa(rulers.ecapa)}
        self.dnsmos, self.distillmos = Dnsmos(), DistillMos()
        self._known: dict[tuple[str, str], np.ndarray] = {}
        self._heard: dict[bytes, tuple[str, float, float]] = {}

    def _embedding(self, encoder: str, recording: Recording) -> np.ndarray:
        key = (encoder, recording.id)
        if key not in self._known:
            self._known[key] = self.encoders[encoder](audio.read(recording.path, RATE))  # type: ignore[operator]
        return self._known[key]

    def __call__(self, pair: Pair, wave: np.ndarray, text: str) -> Judgement:
        """`wave` is (N,) at 16 kHz."""
        cosines: dict[str, Any] = {}
        for name, encoder in self.encoders.items():
            said = encoder(wave)  # type: ignore[operator]
            target = np.sum([self._embedding(name, r) for r in pair.references], axis=0)
            cosines[f"{name}_target"] = float(said @ target / np.linalg.norm(target))
            cosines[f"{name}_source"] = float(said @ self._embedding(name, pair.source))
        key = hashlib.sha256(wave.tobytes()).digest()
        if key not in self._heard:  # natural speech and copy synthesis come back for every target
            self._heard[key] = self.asr(wave), self.dnsmos(wave), self.distillmos(wave)
        return Judgement(pair.id, text, *self._heard[key], **cosines)


def summary(judgements: list[Judgement]) -> dict[str, float]:
    """Means over a system's utterances; "nearer" is the share nearer to the target than to the source."""

    def column(name: str) -> np.ndarray:
        return np.array([getattr(j, name) for j in judgements])

    cer, wer = error_rates([j.text for j in judgements], [j.heard for j in judgements])
    return {
        "utterances": len(judgements),
        "DNSMOS": float(column("dnsmos").mean()),
        "DistillMOS": float(column("distillmos").mean()),
        "CER %": cer,
        "WER %": wer,
        "CAM++ cosine": float(column("campplus_target").mean()),
        "CAM++ nearer %": 100 * float((column("campplus_target") > column("campplus_source")).mean()),
        "ECAPA cosine": float(column("ecapa_target").mean()),
        "ECAPA nearer %": 100 * float((column("ecapa_target") > column("ecapa_source")).mean()),
    }


def evaluate(
    systems: dict[str, str],
    manifest: str | Path,
    corpus: str,
    sentences: int,
    rulers: Rulers,
    out: Path,
    limit: int = 0,
    split: str = "test",
) -> dict[str, dict[str, float]]:
    """Judge systems (name -> spec) on one split of one corpus; writes waves, report.json and report.md.

    Choices are made on "valid"; "test" is for the figures that are reported.
    """
    recordings = [r for r in read_manifest(manifest) if r.split == split and r.corpus == corpus]
    pairs = make_pairs(recordings, sentences)
    if limit:
        pairs = pairs[:: max(1, len(pairs) // limit)][:limit]
    judge = Judge(rulers)
    results, details = {}, {}
    for name, spec in systems.items():
        system = make_system(spec)
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        judgements = []
        for pair in track(pairs, name):
            wave = system(pair)
            soundfile.write(folder / f"{pair.id}.flac", np.clip(wave, -1, 1), MEL.sample_rate)
            text = (pair.natural if spec == "natural" else pair.source).text or ""
            heard = np.asarray(soxr.resample(wave, MEL.sample_rate, RATE), dtype=np.float32)
            judgements.append(judge(pair, heard, text))
        results[name], details[name] = summary(judgements), [asdict(j) for j in judgements]
    (out / "report.json").write_text(json.dumps({"summary": results, "utterances": details}, indent=1))
    (out / "report.md").write_text(markdown(results))
    return results


def markdown(results: dict[str, dict[str, float]]) -> str:
    """The table of a report."""
    columns = list(next(iter(results.values())))
    rows = [["system", *columns], ["---", *("---:" for _ in columns)]]
    rows += [
        [name, *(f"{row[c]:.3g}" if c == "utterances" else f"{row[c]:.2f}" for c in columns)]
        for name, row in results.items()
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def print_table(results: dict[str, dict[str, float]]) -> None:
    columns = list(next(iter(results.values())))
    table = Table("system", *columns)
    for name, row in results.items():
        table.add_row(name, *(f"{row[c]:.4g}" for c in columns))
    Console(width=160).print(table)
