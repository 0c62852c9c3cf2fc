"""Speed and memory of a system, measured alone on the machine and in a process of its own."""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import soundfile

from .. import audio
from ..converter import VoiceConverter
from ..mel import MEL
from ..memory import peak_mb
from .pairs import Pair
from .processes import end_with_parent
from .systems import Conversion

SECONDS = 60  # of speech to convert


def _measure(bundle: str | None, steps: int, source: str, references: list[str], threads: int) -> dict[str, float]:
    """Runs in a process of its own, so that the peaks belong to this system."""
    started = time.perf_counter()
    converter = VoiceConverter.load(bundle, threads)
    memory = {"loaded": peak_mb()}
    voice = converter.voice(references)
    embedded, memory["voice"] = time.perf_counter() - started, peak_mb()
    result = converter.convert_file(source, Path(source).with_name("converted.wav"), voice, steps=steps)
    memory["conversion"] = peak_mb()
    stages = {**result.stages, "audio": result.elapsed - sum(result.stages.values())}
    stages["voice"] = stages.get("voice", 0.0) + embedded  # the conversion's own part is the source's voice
    whole = embedded + result.elapsed
    report = {
        "threads": float(converter.bundle.threads),
        "seconds": result.seconds,
        "real-time factor": whole / result.seconds,
    }
    paper = sum(stages[name] for name in ("encoders", "converter"))
    report["content + converter real-time factor"] = paper / result.seconds
    report |= {f"{stage} real-time factor": seconds / result.seconds for stage, seconds in stages.items()}
    return report | {f"{stage} peak MB": peak for stage, peak in memory.items()}


def measure(system: Conversion, pairs: list[Pair], threads: int) -> dict[str, float]:
    """Convert `SECONDS` of the pairs' sources, one after the other, to the first pair's voice.

    The whole includes loading the bundle and embedding the voice. "content + converter" is what the paper measures.
    """
    waves: list[np.ndarray] = []
    while sum(map(len, waves)) < SECONDS * MEL.sample_rate:
        waves.append(audio.read(pairs[len(waves) % len(pairs)].source.path))
    references = [r.path for r in pairs[0].references]
    pool = ProcessPoolExecutor(1, get_context("spawn"), end_with_parent)
    with tempfile.TemporaryDirectory() as folder, pool as process:
        source = Path(folder) / "source.wav"
        soundfile.write(source, np.concatenate(waves)[: SECONDS * MEL.sample_rate], MEL.sample_rate)
        return process.submit(_measure, system.bundle, system.steps, str(source), references, threads).result()
