"""Stop conversions at random moments and look at what is left.

    python benchmarks/kill.py [--bundle PATH] [--moments 40] [--seconds 120] [--seed 0]

Each run converts a made source over an existing output and gets SIGINT, SIGTERM, SIGHUP or SIGKILL. Then the output
must be the old one and the folder must hold nothing new; only SIGKILL may leave a file, which the next run removes.
The next run must give the bytes of a run that was never stopped. Prints a JSON line per run and a table.
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
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import soundfile

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.conftest import vowels

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGKILL")
START = 0.15  # seconds in which Python itself starts: it may end there before the package can answer


@dataclass(frozen=True)
class Stop:
    """What a stopped run left.

    Attributes:
        moment: seconds from the start to the signal.
        code: exit code; negative where the signal itself ended the process.
        lines: on stderr.
        left: new files in the folder.
        kept: whether the output is the old one, or the whole new one where the signal came too late.
        finished: whether the signal came too late.
        cleaned: whether the next run removed what was left.
        same: whether the next run gave the bytes of an undisturbed one.
    """

    signal: str
    moment: float
    code: int
    lines: int
    left: list[str]
    kept: bool
    finished: bool
    cleaned: bool
    same: bool

    @property
    def problem(self) -> str:
        """What is wrong; empty where all is right."""
        killed = self.signal == "SIGKILL"
        number = int(getattr(signal, self.signal))
        expected = {-number} if killed else {128 + number}
        if self.finished or self.moment < START:  # Python ends, or starts
            expected |= {0, -number} if self.finished else {-number}
        wrong = {
            "the old output is lost": not self.kept,
            "files were left": bool(self.left) and not killed,
            "left files were not cleaned": not self.cleaned,
            f"exit code {self.code}": self.code not in expected,
            f"{self.lines} lines on stderr": self.lines != (0 if self.code <= 0 else 1),
            "another result": not self.same,
        }
        if self.moment < START:
            del wrong[f"{self.lines} lines on stderr"]
        return ", ".join(text for text, is_so in wrong.items() if is_so)


class Test:
    """A folder with a source, a voice, and an output that exists already."""

    def __init__(self, folder: Path, bundle: str | None, seconds: float) -> None:
        self.folder, self.output = folder, folder / "out.wav"
        soundfile.write(folder / "source.wav", vowels(seconds), 22050)
        soundfile.write(folder / "reference.wav", vowels(5.0, pitch=210.0, seed=3), 22050)
        chosen = ["--bundle", str(Path(bundle).absolute())] if bundle else []
        program = [sys.executable, "-m", "fastvoicegrad"]
        make = [*program, "voice", "make", "reference.wav", "-o", "x.voice", *chosen]
        subprocess.run(make, cwd=folder, check=True, capture_output=True)
        self.command = [*program, "convert", "source.wav", "--to", "x.voice", "-o", "out.wav", *chosen]
        soundfile.write(self.output, vowels(1.0), 22050)
        self.old = self.output.read_bytes()
        self.names = self.listed()
        started = time.perf_counter()
        self.convert()
        self.duration = time.perf_counter() - started
        self.digest = self.digested()

    def listed(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}

    def digested(self) -> str:
        return hashlib.sha256(self.output.read_bytes()).hexdigest()

    def convert(self) -> None:
        """An undisturbed run."""
        subprocess.run(self.command, cwd=self.folder, check=True, capture_output=True)

    def stop(self, name: str, moment: float) -> Stop:
        """Send a signal `moment` seconds after the start, then run again."""
        self.output.write_bytes(self.old)
        process = subprocess.Popen(
            self.command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            _, text = process.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            process.send_signal(getattr(signal, name))
            _, text = process.communicate()
        finished = self.digested() == self.digest
        kept = finished or self.output.read_bytes() == self.old
        left = sorted(self.listed() - self.names)
        self.convert()
        cleaned, same = self.listed() == self.names, self.digested() == self.digest
        lines = len(text.strip().splitlines())
        return Stop(name, round(moment, 3), process.returncode, lines, left, kept, finished, cleaned, same)


def table(stops: list[Stop]) -> str:
    """Runs by signal, as Markdown."""
    columns = ["runs", "came too late", "exit codes", "left files", "cleaned later", "old output kept", "same bytes"]
    lines = ["| signal | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name in SIGNALS:
        runs = [stop for stop in stops if stop.signal == name]
        codes = Counter(stop.code for stop in runs)
        cells = [
            name,
            len(runs),
            sum(stop.finished for stop in runs),
            ", ".join(f"{code}: {count}" for code, count in sorted(codes.items())),
            sum(bool(stop.left) for stop in runs),
            sum(bool(stop.left) and stop.cleaned for stop in runs),
            sum(stop.kept for stop in runs),
            sum(stop.same for stop in runs),
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle")
    parser.add_argument("--moments", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=120.0, help="length of the source")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for name in SIGNALS[:-1]:  # under nohup or in the background some are ignored, also by the runs
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    moments = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        test = Test(Path(folder), arguments.bundle, arguments.seconds)
        print(f"an undisturbed run takes {test.duration:.2f} s", file=sys.stderr)
        stops = []
        for index in range(arguments.moments):
            stops.append(test.stop(SIGNALS[index % len(SIGNALS)], moments.uniform(0.02, test.duration)))
            print(json.dumps(asdict(stops[-1]) | {"problem": stops[-1].problem}), flush=True)
    print(table(stops))
    bad = sum(bool(stop.problem) for stop in stops)
    print(f"{len(stops)} runs, {bad} with a problem")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
