"""Runs cases one after the other: numbers come on stdin, one line of JSON for each goes out."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from fastvoicegrad import InputError

from . import bundles, sounds, voices
from .workspace import Action, Case, Workspace

MAKERS: dict[str, tuple[Callable[[Case], Action], int]] = {  # and their shares in per cent
    "source": (sounds.source, 24),
    "reference": (sounds.reference, 8),
    "array": (sounds.array, 15),
    "voice": (voices.voice, 20),
    "config": (bundles.config, 13),
    "graph": (bundles.graph, 9),
    "archive": (bundles.archive, 6),
    "path": (bundles.path, 5),
}


def kind_of(number: int) -> str:
    """The kind of a case; any hundred cases in a row hold the same mix."""
    share = number * 37 % 100
    for kind, (_, percent) in MAKERS.items():
        if share < percent:
            return kind
        share -= percent
    raise AssertionError


def reset_peak() -> None:
    """Start the count of the peak of memory anew (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def status_mb(name: str) -> float:
    """A line of /proc/self/status in MB; 0 where there is none."""
    try:
        return float(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return 0.0


def limit_memory(megabytes: int) -> None:
    """What may be allocated from here on."""
    try:
        import resource
    except ImportError:
        return
    most = int((status_mb("VmSize") + megabytes) * 2**20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def outcome_of(case: Case, action: Action) -> tuple[str, str]:
    """How the calls of a case ended, and the message."""
    try:
        arrays = action()
    except InputError as error:
        text = str(error)
        return ("refused" if text.strip() and "\n" not in text else "no line"), text
    except TypeError as error:
        if case.wrong_type:
            return "refused", f"TypeError: {error}"
        return "exception", traceback.format_exc()
    except Exception:
        return "exception", traceback.format_exc()
    finite = all(np.isfinite(array).all() for array in arrays)
    return ("success" if finite else "not finite"), ""


def run(number: int, folder: Path, good: Workspace) -> dict[str, Any]:
    kind = kind_of(number)
    folder.mkdir()
    case = Case(number, folder, good, np.random.default_rng(number))
    action = MAKERS[kind][0](case)
    reset_peak()
    started = time.perf_counter()
    outcome, message = outcome_of(case, action)
    seconds = time.perf_counter() - started
    left = sorted({entry.name for entry in folder.iterdir()} - case.expected)
    if outcome != "success":
        left += [name.name for name in folder.glob("output.*")]
    peak = status_mb("VmHWM")
    shutil.rmtree(folder)
    return {
        "number": number, "kind": kind, "outcome": outcome, "message": message[-1500:], "left": left,
        "peak": round(peak), "seconds": round(seconds, 3),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("folder", type=Path, help="for files while they are needed")
    parser.add_argument("--memory", type=int, default=2048, help="MB beyond what the loaded networks need")
    options = parser.parse_args()
    results = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries that print
    warnings.simplefilter("ignore")
    good = Workspace(options.bundle)
    _ = good.sounds, good.voice_file
    limit_memory(options.memory)
    print("ready", file=results)
    for line in sys.stdin:
        number = int(line)
        print(json.dumps(run(number, options.folder / f"case-{number}", good)), file=results)


if __name__ == "__main__":
    main()
