"""Send a server everything that no client should send, and see how soon it is refused.

    python benchmarks/hostile_uploads.py

Starts `fastvoicegrad serve` with its usual limits on loopback. Prints the status and the seconds to the answer of each
case; 0 stands for a connection that was cut off. Between the cases the server must stay alive, and at the end it must
convert a good recording. The exit code is 1 where a case was not refused, or later than the limit.
"""

from __future__ import annotations

import argparse
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.resident import needs_linux, resident_mb
from benchmarks.server import serving
from tests.conftest import vowels
from tests.server import hostile

LIMIT = 1.0  # seconds in which a case must be refused


def timed(port: int, request: hostile.Request) -> tuple[int, float]:
    """Status and seconds, the upload included."""
    answer, seconds = hostile.send(port, request)
    return int(answer.split()[1]) if answer else 0, seconds


def cases() -> Iterator[tuple[str, hostile.Request]]:
    for name, make in hostile.recordings().items():
        data = make()
        yield (
            f"{name} ({len(data) / 1e6:.1f} MB)",
            hostile.whole(hostile.PCM, hostile.form(hostile.file_part("audio", data))),
        )
    good = bytes(hostile.encoded(vowels(1.0), 22050, "WAV"))
    yield from hostile.requests(good).items()


def slow(port: int, start: bytes, piece: bytes) -> tuple[int, float]:
    """The same for a client that sends a byte at a time."""
    started, answer = time.monotonic(), b""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(0.2)
        connection.sendall(start)
        while time.monotonic() - started < 60:
            try:
                connection.sendall(piece)
                received = connection.recv(4096)
                answer += received
                if not received:
                    break
            except TimeoutError:
                continue
            except OSError:
                break
    return int(answer.split()[1]) if answer else 0, time.monotonic() - started


def slow_cases(port: int) -> Iterator[tuple[str, Callable[[], tuple[int, float]]]]:
    head = f"POST {hostile.PCM} HTTP/1.1\r\nHost: 127.0.0.1\r\n".encode()
    form = b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000000\r\n\r\n"
    yield "slow: no request", lambda: slow(port, b"", b"")
    yield "slow: headers", lambda: slow(port, head, b"x: y\r\n")
    yield "slow: body", lambda: slow(port, head + form + b"--x\r\n", b"y")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    needs_linux()
    late, let_in = [], []
    with serving("--per-minute", "100000") as (url, process):
        port = int(url.rsplit(":", 1)[1])
        good = bytes(hostile.encoded(vowels(4.0), 22050, "WAV"))
        voice = httpx.post(f"{url}/v1/voices/add", files={"files": good}, data={"name": "anna"}, timeout=60)
        voice.raise_for_status()
        before = resident_mb(process)
        for name, request in cases():
            status, seconds = timed(port, request)
            print(f"{name}\t{status}\t{seconds:.2f} s", flush=True)
            let_in += [name] if status and not 400 <= status < 500 else []
            late += [name] if seconds > LIMIT else []
            httpx.get(f"{url}/health").raise_for_status()
        for name, run in slow_cases(port):
            status, seconds = run()
            print(f"{name}\t{status}\t{seconds:.2f} s", flush=True)
            let_in += [name] if status not in (0, 408) or seconds > 30 else []
        answer = httpx.post(f"{url}/v1/speech-to-speech/anna", files={"audio": good}, timeout=60)
        answer.raise_for_status()
        print(f"memory: {before:.0f} MB before, {resident_mb(process):.0f} MB after")
    print(f"not refused: {', '.join(let_in) or 'none'}; later than {LIMIT:g} s: {', '.join(late) or 'none'}")
    return int(bool(let_in or late))


if __name__ == "__main__":
    sys.exit(main())
