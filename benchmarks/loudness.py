"""How closely conversions follow their sources' loudness, and whether they clip.

python benchmarks/loudness.py SPEECH/manifest.jsonl [--corpus commonvoice] [--conversions 60]

Of each conversion: the difference of its RMS level from its source's over the whole recording, and over every second
of speech within 30 dB of the loudest second. A second of speech has three tenths within 30 dB of the loudest tenth:
where a word begins just before the end of a second of silence, its first sound alone would count.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import soundfile

from fastvoicegrad import AudioWarning, VoiceConverter

RANGE = 30.0  # dB below the loudest
REFERENCES = 3  # recordings that make a speaker's voice; the others are converted


def decibels(wave: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(wave, dtype=np.float64)) + 1e-12))


def seconds_of(wave: np.ndarray, rate: int) -> list[float]:
    """The level of each second, every half second."""
    return [decibels(wave[start : start + rate]) for start in range(0, max(1, len(wave) - rate + 1), rate // 2)]


def speech_seconds(wave: np.ndarray, rate: int) -> list[bool]:
    """Whether each of `seconds_of` holds speech."""
    tenth = rate // 10
    loud = [decibels(wave[start : start + tenth]) for start in range(0, len(wave), tenth)]
    spoken = np.array(loud) > max(loud) - RANGE
    return [spoken[5 * k : 5 * k + 10].sum() >= 3 for k in range(len(seconds_of(wave, rate)))]


def differences(source: np.ndarray, converted: np.ndarray, rate: int) -> tuple[float, list[float]]:
    levels, after, spoken = seconds_of(source, rate), seconds_of(converted, rate), speech_seconds(source, rate)
    speech = [b - a for a, b, s in zip(levels, after, spoken, strict=True) if s and a > max(levels) - RANGE]
    return decibels(converted) - decibels(source), speech


def voices_of(manifest: Path, corpus: str, split: str) -> dict[str, list[Path]]:
    """The recordings of each speaker who has some beyond the references. Ends with one line where there is none."""
    voices: dict[str, list[Path]] = defaultdict(list)
    for line in manifest.read_text().splitlines():
        row = json.loads(line)
        if row["corpus"] == corpus and row["split"] == split and row["speaker"]:
            voices[row["speaker"]].append(manifest.parent / row["path"])
    enough = {name: paths for name, paths in voices.items() if len(paths) > REFERENCES}
    if not enough:
        sys.exit(f"{manifest}: no speaker of corpus '{corpus}', split '{split}', has more than {REFERENCES} recordings")
    return enough


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--corpus", default="commonvoice")
    parser.add_argument("--split", default="test")
    parser.add_argument("--conversions", type=int, default=60)
    parser.add_argument("--peak", type=float, default=0.99, help="of every source, which is scaled to it")
    arguments = parser.parse_args()
    voices = voices_of(arguments.manifest, arguments.corpus, arguments.split)
    names, converter = sorted(voices), VoiceConverter.load()
    warnings.simplefilter("ignore", AudioWarning)
    targets = {name: converter.voice(voices[name][:REFERENCES]) for name in names}
    whole, parts, clipped = [], [], 0
    for number in range(arguments.conversions):
        name, target = names[number % len(names)], names[(number + 1 + number // len(names)) % len(names)]
        others = voices[name][REFERENCES:]
        path = others[number // len(names) % len(others)]
        source, rate = soundfile.read(path, dtype="float32")
        source *= arguments.peak / np.abs(source).max()
        converted = converter.convert(source, rate, targets[target])
        difference, seconds = differences(source, converted, rate)
        whole.append(difference)
        parts.extend(seconds)
        clipped += int((np.abs(converted) >= 1.0).sum())
    print(f"{arguments.conversions} conversions, sources at a peak of {arguments.peak}")
    print(f"whole recordings: mean {np.mean(whole):+.2f} dB, largest {np.abs(whole).max():.2f} dB")
    within = 100 * np.mean(np.abs(parts) <= 2)
    largest = np.abs(parts).max()
    print(f"{len(parts)} seconds: mean {np.mean(parts):+.2f} dB, within 2 dB {within:.1f} %, largest {largest:.2f} dB")
    print(f"clipped samples: {clipped}")


if __name__ == "__main__":
    main()
