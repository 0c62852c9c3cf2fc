"""Compare the speed of conversions with and without a voice's adapter, in turn in one process.

    python benchmarks/adapted_speed.py VOICE [--bundle PATH] [--seconds 30] [--rounds 10] [--threads 2]

VOICE is a file that `fastvoicegrad adapt` wrote. Prints medians in seconds, and the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.conftest import RATE, vowels

from fastvoicegrad import Voice, VoiceConverter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("voice", type=Path)
    parser.add_argument("--bundle")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    converter, wave = VoiceConverter.load(arguments.bundle, arguments.threads), vowels(arguments.seconds)
    adapted = Voice.load(arguments.voice)
    if adapted.adapter is None:
        sys.exit(f"{arguments.voice} has no adapter; make one with 'fastvoicegrad adapt'")

    def seconds(voice: Voice) -> float:
        started = time.perf_counter()
        converter.convert(wave, RATE, voice)
        return time.perf_counter() - started

    plain = replace(adapted, adapter=None)
    rounds = np.array([[seconds(plain), seconds(adapted)] for _ in range(arguments.rounds + 1)])[1:]  # after a warm-up
    ratios = rounds[:, 1] / rounds[:, 0]
    print(
        f"{arguments.seconds:g} s of sound: {np.median(rounds[:, 0]):.3f} s plain, {np.median(rounds[:, 1]):.3f} s "
        f"adapted, ratio {np.median(ratios):.3f} [{ratios.min():.3f}, {ratios.max():.3f}]"
    )


if __name__ == "__main__":
    main()
