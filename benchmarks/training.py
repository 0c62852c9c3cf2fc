"""Throughput and peak memory of the full bundle's trainings, each in a process of its own, one after the other.

    python benchmarks/training.py --store STORE [--steps 10] [--threads 2] [--set NAME=VALUE ...]

Prints a row of a table per stage: optimiser steps per second, and peak memory, of the GPU where there is one. The
stages are the release's recipes, and the student with each of three discriminators. Students take teacher and vocoder
of the default bundle, the others start from random weights. The waveform discriminator is by far the slowest and takes
a fifth of the steps.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from fastvoicegrad.training.checkpoint import read_meta

RECIPES = Path(__file__).parents[1] / "recipes"
STAGES = {  # name -> part, recipe
    "content": ("content", "release/content"),
    "speaker": ("speaker", "release/speaker"),
    "pitch": ("pitch", "release/pitch"),
    "vocoder": ("vocoder", "release/vocoder"),
    "teacher": ("teacher", "release/teacher"),
    "student, VPFD": ("student", "ablation/student"),
    "student, mel discriminator": ("student", "ablation/mel"),
    "student, waveform discriminator": ("student", "ablation/wave"),
}


def cli(*arguments: Any) -> None:
    command = [sys.executable, "-m", "fastvoicegrad", "dev", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def measure(name: str, store: str, steps: int, threads: int, init: Path, more: list[str]) -> dict[str, Any]:
    """The cost of a stage's steps, from its checkpoint."""
    part, recipe = STAGES[name]
    settings = [f"loop.{key}={value}" for key, value in {"steps": steps, "warmup": 0, "threads": threads}.items()]
    settings += ["loop.start_from=", f"{'data.' if part in ('teacher', 'student') else ''}store={store}"]
    settings += ["frozen=nothing"] if part == "content" else []
    if part == "student":
        settings += [f"teacher={init / 'student.safetensors'}", f"vocoder={init / 'vocoder.safetensors'}"]
    options = [option for setting in (*settings, *more) for option in ("--set", setting)]
    out = init.parent / name.replace(" ", "-")
    cli("train", part, "--recipe", RECIPES / f"{recipe}.yaml", "-o", out, *options)
    cost: dict[str, Any] = read_meta(out / "last.safetensors")["cost"]
    return cost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--set", action="append", default=[], help="Override in every recipe.")
    arguments = parser.parse_args()
    print("| stage | steps | steps/s | peak MB | on |\n|---|---:|---:|---:|---|")
    with tempfile.TemporaryDirectory() as folder:
        init = Path(folder) / "init"
        cli("restore", "-o", init)
        for name in arguments.stages:
            steps = max(2, arguments.steps // 5) if "waveform" in name else arguments.steps
            cost = measure(name, arguments.store, steps, arguments.threads, init, arguments.set)
            rate, peak = cost["steps_per_second"], cost["peak_mb"]
            print(f"| {name} | {steps} | {rate:.3g} | {peak:,.0f} | {cost['device']} |", flush=True)


if __name__ == "__main__":
    main()
