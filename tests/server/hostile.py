"""Uploads that no client should send. Each is made on the spot; none needs much room."""

from __future__ import annotations

import io
import socket
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import soundfile

from tests.conftest import RATE, vowels

TEN_HOURS = 36_000  # seconds
CONTROL = "../../etc/passwd\x00\x01\x1b[31m\r\nX-Injected: 1\u202e\ufffe'\"<script>${7*7}{{7*7}}%00%2e%2e%2f"


@dataclass(frozen=True)
class Request:
    """A request as bytes on a connection.

    Attributes:
        body: pieces of it.
        length: the Content-Length that is claimed; None: the true one; -1: none, the body comes in chunks.
    """

    path: str
    body: Callable[[], Iterator[bytes]]
    length: int | None = None
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)


# -- recordings -----------------------------------------------------------------------------------------------


def encoded(wave: np.ndarray, rate: int, form: str, subtype: str | None = None) -> bytearray:
    file = io.BytesIO()
    soundfile.write(file, wave, rate, subtype, format=form)
    return bytearray(file.getvalue())


def silent_flac(seconds: int, rate: int = 8000, channels: int = 1, claimed: int | None = None) -> bytes:
    """Silence, which FLAC stores in a few bytes a second. `claimed`: samples that its header gives."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", rate, channels, format="FLAC") as sound:
        block = np.zeros((rate * 60, channels), np.int16)
        for _ in range(seconds // 60):
            sound.write(block)
    data = bytearray(file.getvalue())
    if claimed is not None:
        data[21] = data[21] & 0xF0 | claimed >> 32 & 15
        data[22:26] = struct.pack(">I", claimed & 0xFFFFFFFF)
    return bytes(data)


def repeated_mp3(seconds: int) -> bytes:
    """Silent frames of 8 kbit/s, one after the other, without a header of the whole."""
    file = io.BytesIO()
    options = {"compression_level": 0.98, "bitrate_mode": "CONSTANT"}
    with soundfile.SoundFile(file, "w", 16000, 1, format="MP3", **options) as sound:
        sound.write(np.zeros(16000 * 20, np.float32))
    data = file.getvalue()
    middle = data[len(data) // 4 // 36 * 36 : len(data) // 4 // 36 * 36 * 3]  # whole frames: 36 bytes of 36 ms
    return middle * int(seconds / (len(middle) / 36 * 0.036))


def chained_opus(links: int) -> bytes:
    """An Ogg chain of many short streams."""
    return bytes(encoded(np.zeros(48000 * 5, np.float32), 48000, "OGG", "OPUS")) * links


def lying_wav(seconds: int = TEN_HOURS) -> bytes:
    """One second, and a header of ten hours."""
    data = encoded(vowels(1.0), RATE, "WAV", "PCM_16")
    size = seconds * RATE * 2
    data[4:8], data[40:44] = struct.pack("<I", (size + 36) & 0xFFFFFFFF), struct.pack("<I", size & 0xFFFFFFFF)
    return bytes(data)


def with_header(**fields: int) -> bytes:
    """A WAV with other numbers in its header."""
    values = {"channels": 1, "rate": RATE, "bits": 16, "tag": 1, **fields}
    size = 44100
    width = values["channels"] * values["bits"] // 8
    head = struct.pack("<HHIIHH", values["tag"], values["channels"], values["rate"], 0, width & 0xFFFF, values["bits"])
    return (
        b"RIFF"
        + struct.pack("<I", size + 36)
        + b"WAVEfmt \x10\0\0\0"
        + head
        + b"data"
        + struct.pack("<I", size)
        + bytes(size)
    )


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("talk.wav", bytes(10_000_000))
    return file.getvalue()


def recordings(seconds: int = TEN_HOURS) -> dict[str, Callable[[], bytes]]:
    """Files that must be refused; the long ones expand to this many seconds."""
    noise = np.random.default_rng(0).integers(0, 256, 100_000, np.uint8).tobytes()
    return {
        "empty": lambda: b"",
        "one byte": lambda: b"R",
        "random bytes": lambda: noise,
        "text": lambda: b"#EXTM3U\nfile:///etc/passwd\n" * 100,
        "page": lambda: b"<html><script>alert(1)</script></html>",
        "wrong magic": lambda: b"RIFX" + lying_wav(1)[4:8] + b"WAVX" + noise,
        "magic alone": lambda: b"OggS" + bytes(1000),
        "playlist": lambda: b"ffconcat version 1.0\nfile /etc/passwd\n",
        "archive": zipped,
        "WAV, header of ten hours": lying_wav,
        "WAV, 65535 channels": lambda: with_header(channels=65535),
        "WAV, 4 GHz": lambda: with_header(rate=0xFFFFFFFF),
        "WAV, 0 Hz": lambda: with_header(rate=0),
        "WAV, unknown codec": lambda: with_header(tag=0x1234),
        "FLAC, hours, true header": lambda: silent_flac(seconds),
        "FLAC, hours, no length": lambda: silent_flac(seconds, claimed=0),
        "FLAC, hours, header of 1 s": lambda: silent_flac(seconds, claimed=8000),
        "FLAC, hours, stereo, no length": lambda: silent_flac(seconds, channels=2, claimed=0),
        "FLAC, 8 channels, no length": lambda: silent_flac(seconds // 4, 44100, 8, claimed=0),
        "FLAC, 1 s, header of ten hours": lambda: silent_flac(60, claimed=TEN_HOURS * 8000),
        "MP3, hours": lambda: repeated_mp3(seconds),
        "Opus, chain of hours": lambda: chained_opus(seconds // 5),
    }


# -- requests -------------------------------------------------------------------------------------------------


def form(*parts: tuple[bytes, bytes]) -> bytes:
    """A multipart body of (header lines, content)."""
    return b"".join(b"--x\r\n" + head + b"\r\n\r\n" + data + b"\r\n" for head, data in parts) + b"--x--\r\n"


def file_part(name: str, data: bytes, filename: bytes = b"talk.wav") -> tuple[bytes, bytes]:
    return b'Content-Disposition: form-data; name="' + name.encode() + b'"; filename="' + filename + b'"', data


def text_part(name: str, data: bytes, more: bytes = b"") -> tuple[bytes, bytes]:
    return b'Content-Disposition: form-data; name="' + name.encode() + b'"' + more, data


CONVERT, ADD, ALIAS = "/v1/speech-to-speech/anna", "/v1/voices/add", "/v1/audio/voice-conversion"
PCM = f"{CONVERT}?output_format=pcm_8000"


def whole(path: str, body: bytes, **more: object) -> Request:
    return Request(path, lambda: iter([body]), **more)  # type: ignore[arg-type]


def pieces(count: int, piece: bytes, start: bytes = b"") -> Callable[[], Iterator[bytes]]:
    def begin() -> Iterator[bytes]:
        yield start
        for _ in range(count):
            yield piece

    return begin


def requests(good: bytes) -> dict[str, Request]:
    """Requests with a good recording but hostile forms, fields and bodies. All must be answered with 4xx."""
    control = CONTROL.encode()
    surrogate = b"\\ud800\\udfff\\x00"
    head = b'--x\r\nContent-Disposition: form-data; name="audio"; filename="a"\r\n\r\n'
    quoted = "%2e%2e%2f%00%0d%0aX-Injected:%201%1b%ff%ed%a0%80"
    gib, mib = 1 << 30, bytes(1 << 20)
    return {
        "body of 1 GiB": Request(CONVERT, pieces(1024, mib, head), gib + 1000),
        "body of 1 GiB in chunks": Request(CONVERT, pieces(1024, mib, head), -1),
        "1 GiB to a route without a body": Request("/v1/voices", pieces(1024, mib), gib, "POST"),
        "1 GiB to no route": Request("/x", pieces(1024, mib), -1),
        "voice id of control characters": whole(f"/v1/speech-to-speech/{quoted}", form(file_part("audio", good))),
        "voice id of 5000 characters": whole(f"/v1/speech-to-speech/{'a' * 5000}", form(file_part("audio", good))),
        "voice id is a path": whole("/v1/speech-to-speech/..%2f..%2fetc%2fpasswd", form(file_part("audio", good))),
        "blend of 5000 voices": whole(f"/v1/speech-to-speech/{'+'.join(['a'] * 400)}", form(file_part("audio", good))),
        "output format": whole(f"{CONVERT}?output_format={quoted}", form(file_part("audio", good))),
        "model": whole(PCM, form(file_part("audio", good), text_part("model_id", control))),
        "seed": whole(PCM, form(file_part("audio", good), text_part("seed", b"9" * 5000))),
        "voice settings": whole(PCM, form(file_part("audio", good), text_part("voice_settings", control))),
        "deep JSON": whole(PCM, form(file_part("audio", good), text_part("voice_settings", b"[" * 3999))),
        "file format": whole(PCM, form(file_part("audio", good), text_part("file_format", control))),
        "another charset": whole(
            PCM,
            form(file_part("audio", good), text_part("model_id", surrogate)),
            headers={"Content-Type": "multipart/form-data; boundary=x; charset=unicode_escape"},
        ),
        "target of control characters": whole(
            ALIAS, form(file_part("source_audio", good), text_part("target_voice", control))
        ),
        "target of surrogates": whole(
            ALIAS,
            form(file_part("source_audio", good), text_part("target_voice", surrogate)),
            headers={"Content-Type": "multipart/form-data; boundary=x; charset=unicode_escape"},
        ),
        "audio is text": whole(PCM, form(text_part("audio", good))),
        "no audio": whole(PCM, form(text_part("seed", b"1"))),
        "no boundary": whole(PCM, form(file_part("audio", good)), headers={"Content-Type": "multipart/form-data"}),
        "JSON": whole(PCM, b'{"audio": "x"}', headers={"Content-Type": "application/json"}),
        "no content type": whole(PCM, good, headers={"Content-Type": ""}),
        "no end": whole(PCM, form(file_part("audio", good[:-5000]))[:-9]),
        "100000 parts": whole(PCM, form(*[text_part("a", b"")] * 100_000)),
        "part without a name": whole(PCM, form((b"Content-Disposition: form-data", b"x"))),
        "part header of 20 MB": whole(PCM, form((b"X: " + b"y" * 20_000_000, b"x"))),
        "20000 part headers": whole(PCM, form((b"\r\n".join([b"X: y"] * 20_000), b"x"))),
        "line ends of 20 MB before the form": whole(PCM, b"\r\n" * 10_000_000),
        "line ends of 20 MB in the file": whole(PCM, form(file_part("audio", b"\r\n" * 10_000_000))),
        "near boundaries of 20 MB": whole(PCM, form(file_part("audio", b"\r\n--" * 5_000_000))),
        "text field of 20 MB": whole(PCM, form(text_part("model_id", b"y" * 20_000_000), file_part("audio", good))),
        "field names of control characters": whole(PCM, form(text_part(CONTROL.split("\r")[0], good))),
        "name without letters": whole(ADD, form(file_part("files", good), text_part("name", b"\x00/\\.."))),
        "labels": whole(ADD, form(file_part("files", good), text_part("name", b"a"), text_part("labels", b"{" * 3000))),
        "100 references": whole(ADD, form(text_part("name", b"a"), *[file_part("files", good[:2000])] * 40)),
        "edit of a path": whole("/v1/voices/..%2f..%2fetc%2fpasswd/edit", form(text_part("name", b"a"))),
        "deletion of a path": whole("/v1/voices/..%2f..%2fetc%2fpasswd", b"", method="DELETE"),
        "preview of a path": whole("/v1/voices/..%2f..%2fetc%2fpasswd/preview", b"", method="GET"),
        "page of control characters": whole(f"/v2/voices?page_size={quoted}", b"", method="GET"),
        "method": whole("/v1/voices", b"", method="BREW"),
        "two lengths": whole(PCM, b"x", headers={"Content-Length": "1", "content-length": "2"}),
    }


def filenames() -> list[bytes]:
    """File names that must appear nowhere but, escaped, in messages."""
    return [
        b"../../../etc/passwd",
        b"/etc/passwd",
        b"C:\\windows\\system32\\x.wav",
        b"a\x00b\x01\x1b[31m.wav",
        "\u202egpj.wav".encode(),
        b"x" * 5000 + b".wav",
        b"..",
        b"",
        b"\xff\xfe\xed\xa0\x80.wav",
        b"anna.voice",
        b"$(id).wav;id|id`id`",
    ]


def send(port: int, request: Request) -> tuple[bytes, float]:
    """What the server answers until it ends the connection, and the seconds to the first of it.

    Sending stops at the first answer.
    """
    answer, started, first = b"", time.monotonic(), 0.0
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        try:
            for piece in _bytes_of(request):
                connection.sendall(piece)
                if answer := _arrived(connection):
                    break
            answer = answer or connection.recv(1 << 16)
            first = time.monotonic() - started
            while received := connection.recv(1 << 16):
                answer += received
        except (ConnectionError, TimeoutError):
            pass  # cut off
    return answer, first or time.monotonic() - started


def _bytes_of(request: Request) -> Iterator[bytes]:
    length = request.length if request.length is not None else sum(map(len, request.body()))
    size = {"Transfer-Encoding": "chunked"} if length < 0 else {"Content-Length": str(length)}
    headers = {"Host": "127.0.0.1", "Content-Type": "multipart/form-data; boundary=x", "Connection": "close"}
    lines = [f"{name}: {value}" for name, value in (headers | size | request.headers).items() if value]
    yield "\r\n".join([f"{request.method} {request.path} HTTP/1.1", *lines, "", ""]).encode("latin-1")
    for piece in request.body():
        yield b"%x\r\n%s\r\n" % (len(piece), piece) if length < 0 and piece else piece
    if length < 0:
        yield b"0\r\n\r\n"


def _arrived(connection: socket.socket) -> bytes:
    """What has come by now."""
    connection.setblocking(False)
    try:
        return connection.recv(1 << 16)
    except BlockingIOError:
        return b""
    finally:
        connection.settimeout(30)
