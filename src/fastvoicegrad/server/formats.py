"""Output formats: names such as ``mp3_44100_128``, and encoders that give their bytes as they come."""

from __future__ import annotations

import io
import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any

import numpy as np
import soundfile

from ..audio.bitrates import encoder_options
from ..mel import Array
from .errors import ApiError

NAMES = [
    *[f"mp3_{kind}" for kind in ("22050_32", "24000_48", *(f"44100_{k}" for k in (32, 64, 96, 128, 192)))],
    *[f"opus_48000_{k}" for k in (32, 64, 96, 128, 192)],
    *[f"{codec}_{rate}" for codec in ("pcm", "wav") for rate in (8000, 16000, 22050, 24000, 32000, 44100, 48000)],
    "ulaw_8000",
    "alaw_8000",
]
OutputFormat = Enum("OutputFormat", {name: name for name in NAMES}, type=str)  # type: ignore[misc]
SHORT_NAMES = {"wav": "wav_22050", "mp3": "mp3_44100_128", "opus": "opus_48000_64", "pcm": "pcm_24000"}
AnyFormat = Enum("AnyFormat", {name: name for name in (*SHORT_NAMES, *NAMES)}, type=str)  # type: ignore[misc]
MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
    "ulaw": "audio/basic",
    "alaw": "audio/x-alaw-basic",
}
RAW_SUBTYPES = {"wav": "PCM_16", "pcm": "PCM_16", "ulaw": "ULAW", "alaw": "ALAW"}
MOST_CHANNELS = {"wav": 8, "pcm": 8, "mp3": 2, "opus": 2, "ulaw": 1, "alaw": 1}
SLICE = 1 << 16  # samples that an encoder takes at once
INSTALL = 'run pip install "fastvoicegrad[formats]" on the server, or ask for wav or pcm'


@dataclass(frozen=True)
class Format:
    """An output format.

    Attributes:
        codec: mp3, opus, wav, pcm, ulaw or alaw.
        rate: samples per second.
        bitrate: in kbit/s, where the codec has one.
    """

    codec: str
    rate: int
    bitrate: int = 0

    @classmethod
    def of(cls, name: str) -> Format:
        """A format by its name."""
        codec, *numbers = SHORT_NAMES.get(name, name).split("_")
        return cls(codec, *map(int, numbers))

    @property
    def media_type(self) -> str:
        """Of the answer."""
        return MEDIA_TYPES[self.codec]

    def check(self) -> None:
        """Raises ApiError (422) where nothing that is installed encodes it."""
        if self.codec not in RAW_SUBTYPES and not _by_libsndfile(self.codec) and _av_codec(self.codec) is None:
            raise ApiError(422, f"this server has no encoder for {self.codec}: {INSTALL}", "format_not_supported")

    def check_channels(self, channels: int) -> None:
        """Raises ApiError (422) where a result has more channels than the format."""
        most = MOST_CHANNELS[self.codec]
        if channels > most:
            message = f"{self.codec} has {most} channel{'s' if most > 1 else ''} at most, not {channels}; ask for wav"
            raise ApiError(422, message, "format_not_supported")

    def encoder(self, samples: int, channels: int = 1) -> Encoder:
        """What encodes exactly this number of samples of each channel."""
        if self.codec in RAW_SUBTYPES or _by_libsndfile(self.codec):
            return SoundfileEncoder(self, samples, channels)
        return AvEncoder(self, channels)


class Encoder(ABC):
    """Takes blocks of samples and gives encoded bytes."""

    def __init__(self) -> None:
        self._sink = _Sink()

    def write(self, block: Array) -> bytes:
        """What is encoded of samples ``(N,)`` or ``(N, channels)`` and of those before, clipped to full scale."""
        for start in range(0, len(block), SLICE):
            self._encode(np.clip(block[start : start + SLICE], -1.0, 1.0).astype(np.float32))
        return self._sink.take()

    def close(self) -> bytes:
        """The rest."""
        self._finish()
        return self._sink.take()

    @abstractmethod
    def _encode(self, block: Array) -> None:
        """Append samples ``(N,)`` or ``(N, channels)``, encoded, to the sink."""

    @abstractmethod
    def _finish(self) -> None:
        """Append the end to the sink."""


class _Sink:
    """A file that keeps what is appended until it is taken. What goes back to the start is left out."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._end = self._at = 0

    def take(self) -> bytes:
        data, self._waiting = bytes(self._waiting), bytearray()
        return data

    def write(self, data: Any) -> int:
        if self._at == self._end:
            self._waiting += data
            self._end += len(data)
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._end}[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, count: int = -1) -> bytes:
        """Only there because `soundfile` looks for it."""
        return b""

    readinto = read


# -- libsndfile -----------------------------------------------------------------------------------------------


class SoundfileEncoder(Encoder):
    """PCM, WAV, mu-law, A-law, MP3 and Opus."""

    def __init__(self, form: Format, samples: int, channels: int) -> None:
        super().__init__()
        self._header = wav_header(samples, form.rate, channels) if form.codec == "wav" else b""
        self._tag = mp3_tag(form, samples, channels) if form.codec == "mp3" else b""
        self._left = len(self._tag)  # bytes at the start of the encoder's own that the tag replaces
        self._file = _sound_file(self._sink, form, channels)

    def write(self, block: Array) -> bytes:
        """See `Encoder.write`."""
        return self._with_start(super().write(block))

    def close(self) -> bytes:
        """See `Encoder.close`."""
        return self._with_start(super().close())

    def _with_start(self, data: bytes) -> bytes:
        start, self._header, self._tag = self._header + self._tag, b"", b""
        kept, self._left = data[self._left :], max(self._left - len(data), 0)
        return start + kept

    def _encode(self, block: Array) -> None:
        self._file.write(block)

    def _finish(self) -> None:
        self._file.close()


def _sound_file(file: Any, form: Format, channels: int) -> soundfile.SoundFile:
    if form.codec in RAW_SUBTYPES:
        subtype = RAW_SUBTYPES[form.codec]
        endian = "LITTLE" if subtype == "PCM_16" else "FILE"
        return soundfile.SoundFile(file, "w", form.rate, channels, subtype, endian, "RAW")
    kind, subtype = ("MP3", "MPEG_LAYER_III") if form.codec == "mp3" else ("OGG", "OPUS")
    options = encoder_options(subtype, form.rate, channels, form.bitrate)
    return soundfile.SoundFile(file, "w", form.rate, channels, subtype, format=kind, **options)


@cache
def _by_libsndfile(codec: str) -> bool:
    kind, subtype = ("MP3", "MPEG_LAYER_III") if codec == "mp3" else ("OGG", "OPUS")
    return kind in soundfile.available_formats() and subtype in soundfile.available_subtypes(kind)


def wav_header(samples: int, rate: int, channels: int = 1) -> bytes:
    """The header of a file of 16 bit with so many samples of each channel."""
    width = 2 * channels
    size = width * samples
    sizes = 16, 1, channels, rate, width * rate, width, 16
    return struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", *sizes, b"data", size)


# -- the first frame of MP3, which holds the length -----------------------------------------------------------


def mp3_tag(form: Format, samples: int, channels: int = 1) -> bytes:
    """The first frame of an MP3 of so many samples; empty where the encoder writes none.

    LAME writes it at the end, when the length is known. Here the length is known before, so it is taken from
    an empty MP3 and filled in: number of frames, bytes, and samples to leave out at both ends.
    """
    data = bytearray(_empty_mp3(form, channels))
    start = data.find(b"Info", 0, 64)
    if start < 0:
        return b""
    frame = 1152 if form.rate >= 32000 else 576
    delay = data[start + 141] << 4 | data[start + 142] >> 4
    frames = -(-(samples + delay + 576) // frame)  # the encoder's last 576 samples are padding
    padding = frames * frame - delay - samples
    size = len(data) + round(frames * frame / form.rate * form.bitrate * 125)
    struct.pack_into(">II", data, start + 8, frames, size)
    data[start + 16 : start + 116] = bytes(256 * k // 100 for k in range(100))  # positions: the bitrate is constant
    data[start + 141 : start + 144] = (delay << 12 | padding).to_bytes(3, "big")
    struct.pack_into(">IHH", data, start + 148, size, 0, 0)  # the checksums are of no use to decoders
    return bytes(data)


@cache
def _empty_mp3(form: Format, channels: int) -> bytes:
    """The first frame of an MP3 of a moment's silence, as it is after the file was closed."""
    buffer = io.BytesIO()
    with _sound_file(buffer, form, channels) as file:
        file.write(np.zeros((1, channels), np.float32))
    data = buffer.getvalue()
    following = data.find(data[:2], 2 + 60)
    return data[:following]


# -- PyAV -----------------------------------------------------------------------------------------------------


@cache
def _av_codec(codec: str) -> Any:
    """The encoder's name in PyAV; None: not there."""
    try:
        import av

        name = {"mp3": "libmp3lame", "opus": "libopus"}[codec]
        av.codec.Codec(name, "w")
    except (ImportError, KeyError, ValueError):
        return None
    return name


class AvEncoder(Encoder):
    """MP3 and Opus where libsndfile was built without them."""

    def __init__(self, form: Format, channels: int) -> None:
        import av

        super().__init__()
        self._av, self._rate, self._done = av, form.rate, 0
        self._layout = "stereo" if channels > 1 else "mono"
        container, options = ("mp3", {"write_xing": "0"}) if form.codec == "mp3" else ("ogg", {})
        self._container = av.open(self._sink, "w", format=container, options=options)
        self._stream: Any = self._container.add_stream(_av_codec(form.codec), rate=form.rate, layout=self._layout)
        self._stream.bit_rate = 1000 * form.bitrate

    def _encode(self, block: Array) -> None:
        planes = np.ascontiguousarray(np.atleast_2d(block.T))
        frame = self._av.AudioFrame.from_ndarray(planes, "fltp", self._layout)
        frame.sample_rate, frame.pts = self._rate, self._done
        self._done += len(block)
        self._container.mux(self._stream.encode(frame))

    def _finish(self) -> None:
        self._container.mux(self._stream.encode(None))
        self._container.close()
