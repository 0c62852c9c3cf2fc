"""Conversion while somebody speaks, over a WebSocket: samples in, as many samples out, a constant time later.

The client sends binary messages, samples or packets of Opus (stream_codecs.py), and gets as much sound for each.
Without `live` the server reads a message after it has answered the last one: a client that sends too fast has to wait.
Text messages are JSON; `docs/guides/live.md` lists them.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, cast
from urllib.parse import unquote

import msgspec
import numpy as np
from anyio import fail_after, move_on_after  # they make no task, unlike asyncio.wait_for
from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect
from fastapi.responses import HTMLResponse, JSONResponse

from ..audio import HIGHEST_RATE, LOWEST_RATE
from ..errors import InputError
from ..mel import Array
from ..settings import MOST_SEMITONES
from .errors import ApiError
from .guard import check_origin, given_key, is_key
from .log import log
from .service import Service
from .settings import ServerSettings
from .stream_codecs import CODECS, OPUS_RATE, Codec
from .stream_worker import EndedError
from .streams import Stream
from .uploads import reason_for_clients
from .voices import load

router = APIRouter(tags=["conversion"])

PROTOCOL, KEY_PROTOCOL = "fastvoicegrad", "xi-api-key."  # names that a browser offers; the second ends with the key
IDLE = 30.0  # seconds without a message after which a stream ends
MOST_AGE = 0.3  # seconds that a message of a live stream may wait; an older one is answered with silence
MOST_WAITING = 1 << 21  # bytes of a live stream that wait: 2 to 7 s of samples at 48 kHz, too old by far
OVERHEAD = 2000  # bytes of memory of an empty message, and of what its conversion needs
NORMAL, REFUSED, FAILED, SLOW = 1000, 1008, 1011, 1013  # codes with which a WebSocket closes


class Command(msgspec.Struct):
    """A text message of the client.

    Attributes:
        type: "voice": another target. "pitch": another height. "end": no more samples come.
    """

    type: Literal["voice", "pitch", "end"]
    voice_id: Annotated[str, msgspec.Meta(max_length=1000)] = ""
    semitones: float = 0.0
    keep_pitch: bool = False


@router.get("/live", response_class=HTMLResponse, include_in_schema=False)
async def page() -> HTMLResponse:
    """A page that streams from the microphone."""
    return HTMLResponse((Path(__file__).parent / "live.html").read_text(encoding="utf-8"))


@router.websocket("/v1/speech-to-speech/{voice_id}/stream")
async def stream(
    websocket: WebSocket,
    voice_id: str,
    rate: Annotated[int, Query(ge=LOWEST_RATE, le=HIGHEST_RATE)] = 48000,
    semitones: Annotated[float, Query(ge=-MOST_SEMITONES, le=MOST_SEMITONES, allow_inf_nan=False)] = 0.0,
    keep_pitch: bool = False,
    live: bool = False,
    codec: Literal["pcm", "opus"] = "pcm",
) -> None:
    """Converts what a client sends to a stored voice. A live stream leaves out what an overload makes too late."""
    service: Service = websocket.app.state.service
    try:
        protocol, messages = _check(websocket, service.settings), _codec(codec, rate)
        with service.streams.place():
            voice = await load(service, voice_id[:1000])
            with closing(await service.streams.open(voice, rate, semitones, keep_pitch)) as made:
                await websocket.accept(protocol)
                await _Client(websocket, service, made, messages, live).serve()
    except ApiError as error:
        service.metrics.refused.labels(error.status).inc()
        await websocket.send_denial_response(JSONResponse({"detail": error.detail}, error.status_code, error.headers))
    except InputError as error:
        log.warning("a stream: %s", error)
        reason = reason_for_clients(error) or "the server's log has the reason"
        refusal = ApiError(400, f"the voice cannot be used for streams; {reason}", "voice_not_usable")
        await websocket.send_denial_response(JSONResponse({"detail": refusal.detail}, 400))


def _check(websocket: WebSocket, settings: ServerSettings) -> str | None:
    """The protocol to accept, where the client may stream.

    Raises:
        ApiError: 401 without the key, 403 from a page of another site.
    """
    offered = websocket.scope.get("subprotocols", [])
    if settings.api_key is None:
        check_origin(websocket.headers)
    else:
        keys = [name.removeprefix(KEY_PROTOCOL) for name in offered if name.startswith(KEY_PROTOCOL)]
        given = [given_key(websocket.headers), *keys, *map(unquote, keys)]
        if not any(is_key(key, settings.api_key) for key in given):
            raise ApiError(401, "the API key is missing or wrong; send it as the header xi-api-key")
    return PROTOCOL if PROTOCOL in offered else None


def _codec(name: str, rate: int) -> Codec:
    """Raises ApiError where this server cannot code so."""
    if name == "opus" and rate != OPUS_RATE:
        raise ApiError(400, f"Opus has a rate of {OPUS_RATE} Hz; leave the rate out", "bad_rate")
    try:
        return CODECS[name]()
    except InputError as error:
        raise ApiError(400, str(error), "codec_not_installed") from error


@dataclass
class _Message:
    """What a client sends.

    Attributes:
        arrived: when it came.
        converted: the samples of its pieces, where it holds sound; None for pieces that became too old.
        sizes: of these pieces.
        refusal: why its sound cannot be decoded.
    """

    arrived: float
    content: dict[str, Any]
    converted: asyncio.Future[list[Array | BaseException | None]] | None = None
    sizes: Sequence[int] = ()
    refusal: str = ""

    @property
    def sound(self) -> bytes | None:
        return self.content.get("bytes")

    @property
    def size(self) -> int:
        """Bytes of memory: the message, and its samples once they are decoded."""
        return OVERHEAD + len(self.sound or b"") + len(self.content.get("text") or "") + 4 * sum(self.sizes)


class _Left(Exception):
    """The stream has ended, for whatever reason."""


class _Client:
    """One accepted stream."""

    def __init__(self, websocket: WebSocket, service: Service, stream: Stream, codec: Codec, live: bool) -> None:
        self.websocket, self.service, self.stream, self.live = websocket, service, stream, live
        self.codec, self.samples = codec, 0
        self._converting, self._waiting = deque[_Message](), deque[_Message]()  # the second ones come after the first
        self._came, self._room = asyncio.Event(), asyncio.Event()
        self._size = 0  # bytes that both hold
        self._reader: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        """Answers messages until the client ends the stream, goes away, or does something that is not allowed."""
        rate, latency = self.stream.rate, self.stream.latency + self.codec.latency
        try:
            await self._send_text(
                type="ready",
                rate=rate,
                latency=latency,
                latency_ms=round(1000 * latency / rate, 1),
                most_bytes=self.codec.most_bytes,
            )
            if self.live:
                self._reader = asyncio.create_task(self._read())
                self._reader.add_done_callback(lambda _: self._came.set())
            while True:
                message = await self._next()
                content = message.content
                if content["type"] == "websocket.disconnect":
                    if content.get("code") == SLOW:
                        await self._end(SLOW, "no message came for a while")
                    break
                if message.sound is not None:
                    await self._answer(message)
                elif (text := content.get("text")) is not None:
                    await self._obey(text)
                self._took()
        except _Left:
            pass
        except Exception as error:  # one that is passed on would close the connection without a code
            log.error("a stream: %s", error, exc_info=not isinstance(error, InputError))
            with suppress(_Left):
                await self._end(FAILED, "the conversion failed; the server's log has the reason")
        finally:
            if self._reader is not None:
                self._reader.cancel()
            self.service.metrics.audio.inc(self.samples / rate)

    async def _receive(self) -> _Message:
        """The next message."""
        with move_on_after(IDLE):
            content = await self.websocket.receive()
            return _Message(time.monotonic(), dict(content))
        return _Message(time.monotonic(), {"type": "websocket.disconnect", "code": SLOW})

    async def _read(self) -> None:
        """Takes the messages of a live stream as they come, so that their age is known."""
        while True:
            message = await self._receive()
            while self._size > MOST_WAITING:
                self._room.clear()
                await self._room.wait()
            self._size += message.size
            self._waiting.append(message)
            self._convert()
            self._came.set()
            if message.content["type"] == "websocket.disconnect":
                return

    async def _next(self) -> _Message:
        """The next message that wants an answer; `_took` takes it away."""
        if not self.live:
            self._waiting.append(await self._receive())
            self._size += self._waiting[0].size
            self._convert()
        while True:
            if self._reader is not None and self._reader.done():
                self._reader.result()  # raises what it failed with
            if waiting := self._converting or self._waiting:
                return waiting[0]
            self._came.clear()
            await self._came.wait()

    def _took(self) -> None:
        """The next message has its answer. Behind a command there may be sound."""
        self._size -= (self._converting or self._waiting).popleft().size
        self._room.set()
        self._convert()

    def _convert(self) -> None:
        """Has the sound that waits converted, up to the next command: that acts on what comes behind it."""
        while self._waiting and self._waiting[0].sound is not None:
            if self._converting and self._size > MOST_WAITING:  # decoded samples may take far more than a message
                return
            message = self._waiting.popleft()
            self._converting.append(message)
            self._size -= message.size
            self._push(message)
            self._size += message.size

    def _push(self, message: _Message) -> None:
        """Passes the sound of a message on. A live stream's pieces become too old, as if they came one by one."""
        try:
            samples = self.codec.decode(message.sound or b"")
        except InputError as error:
            message.refusal = str(error)
            return
        starts = range(0, max(1, len(samples)), self.stream.piece)
        pieces = [samples[start : start + self.stream.piece] for start in starts]
        latest = message.arrived + MOST_AGE if self.live else math.inf
        pushes = [
            self.stream.push(piece, latest + start / self.stream.rate)
            for start, piece in zip(starts, pieces, strict=True)
        ]
        message.sizes = [len(piece) for piece in pieces]
        message.converted = asyncio.gather(*pushes, return_exceptions=True)

    async def _answer(self, message: _Message) -> None:
        """Sends as much sound as a message holds: silence for what became too old."""
        if message.converted is None:
            await self._refuse(message.refusal)
        parts = list[Array]()
        for samples, size in zip(await message.converted, message.sizes, strict=True):
            if isinstance(samples, BaseException):
                raise samples
            self.samples += size if samples is not None else 0
            parts.append(samples if samples is not None else np.zeros(size, np.float32))
        await self._send_sound(np.concatenate(parts))

    async def _send_sound(self, samples: Array, last: bool = False) -> None:
        """Sends what of the samples, and of those before, makes whole messages; at the end all."""
        for message in self.codec.encode(samples) + (self.codec.flush() if last else []):
            await self._send({"type": "websocket.send", "bytes": message})

    async def _obey(self, text: str) -> None:
        try:
            command = msgspec.json.decode(text, type=Command)
        except (msgspec.MsgspecError, RecursionError):
            await self._refuse('send a JSON object whose type is "voice", "pitch" or "end"')
        if command.type == "end":
            await self._send_sound(await self.stream.flush(), last=True)
            await self._send_text(type="done", samples=self.samples)
            await self._end(NORMAL, "")
            raise _Left
        try:
            match command.type:
                case "voice":
                    await self.stream.set_voice(await load(self.service, command.voice_id))
                case "pitch":
                    await self.stream.set_pitch(command.semitones, command.keep_pitch)
        except ApiError as error:
            await self._send_error(command, **cast(dict[str, str], error.detail))
        except EndedError:
            raise
        except InputError as error:  # a pitch out of range; a voice of another bundle
            await self._send_error(command, status="bad_request", message=str(error))

    async def _send_error(self, command: Command, **fields: str) -> None:
        """Answers a command that cannot be done. A client may have chosen yet another voice, so this one is named."""
        refused = {"voice_id": command.voice_id} if command.type == "voice" else {}
        await self._send_text(type="error", **fields, **refused)

    async def _refuse(self, message: str) -> NoReturn:
        await self._end(REFUSED, message)
        raise _Left

    async def _send_text(self, **fields: Any) -> None:
        await self._send({"type": "websocket.send", "text": msgspec.json.encode(fields).decode()})

    async def _send(self, message: dict[str, Any]) -> None:
        """Passes a message on, where the client takes it in time."""
        try:
            with fail_after(self.service.settings.send_patience):
                await self.websocket.send(message)
        except TimeoutError as error:
            self.service.metrics.refused.labels("slow_reader").inc()
            raise _Left from error
        except (RuntimeError, OSError, WebSocketDisconnect) as error:  # the connection is gone
            raise _Left from error

    async def _end(self, code: int, reason: str) -> None:
        await self._send({"type": "websocket.close", "code": code, "reason": reason})
