"""Formats that libsndfile does not know (M4A, WebM, AMR, video): by PyAV or, without it, by a program `ffmpeg`."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import shown
from ..mel import Array
from .sndfile import Damage

# Containers only: playlists and scripts, which name other files or addresses, are not among them.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,amr,amrnb,amrwb,aac,avi,flv,live_flv,asf,mpegts,mpeg,mp3,ogg,flac,wav,w64,"
    "aiff,au,caf,ac3,eac3,dts,ape,wv,tta,tak,mpc,mpc8,loas,gsm,rm,dsf,iff,voc,mxf,nut,ivf,swf,nsv,oma,smk,bink"
)
OPTIONS = {"protocol_whitelist": "file,pipe", "format_whitelist": CONTAINERS}
# Bare frames, whose length FFmpeg estimates from the first bitrate, and times that may jump: their length is unknown.
GUESSED = ("aac", "loas", "ac3", "eac3", "dts", "mpeg", "mpegts")
FROM_ZERO = ("matroska,webm", "asf", "avi", "nut")  # their durations include the time before the first sample
FFMPEG_BLOCK = 1 << 22  # bytes
LAST_FRAME = 2048  # samples of the longest frame
KNOWN = "give WAV, FLAC, AIFF, MP3, M4A, OGG, Opus or WebM"


@dataclass(frozen=True)
class ForeignFacts:
    """What a container's header holds. `samples`: None if unknown; `exact`: the rest of the last frame is no sound."""

    rate: int
    channels: int
    samples: int | None
    is_float: bool
    exact: bool = False


def foreign_facts(path: Path) -> ForeignFacts:
    """Looks at a file that libsndfile does not know.

    Raises:
        InputError: nothing that is installed knows it, or it has no sound.
    """
    return _av_facts(path) if _av() else _ffmpeg_facts(path)


def decode_foreign(path: Path, facts: ForeignFacts) -> Iterator[Array]:
    """Its samples, blocks of shape ``(N, channels)``.

    Raises:
        Damage: it ends in damaged data, or has gaps. What could be decoded has been delivered.
    """
    blocks = _av_decode(path, facts) if _av() else _ffmpeg_decode(path, facts)
    return _up_to(blocks, facts.samples) if facts.exact and facts.samples else blocks


def _up_to(blocks: Iterable[Array], samples: int) -> Iterator[Array]:
    """Blocks without what lies behind so many samples, where that is the rest of a last frame and not sound."""
    count, rest = 0, list[Array]()
    for block in blocks:
        count += len(block)
        beyond = count - samples
        if beyond <= 0:
            yield block
        elif beyond <= LAST_FRAME:
            inside = max(0, len(block) - beyond)
            rest.append(block[inside:])
            if inside:
                yield block[:inside]
        else:  # the header gives too few
            yield from (*rest, block)
            rest.clear()


def foreign_tags(path: Path, encoding: str = "utf-8") -> dict[str, str]:
    """The text fields of a file by PyAV; empty without it."""
    av = _av()
    if av is None:
        return {}
    try:
        with _av_open(path, encoding) as container:
            found = {str(name).lower(): str(text) for name, text in container.metadata.items()}
    except (av.FFmpegError, OSError, ValueError, LookupError):
        return {}
    return {"tracknumber" if name == "track" else name: text for name, text in found.items()}


def _unknown(path: Path, advice: str) -> InputError:
    return InputError(f"{shown(path)} is not audio that can be read; {advice}")


# -- PyAV -----------------------------------------------------------------------------------------------------


def _av() -> Any:
    try:
        import av
    except ImportError:
        return None
    return av


@contextmanager
def _av_open(path: Path, encoding: str = "utf-8") -> Iterator[Any]:
    # As `options` these would go to the streams, too; there PyAV 13 to 16 crash on MPEG files, whose streams come late.
    texts = {"metadata_encoding": encoding, "metadata_errors": "replace"}
    with open(path, "rb") as file, _av().open(file, container_options=OPTIONS, **texts) as container:
        yield container


def _av_facts(path: Path) -> ForeignFacts:
    av = _av()
    try:
        with _av_open(path) as container:
            if not container.streams.audio or container.streams.audio[0].codec_context is None:
                raise InputError(f"{shown(path)} has no sound that can be decoded; {KNOWN}")
            stream = container.streams.audio[0]
            rate, channels = stream.codec_context.sample_rate, stream.codec_context.layout.nb_channels
            samples = _av_samples(container, stream, rate)
            exact = container.format.name.startswith("mov")  # its decoders fill up the last frame
            facts = ForeignFacts(rate, channels, samples, stream.codec.name.startswith("pcm_f"), exact)
    except InputError:
        raise
    except (av.FFmpegError, ValueError, LookupError) as error:
        raise _unknown(path, KNOWN) from error
    if facts.rate <= 0 or facts.channels <= 0:
        raise _unknown(path, "its header gives no rate")
    return facts


def _av_samples(container: Any, stream: Any, rate: int) -> int | None:
    """The length by the header. That of the whole file counts where sound is all that it holds."""
    if container.format.name in GUESSED:
        return None
    late = container.format.name in FROM_ZERO
    if stream.duration is not None:
        first = max(stream.start_time or 0, 0) if late else 0
        return round((stream.duration - first) * stream.time_base * rate)
    if len(container.streams) > 1 or container.duration is None:
        return None
    first = max(container.start_time or 0, 0) if late else 0
    return round((container.duration - first) * rate / 1_000_000)


def _av_decode(path: Path, facts: ForeignFacts) -> Iterator[Array]:
    av = _av()
    damage = ""
    with _av_open(path) as container:
        stream = container.streams.audio[0]
        layout = stream.codec_context.layout
        convert = _Converter(av, layout, facts.rate)
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)  # after an error of its own it has ended
                frames = [] if packet is None else packet.decode()
            except (av.FFmpegError, ValueError) as error:
                damage = str(error)
                continue
            for frame in frames:
                yield from convert(frame)
            if packet is None:
                break
        yield from convert(None)
    if damage:
        raise Damage(damage)


class _Converter:
    """Frames of any sample format, rate and layout to blocks ``(N, channels)`` of the first one's."""

    def __init__(self, av: Any, layout: Any, rate: int) -> None:
        self._make = lambda: av.AudioResampler(format="flt", layout=layout, rate=rate)
        self._convert = self._make()
        self._errors = (av.FFmpegError, ValueError)

    def __call__(self, frame: Any) -> Iterator[Array]:
        try:
            converted = self._convert.resample(frame)
        except self._errors:  # another format from here on
            if frame is None:
                return
            yield from self(None)
            self._convert = self._make()
            converted = self._convert.resample(frame)
        for part in converted:
            yield part.to_ndarray().reshape(-1, part.layout.nb_channels)  # by planes, PyAV crashes from 8 channels on


# -- the program ffmpeg ---------------------------------------------------------------------------------------


def _ffmpeg(path: Path) -> tuple[subprocess.Popen[bytes], Any]:
    program = shutil.which("ffmpeg")
    if program is None:
        raise _unknown(path, 'for M4A, WebM, AMR and video run pip install "fastvoicegrad[formats]" or install ffmpeg')
    options = [part for name, value in OPTIONS.items() for part in (f"-{name}", value)]
    source = ["-i", "file:" + os.path.abspath(path), "-map", "0:a:0"]
    messages = tempfile.TemporaryFile()  # noqa: SIM115
    process = subprocess.Popen(
        [program, "-nostdin", "-v", "error", *options, *source, "-c:a", "pcm_f32be", "-f", "au", "-"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=messages,
    )
    return process, messages


def _ffmpeg_header(path: Path, process: subprocess.Popen[bytes]) -> ForeignFacts:
    """The header that ffmpeg writes: AU, the plainest of all."""
    assert process.stdout is not None
    head = process.stdout.read(24)
    if len(head) < 24 or head[:4] != b".snd":
        raise _unknown(path, KNOWN)
    offset, _, _, rate, channels = struct.unpack(">5I", head[4:])
    process.stdout.read(offset - 24)
    return ForeignFacts(rate, channels, None, False)


def _ffmpeg_facts(path: Path) -> ForeignFacts:
    process, messages = _ffmpeg(path)
    try:
        return _ffmpeg_header(path, process)
    finally:
        _end(process, messages)


def _ffmpeg_decode(path: Path, facts: ForeignFacts) -> Iterator[Array]:
    process, messages = _ffmpeg(path)
    assert process.stdout is not None
    try:
        _ffmpeg_header(path, process)
        size = 4 * facts.channels
        while data := process.stdout.read(FFMPEG_BLOCK // size * size):
            whole = len(data) // size * size
            yield np.frombuffer(data[:whole], ">f4").astype(np.float32).reshape(-1, facts.channels)
        if process.wait() != 0 or messages.tell():
            raise Damage("ffmpeg reports errors")
    finally:
        _end(process, messages)


def _end(process: subprocess.Popen[bytes], messages: Any) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
    messages.close()
