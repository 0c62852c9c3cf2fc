"""Convert a folder of mixed recordings, good and broken ones, and kill the command at random moments.

    python benchmarks/folder.py [--bundle PATH] [--files 200] [--broken 10] [--kills 5] [--workers 1] [--seed 0]

The recordings are made: six formats, six rates, one and two channels, names with spaces and letters of several scripts,
folders in folders. One run is left alone. Another one gets SIGKILL at random moments and is started again each time.
Both must give the same bytes, a result for each good recording, a line for each broken one, and exit code 1. Prints a
JSON line per run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.conftest import vowels

FORMATS = {"wav": "WAV", "flac": "FLAC", "mp3": "MP3", "ogg": "OGG", "opus": "OGG", "aiff": "AIFF"}
RATES = (8000, 16000, 22050, 32000, 44100, 48000)
OPUS_RATES = (8000, 12000, 16000, 24000, 48000, 48000)
NAMES = ("talk", "two words", "Grüße", "привет", "日本語", "naïve (copy)", "emoji 🎙", "dots.in.it", "UPPER", "-dash")
FOLDERS = (".", "a", "a/b c", "ордер", "x/y/z")
LOG = "fastvoicegrad.jsonl"


def make_good(folder: Path, count: int) -> None:
    """Recordings of 1 to 2 s."""
    for index in range(count):
        kind, rate = list(FORMATS)[index % 6], RATES[index // 6 % 6]
        rate = OPUS_RATES[index // 6 % 6] if kind == "opus" else rate
        wave = vowels(1.0 + index % 11 / 10, pitch=90.0 + 13 * (index % 12), rate=rate, seed=index)
        if index % 2:
            wave = np.stack([wave, 0.5 * wave], axis=1)
        name = f"{NAMES[index % len(NAMES)]} {index}.{kind}"
        path = folder / FOLDERS[index % len(FOLDERS)] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        subtype = "OPUS" if kind == "opus" else None
        soundfile.write(path, wave, rate, subtype, format=FORMATS[kind])


def _bytes(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def _wave(wave: np.ndarray, rate: int = 22050, subtype: str = "PCM_16") -> Callable[[Path], object]:
    return lambda path: soundfile.write(path, wave, rate, subtype, format="WAV")


def _header_alone(path: Path) -> None:
    soundfile.write(path, vowels(1.0), 22050)
    path.write_bytes(path.read_bytes()[:44])


def _dangling_link(path: Path) -> None:
    try:
        path.symlink_to("nowhere.wav")
    except OSError:  # Windows may not allow it
        path.write_bytes(b"")


BROKEN: dict[str, Callable[[Path], object]] = {
    "empty.wav": _bytes(b""),
    "a text.flac": _bytes(b"This is not a recording. " * 100),
    "chance.mp3": _bytes(random.Random(0).randbytes(50_000)),
    "header alone.wav": _header_alone,
    "silence.wav": _wave(np.zeros(22050)),
    "not a number.wav": _wave(np.where(np.arange(22050) == 9999, np.nan, 0.1), subtype="FLOAT"),
    "absurd.wav": _wave(np.where(np.arange(22050) == 9999, 1e9, 0.1), subtype="FLOAT"),
    "short.wav": _wave(vowels(1.0)[:300]),
    "a million hertz.wav": _wave(vowels(1.0), 1_000_000),
    "gone.ogg": _dangling_link,
}


def make_broken(folder: Path, count: int) -> list[str]:
    """Files that are no recordings, each of another kind; their names."""
    for index, (name, make) in enumerate(list(BROKEN.items())[:count]):
        path = folder / FOLDERS[index % len(FOLDERS)] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path)
    return list(BROKEN)[:count]


@dataclass
class Ended:
    """How a run ended.

    Attributes:
        seconds: that it took; code: exit code, negative for a signal.
        results: sound files in the output folder; lines: on stderr.
    """

    seconds: float
    code: int
    results: int
    lines: list[str] = field(default_factory=list)


class Test:
    """A folder with sources and a voice, and the command that converts them."""

    def __init__(self, folder: Path, bundle: str | None, files: int, broken: int, workers: int) -> None:
        self.folder, self.files = folder, files
        make_good(folder / "in", files - broken)
        self.broken = make_broken(folder / "in", broken)
        soundfile.write(folder / "reference.wav", vowels(4.0, pitch=210.0, seed=3), 22050)
        chosen = ["--bundle", str(Path(bundle).absolute())] if bundle else []
        program = [sys.executable, "-m", "fastvoicegrad"]
        subprocess.run(
            [*program, "voice", "make", "reference.wav", "-o", "x.voice", *chosen],
            cwd=folder,
            check=True,
            capture_output=True,
        )
        self.command = [*program, "convert", "in", "--to", "x.voice", "--workers", str(workers), *chosen, "-o"]

    def run(self, out: str, moment: float | None = None) -> Ended:
        """Convert into the folder `out`; SIGKILL comes after `moment` seconds."""
        started = time.perf_counter()
        process = subprocess.Popen(
            [*self.command, out], cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            _, text = process.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()  # its workers have the pipes for a moment longer
            text = ""
        seconds = round(time.perf_counter() - started, 2)
        return Ended(seconds, process.returncode, len(self.digests(out)), text.strip().splitlines())

    def digests(self, out: str) -> dict[str, str]:
        """Checksums of everything in a folder but its log."""
        paths = sorted(path for path in (self.folder / out).rglob("*") if path.is_file() and path.name != LOG)
        paths = [path for path in paths if not path.name.startswith(".")]
        return {str(p.relative_to(self.folder / out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}

    def left(self, out: str) -> list[str]:
        """Unfinished files."""
        return [path.name for path in (self.folder / out).rglob(".*")]

    def problems(self, out: str, ended: Ended) -> list[str]:
        """What is wrong with a folder after a run to the end."""
        good = self.files - len(self.broken)
        named = [name for name in self.broken if sum(name in line for line in ended.lines) == 1]
        wrong = {
            f"exit code {ended.code}": ended.code != (1 if self.broken else 0),
            f"{ended.results} results": ended.results != good,
            f"{len(named)} of {len(self.broken)} errors are named": len(named) != len(self.broken),
            f"{len(ended.lines)} lines on stderr": len(ended.lines) != len(self.broken),
            f"left: {self.left(out)}": bool(self.left(out)),
        }
        return [text for text, is_so in wrong.items() if is_so]


def check(test: Test, kills: int, seed: int) -> list[str]:
    """Both runs; what is wrong."""
    random_moments = random.Random(seed)
    alone = test.run("alone")
    print(json.dumps({"run": "left alone", **asdict(alone)}, ensure_ascii=False), flush=True)
    for number in range(kills):
        # Early enough that the last one still finds something to do.
        killed = test.run("killed", random_moments.uniform(0.05, 1.5 * alone.seconds / max(kills, 1)))
        print(json.dumps({"run": f"killed {number + 1}", **asdict(killed)}), flush=True)
    last = test.run("killed")
    print(json.dumps({"run": "last", **asdict(last)}, ensure_ascii=False), flush=True)
    problems = test.problems("alone", alone) + test.problems("killed", last)
    if test.digests("alone") != test.digests("killed"):
        problems.append("the bytes differ")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle")
    parser.add_argument("--files", type=int, default=200, help="good and broken ones together")
    parser.add_argument("--broken", type=int, default=10, choices=range(len(BROKEN) + 1), metavar="0-10")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        test = Test(Path(folder), arguments.bundle, arguments.files, arguments.broken, arguments.workers)
        problems = check(test, arguments.kills, arguments.seed)
    print("\n".join(problems) or "no problem")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
