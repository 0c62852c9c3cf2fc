"""Peak memory of a conversion by the length of what goes in: a file, an array, a reference.

python benchmarks/memory.py SPEECH.wav [--seconds 60 600 3600]

The recording is repeated to each length. Each figure is the peak of a process of its own; for arrays, what the caller's
own two arrays take is subtracted.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

RATE = 16000  # Hz of the repeated recording
WORK = """
import sys, warnings
import numpy as np, soundfile
from fastvoicegrad import AudioWarning, VoiceConverter
from fastvoicegrad.memory import peak_mb
warnings.simplefilter("ignore", AudioWarning)
kind, long, short = sys.argv[1:]
converter, own = VoiceConverter.load(), 0.0
if kind == "file":
    converter.convert_file(long, long + ".out.flac", short)
elif kind == "reference":
    converter.convert_file(short, long + ".out.flac", long)
else:
    wave, rate = soundfile.read(long, dtype="float32")
    own = 2 * wave.nbytes / 2**20
    converter.convert(wave, rate, short)
print(peak_mb() - own)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", type=Path, help="some seconds of speech")
    parser.add_argument("--seconds", type=int, nargs="+", default=[60, 600, 3600])
    arguments = parser.parse_args()
    from fastvoicegrad import audio

    wave = audio.read(arguments.speech, RATE)
    with tempfile.TemporaryDirectory() as folder:
        print("seconds", "file MB", "array MB", "reference MB", sep="\t")
        for seconds in arguments.seconds:
            long = Path(folder) / f"{seconds}.flac"
            soundfile.write(long, np.resize(wave, seconds * RATE), RATE)
            peaks = []
            for kind in ("file", "array", "reference"):
                command = [sys.executable, "-c", WORK, kind, str(long), str(arguments.speech)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                peaks.append(f"{float(done.stdout):.0f}")
            print(seconds, *peaks, sep="\t", flush=True)


if __name__ == "__main__":
    main()
