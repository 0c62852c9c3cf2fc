"""Load on a server: many clients at once, mixed recordings and formats, clients that go away.

    python benchmarks/server.py [--seconds 60] [--clients 32] [--workers 2] [--waiting 16] [--threads N]

Starts `fastvoicegrad serve` on loopback. Every client converts one recording after the other; where all places are
taken it waits as long as the answer asks it to, two seconds at most. Every tenth answer is left unread. Prints a line
a second of memory and queue, then a table. The exit code is 1 where there was a 5xx, a wrong answer, a queue beyond
its places, or where memory grew by more than 10 % in the second half.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.resident import needs_linux, resident_mb
from tests.conftest import vowels
from tests.server.hostile import encoded

FORMATS = {"pcm_16000": 32000, "wav_22050": 44100, "mp3_44100_128": 0, "opus_48000_64": 0}  # bytes a second, if fixed
GONE = 0.1  # share of clients that go away


@contextmanager
def serving(*options: str) -> Iterator[tuple[str, int]]:
    """A server's address and process number."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fastvoicegrad", "serve", "--port", "0", "--voices", folder, "--quiet"]
        process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            match = re.search(r"http://[\d.]+:\d+", process.stdout.readline())
            if match is None:
                raise SystemExit("the server does not start")
            yield match[0], process.pid
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


@dataclass
class Load:
    """What the clients have seen."""

    codes: Counter[int | str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    end: float = 0.0  # what is answered later is not counted as converted
    audio: float = 0.0
    wrong: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def client(url: str, number: int, sources: list[tuple[float, bytes]], end: float, load: Load) -> None:
    """Converts until the end."""
    chance = random.Random(number)
    with httpx.Client(base_url=url, timeout=120) as connection:
        while time.monotonic() < end:
            seconds, source = chance.choice(sources)
            form = chance.choice(list(FORMATS))
            pause = one(connection, source, seconds, form, chance.random() < GONE, load)
            time.sleep(min(pause, 2.0, max(end - time.monotonic(), 0.0)))


def one(connection: httpx.Client, source: bytes, seconds: float, form: str, leaves: bool, load: Load) -> float:
    """One conversion. Gives the seconds that the server asks to wait."""
    started, first, size = time.monotonic(), 0.0, 0
    request = {"params": {"output_format": form}, "files": {"audio": ("talk", source)}}
    try:
        with connection.stream("POST", "/v1/speech-to-speech/anna", **request) as answer:
            for piece in answer.iter_raw():
                first, size = first or time.monotonic() - started, size + len(piece)
                if leaves:
                    break
            code, pause = answer.status_code, float(answer.headers.get("retry-after", 0))
    except httpx.HTTPError as error:
        with load.lock:
            load.codes[type(error).__name__] += 1
        return 1.0
    expected = round(FORMATS[form] * seconds) + 44 * form.startswith("wav")
    with load.lock:
        load.codes["left" if leaves and code == 200 else code] += 1
        if code == 200 and not leaves:
            load.seconds.append(time.monotonic() - started)
            load.first.append(first)
            load.audio += seconds if time.monotonic() <= load.end else 0.0
            load.wrong += size < 1000 or (FORMATS[form] > 0 and size != expected)
    return pause


def watch(url: str, process: int, end: float) -> tuple[list[float], int, int]:
    """Memory each second, the longest queue, and the number of places."""
    memory, longest, places = list[float](), 0, 0
    with httpx.Client(base_url=url, timeout=30) as connection:
        while time.monotonic() < end:
            time.sleep(1)
            health = connection.get("/health").json()
            jobs, places = health["running"] + health["waiting"], health["places"]
            memory.append(resident_mb(process))
            longest = max(longest, jobs)
            print(f"{memory[-1]:.0f} MB, {jobs} of {places} places", file=sys.stderr)
    return memory, longest, places


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--waiting", type=int, default=16)
    parser.add_argument("--threads", type=int, default=0, help="of a conversion; 0: the server's default")
    arguments = parser.parse_args()
    needs_linux()
    sources = [(n, bytes(encoded(vowels(n, 100 + 20 * n, seed=n), 22050, kind))) for n, kind in enumerate_kinds()]
    load = Load()
    options = ["--workers", str(arguments.workers), "--waiting", str(arguments.waiting), "--per-minute", "1000000"]
    options += ["--threads", str(arguments.threads)] if arguments.threads else []
    with serving(*options) as (url, process):
        voice = bytes(encoded(vowels(4.0, 200, seed=9), 22050, "FLAC"))
        httpx.post(f"{url}/v1/voices/add", files={"files": voice}, data={"name": "anna"}, timeout=60).raise_for_status()
        end = load.end = time.monotonic() + arguments.seconds
        clients = [threading.Thread(target=client, args=(url, n, sources, end, load)) for n in range(arguments.clients)]
        for thread in clients:
            thread.start()
        memory, longest, places = watch(url, process, end)
        for thread in clients:
            thread.join()
    return report(load, memory, longest, places, arguments.seconds)


def enumerate_kinds() -> list[tuple[int, str]]:
    """Seconds and format of each recording."""
    return [(2, "WAV"), (3, "FLAC"), (5, "MP3"), (8, "OGG")]


def report(load: Load, memory: list[float], longest: int, places: int, seconds: float) -> int:
    """Prints what was seen; 1 where something is wrong."""
    half = memory[len(memory) // 2]
    print("answers:", ", ".join(f"{code}: {count}" for code, count in sorted(load.codes.items(), key=str)))
    for name, values in (("whole answer", load.seconds), ("first bytes", load.first)):
        if len(values) < 2:
            print(f"{name}: too few answers")
            continue
        cuts = quantiles(values, n=20)
        print(f"{name}: median {cuts[9]:.2f} s, 95 % below {cuts[18]:.2f} s, longest {max(values):.2f} s")
    print(f"converted: {load.audio:.0f} s of audio in {seconds:.0f} s")
    print(f"memory: {memory[0]:.0f} MB after 1 s, {half:.0f} MB half-way, {memory[-1]:.0f} MB at the end")
    print(f"places: {longest} of {places} taken at most; wrong answers: {load.wrong}")
    failed = sum(count for code, count in load.codes.items() if isinstance(code, str) and code != "left")
    errors = sum(count for code, count in load.codes.items() if isinstance(code, int) and code >= 500)
    bad = failed or errors or load.wrong or longest > places or max(memory[len(memory) // 2 :]) > 1.1 * half
    print("problems" if bad else "no problem")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
