"""What runs in worker threads: conversions, new voices, previews. They stop where the client has gone."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from .. import audio
from ..audio.reading import decoded_blocks
from ..judgement import judge_together
from ..mel import MEL, Array
from ..preview import render_preview
from ..reference import encode_voice
from ..settings import ConversionSettings
from ..timing import Timing
from ..tracks import Delivery, Source, first_passes, results
from ..voice import Voice, pool
from .formats import Format
from .jobs import Job
from .service import Service
from .uploads import Upload, check_seconds, opened, speaking_of, without_path


@dataclass(frozen=True)
class Conversion:
    """What a client asks for."""

    source: Upload
    voice: Voice
    form: Format
    settings: ConversionSettings = field(default_factory=ConversionSettings)
    channel: str | None = None  # see `audio.inspect_tracks`


def convert(service: Service, wanted: Conversion, job: Job) -> None:
    """Write the encoded conversion to the job's output, block by block."""
    started, settings = time.monotonic(), service.settings
    with opened(wanted.source, settings.most_seconds) as info:
        tracks = audio.tracks_of(info, wanted.channel)
        wanted.form.check_channels(len(tracks))
        blocks, samples = converted(service, tracks, wanted, job)
        job.notes.extend(without_path(sentence, info.path, wanted.source.label) for sentence in tracks[0].warnings)
        encoder = wanted.form.encoder(samples, len(tracks))
        with ended(blocks):
            for index, block in enumerate(blocks):
                job.write(encoder.write(block))
                if index == 0:
                    service.metrics.first.observe(time.monotonic() - started)
        job.write(encoder.close())
    service.metrics.audio.inc(len(tracks) * samples / wanted.form.rate)
    service.metrics.whole.observe(time.monotonic() - started)


def converted(
    service: Service, tracks: list[audio.AudioInfo], wanted: Conversion, job: Job
) -> tuple[Iterator[Array], int]:
    """Converted blocks at the output's rate, and the number of their samples. The source is read once before.

    Several tracks lie side by side, ``(N, tracks)``. Together they may be as long as one.
    """
    label, most_seconds = wanted.source.label, service.settings.most_seconds / len(tracks)
    check_length(tracks[0], label, most_seconds, job)
    passes = [(reading(track, label, most_seconds, job), track.decoded_seconds) for track in tracks]
    sources = first_passes(passes, label)
    samples = round(tracks[0].decoded_seconds() * wanted.form.rate)
    delivery = Delivery(wanted.form.rate, watermark=service.settings.watermark)

    def convert(source: Source, notes: list[str]) -> Iterator[Array]:
        blocks = service.converter.convert_source(source, wanted.voice, wanted.settings, Timing(), notes)
        return delivery(blocks, samples)

    if len(sources) == 1 and sources[0]:
        return convert(sources[0], job.notes), samples
    return results(sources, convert, samples, job.notes), samples


def check_length(info: audio.AudioInfo, label: str, most_seconds: float, job: Job) -> None:
    """Raises ApiError (413) where a recording with several channels is too long.

    The choice of channels reads a whole file before its first block, so the length is found out here. With one channel
    `reading` finds it out.
    """
    if info.channels > 1:
        for _ in watched(decoded_blocks(info), info.rate, label, most_seconds, job):
            pass


def reading(info: audio.AudioInfo, label: str, most_seconds: float, job: Job) -> Callable[[], Iterator[Array]]:
    """What starts the blocks of a recording at 22,050 Hz. They end with an error where it is too long."""
    return lambda: watched(audio.read_blocks(info), MEL.sample_rate, label, most_seconds, job)


def watched(blocks: Iterable[Array], rate: int, label: str, most_seconds: float, job: Job) -> Iterator[Array]:
    """The same blocks.

    Raises:
        ApiError: 413, they are too long.
        Cancelled: the client went away.
    """
    done = 0
    with ended(blocks):
        for block in blocks:
            job.check()
            done += len(block)
            check_seconds(done / rate, label, most_seconds)
            yield block


@contextmanager
def ended(blocks: Iterable[Array]) -> Iterator[None]:
    """Ends a generator with the block, and so the file that it reads: Windows deletes no open file."""
    try:
        yield
    finally:
        if isinstance(blocks, Generator):
            blocks.close()


def make_voice(service: Service, references: list[Upload], job: Job) -> Voice:
    """One voice of all references. What is found about them goes to the job's notes."""
    voices = [_one_voice(service, reference, job) for reference in references]
    job.notes.extend(judge_together([v.embedding for v in voices], [v.seconds for v in voices]))
    return pool(voices)


def _one_voice(service: Service, reference: Upload, job: Job) -> Voice:
    label = reference.label
    with opened(reference, service.settings.most_seconds) as info:
        check_length(info, label, service.settings.most_seconds, job)
        read = reading(info, label, service.settings.most_seconds, job)
        voice = encode_voice(service.converter.bundle, read, label, label, job.notes.append)
        job.notes.extend(without_path(sentence, info.path, label) for sentence in info.warnings)
    return replace(voice, sources=[label])


def preview_maker(service: Service) -> str:
    """Names all that a preview depends on beside its voice: networks, settings, the mark."""
    config = replace(service.converter.bundle.config, notes={}, version="")  # neither changes the sound
    digest = hashlib.sha256(json.dumps(asdict(config), sort_keys=True).encode()).hexdigest()[:16]
    return digest + ("-marked" if service.settings.watermark else "")


def make_preview(service: Service, voice: Voice, output: Path, job: Job) -> None:
    """Convert the shipped sample to a voice, into a file."""
    job.check()
    with speaking_of(output, "the preview"):
        render_preview(service.converter, voice, output, watermark=service.settings.watermark)
