"""What adapting a voice is worth, over seconds of speech and minutes of training.

    python benchmarks/adapt.py MANIFEST -o FOLDER --metric-weights WEIGHTS [--bundle BUNDLE]
        [--corpus tsp ...] [--split test] [--voices 4] [--speech 60 ...] [--minutes 10 ...] [--sentences 3]
        [--threads 2]

Each voice gives its first sentences to 'fastvoicegrad adapt'; the others are held back. Sentences of the other voices
are then converted to the plain and to the adapted voice, made of the same recordings. Judges compare both with what is
held back. Prints tables of each corpus and of all voices: means, and paired differences with 95 % intervals by
bootstrap. A voice that got no better counts as it was. Finished work is kept in FOLDER, so a killed run continues,
with the same settings only. The default is the table for one minute and ten minutes; for the curves:

    python benchmarks/adapt.py ... --speech 10 60 300 1200 --minutes 1 3 10 30
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastvoicegrad import Voice, VoiceConverter, audio
from fastvoicegrad.evaluation.asr import normalise
from fastvoicegrad.evaluation.judges import judges
from fastvoicegrad.evaluation.statistics import difference, estimate, resamples
from fastvoicegrad.training.adapt.report import Judges
from fastvoicegrad.training.data.corpus import Recording, read_manifest
from fastvoicegrad.version import __version__

RATE = 16000
LEAST_HELD = 3  # recordings of a voice
LENGTH = "characters"  # of a text: they weight the error rates
Row = dict[str, float]


class Point(NamedTuple):
    """What one amount of speech and one time of training is worth to a set of voices."""

    name: str
    seconds: float
    minutes: float
    rows: dict[str, list[Any]]


def chosen_voices(manifest: Path, corpora: list[str], split: str, most: int) -> dict[str, list[Recording]]:
    """The first voices of each corpus that have a name and enough recordings."""
    by_corpus: dict[str, dict[str, list[Recording]]] = defaultdict(lambda: defaultdict(list))
    for recording in read_manifest(manifest):
        if recording.split == split and recording.corpus in corpora and recording.speaker:
            by_corpus[recording.corpus][recording.voice].append(recording)
    found: dict[str, list[Recording]] = {}
    for corpus in corpora:
        enough = {voice: rows for voice, rows in sorted(by_corpus[corpus].items()) if len(rows) > 2 * LEAST_HELD}
        found |= dict(list(enough.items())[:most])
    return found


def divided(recordings: list[Recording], seconds: float) -> tuple[list[Recording], list[Recording]]:
    """The first recordings, of so many seconds together, and what is held back: at least `LEAST_HELD`."""
    total, count = 0.0, 0
    while total < seconds and count < len(recordings) - LEAST_HELD:
        total += recordings[count].duration
        count += 1
    return recordings[:count], recordings[count:]


def adapted(recordings: list[Recording], output: Path, minutes: float, arguments: argparse.Namespace) -> Voice | None:
    """The voice that the command writes; None where it refuses to."""
    if not output.exists() and not refused(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "fastvoicegrad", "adapt", *(r.path for r in recordings), "-o", str(output)]
        options = ["--minutes", str(minutes), "--threads", str(arguments.threads)]
        options += ["--bundle", str(arguments.bundle)] if arguments.bundle else []
        status = subprocess.run([*command, *options], check=False).returncode
        if status and not (status == 1 and refused(output)):
            sys.exit(f"{output}: the command failed with {status}")
    return Voice.load(output) if output.exists() else None


def refused(output: Path) -> bool:
    """Whether the report says that the voice got worse. Without it the command ended in another way."""
    report = output.with_suffix(".adapt") / "report.json"
    return report.exists() and bool(json.loads(report.read_text())["problem"])


def figures(wave: np.ndarray, text: str | None, centres: dict[str, np.ndarray], judging: Judges) -> Row:
    """What the judges find of a wave at 16 kHz."""
    row = {name: float(embed(wave) @ centres[name]) for name, embed in judging.encoders.items()}
    row |= {name: rate(wave) for name, rate in judging.qualities.items()}
    if text:
        row[LENGTH] = len(normalise(text))
        row |= {f"CER % {name}": rate(wave, text) for name, rate in judging.error_rates.items()}
        row |= {f"NLL {name}": rate(wave, text) for name, rate in judging.likelihoods.items()}
    return row


def compared(
    converter: VoiceConverter, held: list[Recording], sources: list[Recording], voices: dict[str, Voice], by: Judges
) -> dict[str, list[Row]]:
    """Rows of conversions to each of the voices."""
    centres = {}
    for name, embed in by.encoders.items():
        total = np.sum([embed(audio.read(r.path, RATE)) for r in held], axis=0)
        centres[name] = np.asarray(total / np.linalg.norm(total))
    rows: dict[str, list[Row]] = defaultdict(list)
    for source, (name, voice) in product(sources, voices.items()):
        wave = converter.convert(audio.read(source.path, RATE), RATE, voice)
        rows[name].append(figures(wave, source.text, centres, by))
    return rows


def sources_for(voice: str, voices: dict[str, list[Recording]], sentences: int) -> list[Recording]:
    """The last sentences of every other voice of its corpus: they are held back there too."""
    corpus = voices[voice][0].corpus
    return [r for v, rows in voices.items() if v != voice and rows[0].corpus == corpus for r in rows[-sentences:]]


def check_settings(arguments: argparse.Namespace, converter: VoiceConverter, by: Judges) -> None:
    """Finished work in the folder must be of the same settings."""
    same = {name: getattr(arguments, name) for name in ("split", "voices", "sentences", "threads")}
    same |= {"bundle": converter.bundle.converter_fingerprint, "version": __version__}
    same["judges"] = sorted([*by.encoders, *by.error_rates, *by.likelihoods, *by.qualities])
    same["manifest"] = hashlib.sha256(arguments.manifest.read_bytes()).hexdigest()
    path = arguments.output / "settings.json"
    if path.exists() and json.loads(path.read_text()) != same:
        sys.exit(f"{arguments.output} holds results of other settings, see settings.json; name another folder")
    arguments.output.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(same, indent=1) + "\n")


def measured(arguments: argparse.Namespace) -> Iterator[Point]:
    """Each point, of each corpus by itself and then of all."""
    voices = chosen_voices(arguments.manifest, arguments.corpus, arguments.split, arguments.voices)
    converter, by = VoiceConverter.load(arguments.bundle, arguments.threads), judges(arguments.metric_weights)
    check_settings(arguments, converter, by)
    for seconds, minutes in product(arguments.speech, arguments.minutes):
        sets: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
        for voice, recordings in voices.items():
            path = arguments.output / f"{seconds:g}s-{minutes:g}min" / f"{voice}.json"
            if not path.exists():
                given, held = divided(recordings, seconds)
                plain = converter.voice([r.path for r in given])
                found = adapted(given, path.with_suffix(".voice"), minutes, arguments)
                both = {"zero-shot": plain, "adapted": found or plain}  # a refused voice changes nothing
                made = compared(converter, held, sources_for(voice, voices, arguments.sentences), both, by)
                part = path.with_suffix(".part")
                part.write_text(json.dumps(made | {"refused": found is None}, indent=1))
                part.replace(path)
            stored = json.loads(path.read_text())
            for name in (recordings[0].corpus, "all"):
                for kind in ("zero-shot", "adapted"):
                    sets[name][kind] += stored[kind]
                sets[name]["refused"] += [stored["refused"]]
                sets[name]["seconds"] += [sum(r.duration for r in divided(recordings, seconds)[0])]
        for name, rows in sets.items():
            yield Point(name, seconds, minutes, rows)


def table(points: Iterator[Point]) -> str:
    """Markdown tables, one for each point, with a row for each figure."""
    lines = list[str]()
    for name, seconds, minutes, rows in points:
        before, after = rows["zero-shot"], rows["adapted"]
        lines += [
            f"\n{name}: {len(rows['refused'])} voices, {len(before)} conversions, up to {seconds:g} s of speech each "
            f"({np.mean(rows['seconds']):.0f} s on average), {minutes:g} min of training, "
            f"{sum(rows['refused'])} voices refused\n",
            "| figure | zero-shot | adapted | difference |",
            "|---|---:|---:|---:|",
        ]
        draws, lengths = resamples(len(before)), np.array([row.get(LENGTH, 0.0) for row in before])
        for figure in sorted({name for row in before for name in row} - {LENGTH}):
            weights = lengths if figure.startswith("CER") else np.ones(len(before))
            a, b = (np.array([row.get(figure, np.nan) for row in set_]) for set_ in (after, before))
            means = [estimate(x, weights, draws) for x in (b, a)]
            change = difference(a, b, (weights, weights), draws)
            assert means[0] is not None and means[1] is not None and change is not None  # noqa: PT018
            cells = f"{means[0].mean:.3f} | {means[1].mean:.3f}"
            interval = f"{change.mean:+.3f} [{change.low:+.3f}, {change.high:+.3f}]"
            lines.append(f"| {figure} | {cells} | {interval} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--metric-weights", type=Path, required=True)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--corpus", nargs="+", default=["tsp", "commonvoice"])
    parser.add_argument("--split", default="test")
    parser.add_argument("--voices", type=int, default=4, help="of each corpus")
    parser.add_argument("--speech", type=float, nargs="+", default=[60.0], help="seconds")
    parser.add_argument("--minutes", type=float, nargs="+", default=[10.0])
    parser.add_argument("--sentences", type=int, default=3, help="of each other voice, converted to each voice")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    text = table(measured(arguments))
    (arguments.output / "table.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
