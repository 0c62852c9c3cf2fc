"""WebSocket streams: equal to the stream itself, constant delay, limits, fair shares, and the page's own answers."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock
from urllib.parse import quote

import numpy as np
import pytest

pytest.importorskip("fastapi")
websockets = pytest.importorskip("websockets.sync.client")
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402

from fastvoicegrad import VoiceConverter  # noqa: E402
from fastvoicegrad.server import stream as stream_module  # noqa: E402
from fastvoicegrad.server.run import listening  # noqa: E402
from fastvoicegrad.server.settings import ServerSettings  # noqa: E402
from fastvoicegrad.server.stream_codecs import OPUS_PACKET, OPUS_RATE, Opus, Pcm  # noqa: E402
from fastvoicegrad.stream.bundle import StreamBundle  # noqa: E402
from fastvoicegrad.stream.converter import StreamingConverter  # noqa: E402
from tests.conftest import vowels  # noqa: E402
from tests.server.conftest import Running, running, wait_until  # noqa: E402

RATE, BLOCK = 16000, 320


@pytest.fixture(scope="module")
def streams(
    converter: Any,
    voices: list[Any],
    stream_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Running]:
    """A server with a stream bundle, the voices `high` and `low`, and `other` of another bundle."""
    with running(converter, tmp_path_factory.mktemp("library"), stream_bundle=stream_folder, most_streams=8) as made:
        for name, voice in zip(("high", "low"), voices, strict=True):
            made.library.add(name, voice)
        made.library.add("other", replace(voices[0], encoder="0" * 16))
        yield made


def connect(server: Running, voice: str = "high", query: str = f"?rate={RATE}", **more: Any) -> Any:
    url = server.url.replace("http", "ws")
    return websockets.connect(f"{url}/v1/speech-to-speech/{voice}/stream{query}", **more)


def pcm(wave: np.ndarray) -> bytes:
    return (wave * 32767).astype("<i2").tobytes()


def samples_of(data: bytes) -> np.ndarray:
    return np.frombuffer(data, "<i2").astype(np.float32) / 32767


def exchanged(socket: Any, wave: np.ndarray, block: int = BLOCK) -> np.ndarray:
    """What comes back while a wave is sent, block by block."""
    parts = []
    for start in range(0, len(wave), block):
        data = pcm(wave[start : start + block])
        socket.send(data)
        parts.append(socket.recv())
        assert len(parts[-1]) == len(data)
    return samples_of(b"".join(parts))


def end(socket: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """The rest of a stream and its last message."""
    socket.send(json.dumps({"type": "end"}))
    rest, done = socket.recv(), json.loads(socket.recv())
    with pytest.raises(ConnectionClosed):
        socket.recv()
    assert socket.close_code == 1000
    return samples_of(rest), done


@pytest.mark.parametrize("block", [320, 4800, 77])
def test_a_stream_gives_what_the_converter_gives(
    streams: Running,
    stream_folder: Path,
    voices: list[Any],
    block: int,
) -> None:
    wave = vowels(0.8, rate=RATE)
    with connect(streams) as socket:
        ready = json.loads(socket.recv())
        output = exchanged(socket, wave, block)
        rest, done = end(socket)
    stream = StreamingConverter(StreamBundle.open(stream_folder), voices[0], RATE)
    assert (ready["type"], ready["rate"], ready["latency"]) == ("ready", RATE, stream.latency)
    assert done == {"type": "done", "samples": len(wave)}
    sent = np.frombuffer(pcm(wave), "<i2").astype(np.float32) / np.float32(32768)
    expected = stream.convert(sent).clip(-1, 1)
    np.testing.assert_allclose(np.concatenate([output, rest])[stream.latency :], expected, atol=1e-3)


def test_packets_of_opus_are_converted(streams: Running, stream_folder: Path, voices: list[Any]) -> None:
    pytest.importorskip("av")
    wave, sender, receiver = vowels(0.6, rate=OPUS_RATE), Opus(), Opus()
    packets = sender.encode(wave)
    with connect(streams, query="?codec=opus") as socket:
        ready, answers = json.loads(socket.recv()), []
        for packet in packets:
            socket.send(packet)
            answers.append(socket.recv())
        socket.send(json.dumps({"type": "end"}))
        while isinstance(message := socket.recv(), bytes):
            answers.append(message)
    stream = StreamingConverter(StreamBundle.open(stream_folder), voices[0], OPUS_RATE)
    assert ready["latency"] == stream.latency + sender.latency
    assert json.loads(message) == {"type": "done", "samples": OPUS_PACKET * len(packets)}
    received = Opus()
    expected = stream.convert(np.concatenate([received.decode(packet) for packet in packets]))
    result = np.concatenate([receiver.decode(answer) for answer in answers])[ready["latency"] :]
    assert np.corrcoef(result[: len(expected)], expected)[0, 1] > 0.95


@pytest.mark.parametrize("query", ["?codec=opus&rate=16000", "?codec=mp3"])
def test_codecs_that_are_not_there_are_refused(streams: Running, query: str) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(streams, query=query):
        pass
    assert refused.value.response.status_code in (400, 422)


def test_a_broken_packet_ends_the_stream(streams: Running) -> None:
    pytest.importorskip("av")
    with connect(streams, query="?codec=opus") as socket:
        socket.recv()
        socket.send(b"\xff" * 50)
        with pytest.raises(ConnectionClosed):
            socket.recv()
        assert socket.close_code == 1008


def test_voice_and_pitch_change_while_it_runs(streams: Running) -> None:
    wave = vowels(0.5, rate=RATE)
    with connect(streams) as first, connect(streams) as second:
        for socket in (first, second):
            socket.recv()
        same = [exchanged(socket, wave) for socket in (first, second)]
        np.testing.assert_array_equal(*same)
        second.send(json.dumps({"type": "voice", "voice_id": "low"}))
        second.send(json.dumps({"type": "pitch", "semitones": -2}))
        other = [exchanged(socket, wave) for socket in (first, second)]
        assert np.abs(other[0] - other[1]).max() > 1e-3


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ({"type": "voice", "voice_id": "missing"}, "missing"),
        ({"type": "voice", "voice_id": "../etc/passwd"}, ""),
        ({"type": "voice", "voice_id": "other"}, "another bundle"),
        ({"type": "pitch", "semitones": 99}, "semitones"),
    ],
)
def test_a_wrong_command_is_answered_and_the_stream_goes_on(
    streams: Running, command: dict[str, Any], message: str
) -> None:
    with connect(streams) as socket:
        socket.recv()
        socket.send(json.dumps(command))
        answer = json.loads(socket.recv())
        assert answer["type"] == "error"
        assert message in answer["message"]
        assert answer.get("voice_id") == command.get("voice_id")
        exchanged(socket, np.zeros(BLOCK, np.float32))


@pytest.mark.parametrize(
    "message", [b"\x00" * 3, b"\x00" * 70000, "no JSON", "[1]", '{"type": "other"}', "[" * 50000, '{"type": 1}']
)
def test_what_is_not_allowed_ends_the_stream(streams: Running, message: Any) -> None:
    with connect(streams) as socket:
        socket.recv()
        socket.send(message)
        with pytest.raises(ConnectionClosed):
            socket.recv()
        assert socket.close_code in (1008, 1009)
    wait_for_places(streams)


def wait_for_places(server: Running) -> None:
    end = time.monotonic() + 10
    while server.app.state.service.streams.running:
        assert time.monotonic() < end, "a place stays taken"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("voice", "query", "status"),
    [("missing", f"?rate={RATE}", 404), ("high", "?rate=1", 422), ("high", "?rate=x", 422)],
)
def test_what_cannot_begin_is_refused(streams: Running, voice: str, query: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(streams, voice, query):
        pass
    assert refused.value.response.status_code == status
    message = json.loads(refused.value.response.body)["detail"]["message"]
    assert ("rate: " if status == 422 else "there is no voice") in message


def test_pages_of_other_sites_are_refused(streams: Running) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(streams, origin="http://evil.example"):
        pass
    assert refused.value.response.status_code == 403


def test_there_are_so_many_places(streams: Running) -> None:
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(connect(streams))
        with pytest.raises(InvalidStatus) as refused, connect(streams):
            pass
        assert refused.value.response.status_code == 429
        assert int(refused.value.response.headers["retry-after"]) > 0
    wait_for_places(streams)
    with connect(streams) as socket:
        socket.recv()


def test_a_server_may_have_no_streams(start: Callable[..., Running]) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(start(most_streams=0), "nora"):
        pass
    assert refused.value.response.status_code == 404
    assert "--streams" in json.loads(refused.value.response.body)["detail"]["message"]


@pytest.mark.slow
def test_a_client_that_reads_nothing_is_cut_off(start: Callable[..., Running], stream_folder: Path) -> None:
    """Its sound is converted until the answers fill all buffers. Its connection then ends, though it stays open."""
    server = start(stream_bundle=stream_folder, patience=0.5, send_patience=0.5)
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    head = (
        "GET /v1/speech-to-speech/nora/stream?rate=8000 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    message = b"\x82\xfe" + struct.pack(">H", 32768) + bytes(4) + bytes(32768)  # masked with zeros
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", int(server.url.rsplit(":", 1)[1])))
        client.sendall(head.encode())
        assert client.recv(4096).startswith(b"HTTP/1.1 101")
        client.settimeout(30)
        with suppress(ConnectionError):  # a reset
            while True:
                client.sendall(message)
        wait_until(lambda: not server.server.server_state.connections)


def test_no_ping_ends_a_stream_that_is_ahead(streams: Running) -> None:
    """The client's pong would lie behind its sound."""
    assert streams.server.config.ws_ping_timeout is None


def test_a_client_that_goes_away_frees_its_place(streams: Running) -> None:
    with connect(streams) as socket:
        socket.recv()
        socket.send(pcm(np.zeros(BLOCK, np.float32)))
        socket.socket.close()
    wait_for_places(streams)


def test_a_client_that_goes_away_during_answers_is_no_error(streams: Running, caplog: pytest.LogCaptureFixture) -> None:
    with connect(streams) as client:
        client.recv()
        for _ in range(100):
            client.send(pcm(np.zeros(BLOCK, np.float32)))
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset at once
        client.socket.close()
    wait_for_places(streams)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_key_is_needed_where_there_is_one(start: Callable[..., Running], stream_folder: Path) -> None:
    server = start(api_key="secret", stream_bundle=stream_folder)
    for more in (
        {},
        {"subprotocols": ["fastvoicegrad", "xi-api-key.wrong"]},
        {"subprotocols": ["xi-api-key.%E2%82%AC"]},
    ):
        with pytest.raises(InvalidStatus) as refused, connect(server, "nora", **more):
            pass
        assert refused.value.response.status_code == 401
    with connect(server, "nora", additional_headers={"xi-api-key": "secret"}) as socket:
        assert json.loads(socket.recv())["type"] == "ready"
    with connect(server, "nora", subprotocols=["fastvoicegrad", "xi-api-key.secret"]) as socket:
        assert socket.subprotocol == "fastvoicegrad"


@pytest.mark.parametrize("key", ["a/b=+c d", "100%", "50%25"])
def test_a_key_may_hold_what_no_protocol_may(start: Callable[..., Running], stream_folder: Path, key: str) -> None:
    server = start(api_key=key, stream_bundle=stream_folder)
    with connect(server, "nora", subprotocols=["fastvoicegrad", f"xi-api-key.{quote(key, safe='')}"]) as socket:
        assert socket.subprotocol == "fastvoicegrad"


def test_the_built_in_streams_fit_the_built_in_voices(start: Callable[..., Running]) -> None:
    with connect(start(), "nora") as socket:
        assert json.loads(socket.recv())["type"] == "ready"
        exchanged(socket, vowels(0.2, rate=RATE))


def test_where_no_stream_bundle_fits_streams_are_refused(folder: Path, tmp_path: Path) -> None:
    """The built-in one does not fit the voices of another full bundle."""
    with running(VoiceConverter.load(folder), tmp_path) as server:
        with pytest.raises(InvalidStatus) as refused, connect(server, "nora"):
            pass
        assert refused.value.response.status_code == 404


def test_several_clients_get_equal_shares(streams: Running) -> None:
    """Each client sends as fast as it is answered: all of them are done at about the same time."""
    wave, ends = vowels(0.5, rate=RATE), dict[int, float]()

    def client(number: int) -> None:
        with connect(streams) as socket:
            socket.recv()
            exchanged(socket, wave)
            ends[number] = time.monotonic()

    began = time.monotonic()
    threads = [threading.Thread(target=client, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(ends) == 4
    assert max(ends.values()) - min(ends.values()) < 0.6 * (max(ends.values()) - began)


def test_a_client_that_sends_too_fast_has_to_wait(streams: Running, stream_folder: Path, voices: list[Any]) -> None:
    """Ten seconds of sound at once: it is converted in order, and nothing is lost."""
    wave = vowels(10.0, rate=RATE)
    with connect(streams, max_size=None) as socket:
        socket.recv()
        receiver = list[bytes]()
        thread = threading.Thread(target=lambda: receiver.extend(socket.recv() for _ in range(len(wave) // BLOCK)))
        thread.start()
        for start in range(0, len(wave), BLOCK):
            socket.send(pcm(wave[start : start + BLOCK]))
        thread.join(60)
    sent = np.frombuffer(pcm(wave), "<i2").astype(np.float32) / np.float32(32768)
    expected = StreamingConverter(StreamBundle.open(stream_folder), voices[0], RATE).push(sent).clip(-1, 1)
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(samples_of(b"".join(receiver)), expected, atol=1e-3)


@contextmanager
def standing_still(server: Running) -> Iterator[None]:
    """The processes of the streams do nothing meanwhile."""
    children = [process._child._running for process in server.app.state.service.streams._processes if process.streams]
    for child in children:
        child.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for child in children:
            child.send_signal(signal.SIGCONT)


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot stop a process")
def test_a_live_stream_catches_up_after_an_overload(streams: Running) -> None:
    """The stream's process stands still for a second; what came meanwhile is left out, and counted all the same."""
    block = np.full(BLOCK, 0.1, np.float32)
    with connect(streams, query=f"?rate={RATE}&live=true") as socket:
        socket.recv()
        with standing_still(streams):
            for _ in range(50):
                socket.send(pcm(block))
                time.sleep(BLOCK / RATE)
        answers = [socket.recv() for _ in range(50)]
        assert all(len(answer) == 2 * BLOCK for answer in answers)
        assert sum(not any(answer) for answer in answers) >= 10
        started = time.monotonic()
        exchanged(socket, block)
        assert time.monotonic() - started < 0.5


def test_silence_answers_what_is_too_old() -> None:
    """A live stream's samples have 0.3 s. The answer to those without a turn by then is silence of their length."""
    deadlines, sent = list[float](), list[np.ndarray]()

    async def answered() -> None:
        def push(samples: np.ndarray, deadline: float) -> asyncio.Future[Any]:
            deadlines.append(deadline)
            converted = asyncio.get_running_loop().create_future()
            converted.set_result(samples if deadline > 100.25 else None)
            return converted

        async def keep(samples: np.ndarray) -> None:
            sent.append(samples)

        made = SimpleNamespace(rate=RATE, piece=1600, push=push)
        client = stream_module._Client(None, None, made, Pcm(), True)  # type: ignore[arg-type]
        client._send_sound = keep  # type: ignore[method-assign, assignment]
        for arrived, size in ((99.9, 10), (100.0, 2000)):
            message = stream_module._Message(arrived, {"bytes": pcm(np.full(size, 0.5, np.float32))})
            client._waiting.append(message)
        client._convert()
        assert client._size == 4 * 2010  # decoded samples count
        for message in list(client._converting):
            await client._answer(message)
        assert client.samples == 2000

    asyncio.run(answered())
    assert deadlines == pytest.approx([100.2, 100.3, 100.4])
    assert [(len(one), bool(one.any())) for one in sent] == [(10, False), (2000, True)]


class Messages:
    """A WebSocket from which messages come, one after the other. It takes everything, and keeps it in `sent`."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self._messages = iter([*messages, {"type": "websocket.disconnect"}])
        self.sent = list[dict[str, Any]]()

    async def receive(self) -> dict[str, Any]:
        await asyncio.sleep(0.01)
        return {"type": "websocket.receive", **next(self._messages)}

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)


class Requests:
    """A stream that keeps what it is asked for."""

    rate, piece, latency = RATE, 1600, 0

    def __init__(self) -> None:
        self.found = list[Any]()

    def push(self, samples: np.ndarray, deadline: float) -> asyncio.Future[Any]:
        self.found.append(len(samples))
        converted = asyncio.get_running_loop().create_future()
        converted.set_result(samples)
        return converted

    async def set_voice(self, voice: str) -> None:
        self.found.append(voice)


def live_client(websocket: Messages, made: Requests, codec: Any) -> stream_module._Client:
    service = SimpleNamespace(settings=SimpleNamespace(send_patience=5.0), metrics=MagicMock())
    return stream_module._Client(websocket, service, made, codec, True)  # type: ignore[arg-type]


def test_a_command_acts_on_what_comes_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples go on without an answer to those before, but not past a voice that takes its time to load."""

    async def slow(service: Any, name: str) -> str:
        await asyncio.sleep(0.1)
        return name

    monkeypatch.setattr(stream_module, "load", slow)
    sounds = [{"bytes": pcm(np.zeros(size, np.float32))} for size in (10, 11, 12)]
    voice, made = {"text": json.dumps({"type": "voice", "voice_id": "low"})}, Requests()
    asyncio.run(live_client(Messages(sounds[0], voice, *sounds[1:]), made, Pcm()).serve())
    assert made.found == [10, "low", 11, 12]


def test_what_goes_wrong_while_messages_are_read_ends_the_stream(caplog: pytest.LogCaptureFixture) -> None:
    codec, websocket = MagicMock(latency=0, most_bytes=1), Messages({"bytes": b""})
    codec.decode.side_effect = MemoryError
    asyncio.run(asyncio.wait_for(live_client(websocket, Requests(), codec).serve(), 5))
    assert (websocket.sent[-1]["type"], websocket.sent[-1]["code"]) == ("websocket.close", 1011)
    assert "MemoryError" in caplog.text


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot stop a process")
def test_what_waits_is_answered_in_its_order(streams: Running) -> None:
    """Messages that wait are converted together, but not across a command; each has an answer of its own."""
    wave = vowels(0.2, rate=RATE)
    blocks = [wave[:BLOCK], wave[BLOCK : BLOCK + 100], wave[:0], wave[500:900], wave[900:2000]]
    with connect(streams, query=f"?rate={RATE}&live=true") as live, connect(streams) as other:
        assert [json.loads(one.recv())["type"] for one in (live, other)] == ["ready", "ready"]
        with standing_still(streams):
            for block in blocks[:3]:
                live.send(pcm(block))
            live.send(json.dumps({"type": "pitch", "semitones": 99}))
            for block in blocks[3:]:
                live.send(pcm(block))
            time.sleep(0.1)
        answers = [live.recv() for _ in range(6)]
        assert json.loads(answers.pop(3))["type"] == "error"
        assert [len(answer) for answer in answers] == [2 * len(block) for block in blocks]
        expected = exchanged(other, np.concatenate(blocks), 2000)
        np.testing.assert_allclose(samples_of(b"".join(answers)), expected, atol=1e-3)


@pytest.mark.parametrize("command", ["", '{"type": "end"}', '{"type": "pitch", "semitones": 1}'])
def test_a_process_that_dies_ends_its_streams_and_another_one_starts(streams: Running, command: str) -> None:
    block = np.full(BLOCK, 0.1, np.float32)
    with connect(streams) as socket:
        socket.recv()
        exchanged(socket, block)
        (process,) = (one for one in streams.app.state.service.streams._processes if one.streams)
        process._child._running.kill()
        socket.send(command or pcm(block))
        with pytest.raises(ConnectionClosed):
            socket.recv()
        assert (socket.close_code, socket.close_reason) == (
            1011,
            "the conversion failed; the server's log has the reason",
        )
    with connect(streams) as socket:
        assert json.loads(socket.recv())["type"] == "ready"
        exchanged(socket, block)


def test_no_answer_waits_for_a_confirmation() -> None:
    """Nagle's algorithm would hold an answer back until the client confirms the one before: a block later."""
    with listening(ServerSettings(port=0)) as listener, socket.create_connection(listener.getsockname()) as client:
        connection, _ = listener.accept()
        with connection:
            assert client.getpeername() == connection.getsockname()
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_page_is_open_and_the_metrics_count(streams: Running) -> None:
    answer = streams.client.get("/live")
    assert answer.status_code == 200
    assert "AudioWorkletProcessor" in answer.text
    assert "fastvoicegrad_audio_seconds_total" in streams.client.get("/metrics").text
