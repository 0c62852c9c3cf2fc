"""Voice conversion in a few verbs: load a bundle, make a voice, convert.

converter = VoiceConverter.load()
voice = converter.voice("reference.wav")
result = converter.convert(wave, rate, voice)  # same length, same rate
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from . import audio
from .audio.arrays import Samples, blocks_of_array, checked_array
from .bundle import Bundle
from .errors import AudioWarning, InputError
from .feedback import corrected_embedding
from .files import same_file, shown
from .judgement import judge_together
from .library import (
    Reference,
    References,
    check_apart,
    is_folder,
    is_recording,
    listed,
    recordings_of,
    resolve,
)
from .mel import Array
from .pipeline import Request, convert_blocks
from .reference import Warn, analyse_source, encode_voice
from .settings import ConversionSettings
from .speech import analyse
from .timing import Timing
from .tracks import Advance, Delivery, Progress, Source, first_passes, results
from .vocoder import vocode
from .voice import Voice, pool


@dataclass(frozen=True)
class Conversion:
    """Report of a conversion to a file.

    Attributes:
        output: the file.
        seconds: length of the source.
        rate, samples: of the output, Hz and count.
        elapsed: seconds of work; `stages` has them by stage.
        speech: seconds of speech in the references.
        warnings: findings about source and references, a sentence each.
    """

    output: Path
    seconds: float
    rate: int
    samples: int
    elapsed: float
    stages: dict[str, float]
    speech: float
    warnings: tuple[str, ...] = ()

    @property
    def real_time_factor(self) -> float:
        """Seconds of work per second of audio."""
        return self.elapsed / self.seconds


class VoiceConverter:
    """Converts any recording to any voice with the networks of one bundle.

    One converter serves several threads; it can be pickled.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    @classmethod
    def load(cls, bundle: str | Path | None = None, threads: int | None = None) -> VoiceConverter:
        """Open a bundle (None: the one that comes with the package).

        Args:
            threads: CPU threads; None: the cores that this process may use, eight at most.
        Raises:
            InputError: see `Bundle.open`.
        """
        return cls(Bundle.open(bundle, threads))

    # -- voices ---------------------------------------------------------------------------------------------

    def voice(self, references: References, weights: Sequence[float] | None = None) -> Voice:
        """One voice from recordings, ``.voice`` files, names and voices, pooled by speech duration times `weights`.

        A name is that of a voice in the user's library or of a preset; ``anna(0.7)+ben(0.3)`` blends two. A folder
        stands for the recordings in it, each with the folder's weight. Warns with `AudioWarning` of references that
        are too short, clipped, noisy or narrow-band, and of recordings of different people.

        Raises:
            InputError: a reference cannot be read, holds no speech, or belongs to another bundle.
            TypeError: something else than paths, names and voices; samples go to `voice_of`.
        """
        return self._voice(listed(references), weights, _warn)

    def _voice(self, given: list[Reference], weights: Sequence[float] | None, warn: Warn) -> Voice:
        if weights is not None and len(weights) != len(given):
            raise InputError(f"{len(given)} references need as many weights, got {len(weights)}")
        groups = [self._voices(reference, warn) for reference in given]
        voices = [voice for group in groups for voice in group]
        shares = None if weights is None else [w for w, group in zip(weights, groups, strict=True) for _ in group]
        voice = pool(voices, shares)
        self.bundle.check_voice(voice)
        recorded = [is_recording(reference) or is_folder(reference) for reference in given]
        recordings = [voice for own, group in zip(recorded, groups, strict=True) if own for voice in group]
        for message in judge_together([v.embedding for v in recordings], [v.seconds for v in recordings]):
            warn(message)
        return voice

    def _voices(self, reference: Reference, warn: Warn) -> list[Voice]:
        """The voice of a reference; of a folder that of each recording in it, with a warning for each bad one."""
        if not is_folder(reference):
            return [self._resolved(reference, warn)]
        found, problems = list[Voice](), list[InputError]()
        for recording in recordings_of(reference):
            try:
                found.append(self._resolved(recording, warn))
            except InputError as error:
                problems.append(error)
        if not found:
            raise problems[0]
        for problem in problems:
            warn(f"{problem}; it is left out")
        return found

    def _resolved(self, reference: Reference, warn: Warn) -> Voice:
        if isinstance(reference, Voice) or not is_recording(reference):
            return resolve(self, reference)
        return self._recorded(Path(reference), warn)

    def voice_of_recording(self, path: str | os.PathLike[str], *, quiet: bool = False) -> Voice:
        """A voice from one recording; `quiet` leaves the warnings out. See `voice`."""
        return self._recorded(Path(path), _ignore if quiet else _warn)

    def _recorded(self, path: Path, warn: Warn) -> Voice:
        info = audio.inspect(path)
        voice = encode_voice(self.bundle, lambda: audio.read_blocks(info), info.name, path.name, warn)
        for message in info.warnings:
            warn(message)
        return voice

    def voice_of(self, wave: Samples, rate: int, name: str = "array") -> Voice:
        """A voice from samples, shape ``(N,)`` or ``(N, channels)``. See `voice`."""
        (track,), rate = checked_array(wave, rate, _warn)
        return encode_voice(self.bundle, lambda: blocks_of_array(track, rate), name, name, _warn)

    # -- conversion -----------------------------------------------------------------------------------------

    def convert(
        self,
        wave: Samples,
        rate: int,
        voice: References,
        *,
        steps: int = 1,
        seed: int = 0,
        semitones: float = 0.0,
        keep_pitch: bool = False,
        formant: float = 0.0,
        pauses: str = "converted",
        channel: str | int | None = None,
        watermark: bool = False,
    ) -> Array:
        """Convert samples.

        Args:
            wave: ``(N,)``, mono, or ``(N, channels)``; floats of full scale +-1, or integers of their type's.
            rate: of the samples and of the result, Hz.
            voice: a voice, or what `voice` makes one of.
            steps: K of the sampler; a distilled bundle allows 1.
            seed: of the initial noise.
            semitones: by which the result lies above the target's height; from -24 to 24.
            keep_pitch: keep the source's height instead of the target's.
            formant: semitones by which the formants rise, from -12 to 12: higher sounds like a smaller, brighter
                speaker, lower like a larger one. The pitch stays.
            pauses: what stands where the source has no speech: "converted", "silence", or the "source" itself.
            channel: "left", "right", "mix", a number from 1 on, or "each" for all, one by one; None: the mean.
            watermark: whether the result carries an inaudible watermark; see `fastvoicegrad.watermark`.
        Returns:
            ``(N,)``, float32, as loud as the source over time; of "each" the shape of `wave`.
        Raises:
            InputError: silent, shorter than one frame, not finite, or a setting that cannot be met.
        """
        tracks, rate = checked_array(wave, rate, _warn, channel)
        samples, settings = len(tracks[0]), ConversionSettings(steps, seed, semitones, keep_pitch, formant, pauses)
        settings.check_for(self.bundle)
        references = listed(voice)
        self._load_ahead(references)
        delivery = Delivery(rate, watermark=watermark)
        passes = [(partial(blocks_of_array, track, rate), lambda: samples / rate) for track in tracks]
        sources, target, found = first_passes(passes, "the source"), self.voice(references), list[str]()
        result, done = np.empty((samples, len(tracks)), np.float32), 0

        def convert(source: Source, notes: list[str]) -> Iterator[Array]:
            return delivery(self.convert_source(source, target, settings, Timing(), notes), samples)

        for block in results(sources, convert, samples, found):
            result[done : done + len(block)] = block
            done += len(block)
        for message in found:
            _warn(message)
        return result if channel == audio.EACH and np.ndim(wave) == 2 else result[:, 0]

    def convert_file(
        self,
        source: str | Path,
        output: str | Path,
        voice: References,
        *,
        steps: int = 1,
        seed: int = 0,
        rate: int | None = None,
        strict: bool = False,
        semitones: float = 0.0,
        keep_pitch: bool = False,
        formant: float = 0.0,
        pauses: str = "converted",
        channel: str | int | None = None,
        loudness: float | None = None,
        subtype: str | None = None,
        bitrate: int | None = None,
        watermark: bool = False,
        tags: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> Conversion:
        """Convert a recording of any length into a new file of exactly its length, at its rate or `rate`.

        Args:
            strict: whether a source that breaks off is an error; else it is a warning.
            semitones, keep_pitch, formant, pauses, watermark: see `convert`.
            channel: of the source: "left", "right", "mix", a number from 1 on, or "each" for a result with as many
                channels; None: those with sound.
            loudness: of the result in LUFS (integrated, ITU-R BS.1770), -60 to -6; None: the source's over time.
                With "each" it is that of every channel by itself.
            subtype: how samples are stored, such as "PCM_24"; see `audio.subtype_of`.
            bitrate: of MP3 and Opus, in kbit/s.
            tags: text fields of the result, such as a title; see `audio.conversion_tags`.
        Raises:
            InputError: the source cannot be read or is silent, or the output cannot be written. Nothing is left
                half-written, and an old output stays as it was.
        """
        started, timing = time.perf_counter(), Timing()
        found, about_source = list[str](), list[str]()
        note = _noting(found)
        settings = ConversionSettings(steps, seed, semitones, keep_pitch, formant, pauses)
        tracks = audio.inspect_tracks(source, strict, channel)
        rate = audio.output_rate(tracks[0].rate, rate, output)
        audio.check_output(output, rate, subtype, len(tracks), bitrate)
        audio.check_tags(tags or {})
        references = listed(voice)
        _check_distinct(output, source, references)
        settings.check_for(self.bundle)
        self._load_ahead(references)
        delivery = Delivery(rate, loudness, watermark)
        with timing.stage("read"):
            passes = [(partial(audio.read_blocks, track), track.decoded_seconds) for track in tracks]
            sources = first_passes(passes, tracks[0].name)
        with timing.stage("voice"):
            target = self._voice(references, None, note)
        seconds = tracks[0].decoded_seconds()
        samples, advance = round(seconds * rate), Advance(progress, seconds, sum(map(bool, sources)))

        def convert(source: Source, notes: list[str]) -> Iterator[Array]:
            return delivery(advance.of(self.convert_source(source, target, settings, timing, notes)), samples)

        count = len(tracks)
        with audio.writing(output, rate, seconds, subtype=subtype, channels=count, bitrate=bitrate, tags=tags) as file:
            for block in results(sources, convert, samples, about_source):
                file.write(block)
        for message in (*tracks[0].warnings, *about_source):
            note(message)
        elapsed = time.perf_counter() - started
        return Conversion(Path(output), seconds, rate, samples, elapsed, timing.stages, target.seconds, tuple(found))

    def _load_ahead(self, references: Sequence[Reference]) -> None:
        """Load networks in threads, in the order of their use, while source and references are read and analysed."""
        if any(is_recording(reference) or is_folder(reference) for reference in references):
            self.bundle.load_ahead("content", "speaker", "converter", "vocoder")
        else:
            feedback = ["speaker"] if self.bundle.config.feedback else []
            self.bundle.load_ahead("converter", "content", *feedback, "vocoder")

    def convert_source(
        self, source: Source, target: Voice, settings: ConversionSettings, timing: Timing, found: list[str]
    ) -> Iterator[Array]:
        """Converted blocks at 22,050 Hz; what was found about the source is added to `found`."""
        with timing.stage("voice"):
            frames = analyse(self.bundle, source.sampler.segments(), source.gain)
            speaker, findings = analyse_source(self.bundle, frames, target)
            request = Request(target, speaker, settings)
            request.check_for(self.bundle)
            request = replace(request, embedding=corrected_embedding(self.bundle, frames, request))
        found.extend(findings)
        yield from convert_blocks(
            self.bundle,
            source.blocks(),
            request,
            gain=source.gain,
            background=source.background,
            timing=timing,
        )

    def copy_synthesis(self, mel: Array, seed: int = 0) -> Array:
        """The vocoder alone: log-mel ``(80, T)`` -> ``(256 T,)`` samples at 22,050 Hz."""
        return vocode(self.bundle, mel, 0, slice(0, mel.shape[1]), 0.0, seed)[0]


def _check_distinct(output: str | Path, source: str | Path, references: Sequence[Reference]) -> None:
    """Raises InputError where the output would replace one of the inputs."""
    if same_file(output, source):
        raise InputError(f"{shown(output)} is the source itself; choose another name for the output")
    check_apart(output, references)


def _warn(message: str) -> None:
    warnings.warn(message, AudioWarning, stacklevel=3)


def _noting(notes: list[str]) -> Warn:
    """Warns, and keeps what it warned of."""

    def warn(message: str) -> None:
        notes.append(message)
        _warn(message)

    return warn


def _ignore(message: str) -> None:
    pass
