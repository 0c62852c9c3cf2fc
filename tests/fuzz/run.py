"""Run damaged and hostile inputs through the package: ``python tests/fuzz/run.py --cases 10000 --jobs 2``.

Each case ends in a result or in one line. Whatever else happens is counted and listed with its number;
``--only NUMBER`` runs that case again and prints all of it.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

LIMIT = 20.0  # seconds that a case may take
START = 300.0  # seconds that a worker may take to start
GOOD = ("success", "refused")
COLUMNS = ("success", "refused", "no line", "exception", "not finite", "hang", "crash")


class Worker:
    """A process that runs cases; it is started again when one kills or hangs it."""

    def __init__(self, bundle: Path, folder: Path) -> None:
        self.bundle, self.folder, self.process = bundle, folder, None
        self.home, self.cases = folder / "home", folder / "cases"
        self.home.mkdir(parents=True)
        self.cases.mkdir()

    def start(self) -> subprocess.Popen[str]:
        paths = {"HOME": str(self.home), "TMPDIR": str(self.home), "XDG_CACHE_HOME": str(self.home)}
        search = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        paths["FASTVOICEGRAD_VOICES"] = str(self.home / "voices")
        environment = os.environ | paths | {"PYTHONPATH": search, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tests.fuzz.worker", str(self.bundle), str(self.cases)]
        log = (self.folder / "stderr").open("a")
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
            cwd=self.home,
        )
        if self.answer(process, START) != "ready":
            raise RuntimeError(f"a worker did not start: {(self.folder / 'stderr').read_text()[-2000:]}")
        return process

    def answer(self, process: subprocess.Popen[str], seconds: float) -> str | None:
        """The next line; None where none came in time; empty where the process has ended."""
        assert process.stdout
        if not select.select([process.stdout], [], [], seconds)[0]:
            return None
        return process.stdout.readline().strip()

    def run(self, number: int) -> dict[str, Any]:
        self.process = self.process or self.start()
        assert self.process.stdin
        print(number, file=self.process.stdin, flush=True)
        line = self.answer(self.process, LIMIT)
        if line:
            result: dict[str, Any] = json.loads(line)
            result["left"] += [str(path.relative_to(self.home)) for path in self.home.rglob("*")]
            self.clean()
            return result
        self.process.kill()
        code = self.process.wait()
        self.process = None
        self.clean()
        from tests.fuzz.worker import kind_of

        outcome = "hang" if line is None else "crash"
        message = f"signal or exit code {code}; {(self.folder / 'stderr').read_text()[-1000:]}"
        return {
            "number": number, "kind": kind_of(number), "outcome": outcome, "message": message, "left": [], "peak": 0,
            "seconds": LIMIT,
        }  # fmt: skip

    def clean(self) -> None:
        for path in (*self.home.iterdir(), *self.cases.iterdir()):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()


def run_cases(bundle: Path, numbers: Sequence[int], jobs: int) -> list[dict[str, Any]]:
    """The results of all cases, in order."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in numbers:
        waiting.put(number)
    results: list[dict[str, Any]] = []
    errors: list[BaseException] = []
    with tempfile.TemporaryDirectory() as folder:

        def work(job: int) -> None:
            worker = Worker(bundle, Path(folder) / str(job))
            try:
                while True:
                    results.append(worker.run(waiting.get_nowait()))
                    if len(results) % 500 == 0:
                        print(f"{len(results)} of {len(numbers)}", file=sys.stderr, flush=True)
            except queue.Empty:
                pass
            except BaseException as error:
                errors.append(error)
            finally:
                worker.stop()

        threads = [threading.Thread(target=work, args=(job,)) for job in range(jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
    return sorted(results, key=lambda result: int(result["number"]))


def table(results: list[dict[str, Any]]) -> str:
    """Outcomes by kind, as Markdown."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for result in results:
        for kind in (result["kind"], "all"):
            counts[kind][result["outcome"]] += 1
            counts[kind]["left"] += bool(result["left"])
            counts[kind]["peak"] = max(counts[kind]["peak"], result["peak"])
    columns = [*COLUMNS, "left", "peak"]
    lines = ["| kind | " + " | ".join([*COLUMNS, "files left", "peak MB"]) + " |", "|---" * (len(columns) + 1) + "|"]
    kinds = [*sorted(set(counts) - {"all"}), "all"]
    return "\n".join([*lines, *(f"| {k} | " + " | ".join(str(counts[k][c]) for c in columns) + " |" for k in kinds)])


def failures(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Cases that neither gave a result nor were refused in one line, or that left a file."""
    return [result for result in results if result["outcome"] not in GOOD or result["left"]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--bundle", type=Path, help="default: the built-in one")
    parser.add_argument("--kinds", help="only these, with commas between; default: all")
    parser.add_argument("--only", type=int, help="one case, in full")
    parser.add_argument("--report", type=Path, help="a JSON file with every result")
    options = parser.parse_args()
    from fastvoicegrad.bundle import DEFAULT
    from tests.fuzz.worker import MAKERS, kind_of

    first, cases = (options.first, options.cases) if options.only is None else (options.only, 1)
    started = time.perf_counter()
    kinds = options.kinds.split(",") if options.kinds else list(MAKERS)
    numbers = [number for number in range(first, first + cases) if kind_of(number) in kinds]
    results = run_cases((options.bundle or DEFAULT).absolute(), numbers, options.jobs)
    if options.report:
        options.report.write_text(json.dumps(results))
    if options.only is not None:
        print(json.dumps(results[0], indent=1))
    bad = failures(results)
    for result in bad[:40]:
        last = result["message"].strip().splitlines()[-1:] or [""]
        print(f"{result['number']} {result['kind']}: {result['outcome']} {result['left']} {last[0][:200]}")
    slowest = max(result["seconds"] for result in results)
    print(table(results))
    print(
        f"{len(results)} cases in {time.perf_counter() - started:.0f} s, the slowest {slowest:.1f} s, {len(bad)} failed"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
