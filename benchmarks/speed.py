"""Measure the speed and memory of a bundle, each length in a process of its own.

    python benchmarks/speed.py [--bundle PATH] [--seconds 5 60 3600] [--threads 2]

Prints a JSON line per length: real-time factor without the start of Python and bundle, times of all stages, and the
peak memory of the process. The command reads the source, embeds the voice and writes the result. The sound is
synthetic: no recording is needed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import soundfile

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.conftest import vowels


def write_long(path: Path, seconds: int) -> None:
    """Write `seconds` of synthetic speech at 22,050 Hz, block by block."""
    block = vowels(10.0)
    with soundfile.SoundFile(path, "w", 22050, 1) as file:
        for start in range(0, seconds, 10):
            file.write(block[: min(10, seconds - start) * 22050])


def peak_mb(maxrss: int) -> int:
    """The peak memory of a process by its `ru_maxrss`, which macOS counts in bytes and Linux in KiB."""
    return round(maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10))


def measure(folder: Path, seconds: int, bundle: str | None, threads: int | None) -> dict[str, object]:
    """The command's report and its peak memory in MB."""
    source, reference = folder / "source.wav", folder / "reference.wav"
    write_long(source, seconds)
    soundfile.write(reference, vowels(5.0, pitch=210.0, seed=3), 22050)
    command = [sys.executable, "-m", "fastvoicegrad", "convert", source, "--to", reference]
    command += ["-o", folder / "out.flac", "--json"]
    command += ["--bundle", bundle] if bundle else []
    command += ["--threads", str(threads)] if threads else []
    with subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"the command ended with {process.returncode}")
    report: dict[str, object] = json.loads(text)
    report["peak_memory_mb"] = peak_mb(usage.ru_maxrss)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle")
    parser.add_argument("--seconds", type=int, nargs="+", default=[5, 60, 600])
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    for seconds in arguments.seconds:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(Path(folder), seconds, arguments.bundle, arguments.threads)), flush=True)


if __name__ == "__main__":
    main()
