"""The messages of a stream: 16-bit samples, or packets of Opus (RFC 6716) through PyAV."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ..errors import InputError
from ..mel import Array

FULL_SCALE = 32768.0
OPUS_RATE = 48000  # Hz, the only rate at which packets are decoded here
OPUS_PACKET = 960  # samples (20 ms) of an answer
OPUS_BITRATE = 48000  # bits a second of the answers
MOST_PACKET = 1275 * 3 + 7  # bytes of the longest packet that RFC 6716 allows for 60 ms


class Codec(Protocol):
    """Turns a client's messages into samples (N,) and samples into messages.

    Attributes:
        most_bytes: of a message.
        latency: samples by which the answers are later than what is encoded.
        rule: what a client must send, a sentence's end.
    """

    most_bytes: int
    latency: int
    rule: str

    def decode(self, data: bytes) -> Array:
        """Raises InputError where the message is not what `rule` asks for."""
        ...

    def encode(self, samples: Array) -> list[bytes]:
        """Messages that are complete by now."""
        ...

    def flush(self) -> list[bytes]:
        """What is left, after the last samples."""
        ...


class Pcm:
    """16-bit samples, little-endian, mono. Each message has an answer of the same size."""

    most_bytes = 1 << 16
    latency = 0
    rule = f"16-bit samples, {most_bytes} bytes at most"

    def decode(self, data: bytes) -> Array:
        if len(data) % 2 or len(data) > self.most_bytes:
            raise InputError(f"send {self.rule}")
        return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(FULL_SCALE)

    def encode(self, samples: Array) -> list[bytes]:
        return [(np.clip(samples, -1.0, 1.0) * np.float32(FULL_SCALE - 1)).round().astype("<i2").tobytes()]

    def flush(self) -> list[bytes]:
        return []


class Opus:
    """Packets of Opus, mono, a packet a message. An answer is a packet of 20 ms, whatever the client's have.

    Raises:
        InputError: PyAV is missing.
    """

    most_bytes = MOST_PACKET
    rule = f"one packet of Opus a message, {MOST_PACKET} bytes at most"

    def __init__(self) -> None:
        try:
            import av
        except ImportError as error:
            raise InputError('Opus needs PyAV; install "fastvoicegrad[formats]" on the server') from error
        self._av = av
        self._decoder: Any = av.CodecContext.create("libopus", "r")
        self._encoder: Any = av.CodecContext.create("libopus", "w")
        for context in (self._decoder, self._encoder):
            context.sample_rate, context.layout, context.format = OPUS_RATE, "mono", "flt"
        self._encoder.bit_rate = OPUS_BITRATE
        self._encoder.options = {"application": "lowdelay", "frame_duration": "20"}
        self._encoder.open()
        self._waiting = np.zeros(0, np.float32)
        # The "pre-skip" of RFC 7845, 5.1: what the encoder looks ahead, 120 samples in its mode of low delay.
        self.latency = int.from_bytes((self._encoder.extradata or bytes(12))[10:12], "little")

    def decode(self, data: bytes) -> Array:
        if not 0 < len(data) <= self.most_bytes:
            raise InputError(f"send {self.rule}")
        try:
            frames = self._decoder.decode(self._av.Packet(data))
        except self._av.error.FFmpegError as error:
            raise InputError(f"send {self.rule}") from error
        return np.concatenate([np.zeros(0, np.float32), *(_samples(frame) for frame in frames)])

    def encode(self, samples: Array) -> list[bytes]:
        self._waiting = np.concatenate([self._waiting, samples.astype(np.float32)])
        packets = []
        while len(self._waiting) >= OPUS_PACKET:
            packet, self._waiting = self._waiting[:OPUS_PACKET], self._waiting[OPUS_PACKET:]
            packets += self._packets(np.clip(packet, -1.0, 1.0))
        return packets

    def flush(self) -> list[bytes]:
        return self.encode(np.zeros(self.latency + -(len(self._waiting) + self.latency) % OPUS_PACKET, np.float32))

    def _packets(self, samples: Array) -> list[bytes]:
        frame = self._av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate = OPUS_RATE
        return [bytes(packet) for packet in self._encoder.encode(frame)]


def _samples(frame: Any) -> Array:
    """Of a decoded frame, (N,)."""
    array = frame.to_ndarray()
    scale = np.float32(FULL_SCALE if array.dtype.kind == "i" else 1.0)
    return array.reshape(-1).astype(np.float32) / scale


MOST_BYTES = Pcm.most_bytes  # of any message
CODECS: dict[str, type[Pcm] | type[Opus]] = {"pcm": Pcm, "opus": Opus}
