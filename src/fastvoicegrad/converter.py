"""Voice conversion in a few verbs: load a bundle, make a voice, convert.

converter = VoiceConverter.load()
voice = converter.voice(["reference.wav"])
result = converter.convert(wave, rate, voice)  # same length, same rate
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import audio
from .audio.level import TARGET_LEVEL
from .bundle import Bundle
from .errors import InputError
from .mel import MEL, Array
from .pipeline import CHUNK, convert_blocks
from .reference import encode_voice
from .threads import single_threaded_blas
from .timing import Timing
from .vocoder import vocode
from .voice import Voice, pool

SHORTEST = MEL.n_fft  # samples: one frame

Progress = Callable[[float], None]  # called with the seconds of source that are done


@dataclass(frozen=True)
class Conversion:
    """Report of a conversion to a file: its length in seconds, rate in Hz, samples, and seconds of work by stage."""

    output: Path
    seconds: float
    rate: int
    samples: int
    elapsed: float
    stages: dict[str, float]

    @property
    def real_time_factor(self) -> float:
        """Seconds of work per second of audio."""
        return self.elapsed / self.seconds


class VoiceConverter:
    """Converts any recording to any voice with the networks of one bundle."""

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

    def voice(self, references: Iterable[str | Path | Voice], weights: list[float] | None = None) -> Voice:
        """One voice from recordings, ``.voice`` files and voices, pooled by speech duration times `weights`.

        Raises:
            InputError: a reference cannot be read, holds no speech, or belongs to another bundle.
        """
        voices = [self._one_voice(reference) for reference in references]
        voice = pool(voices, weights)
        if voice.encoder != self.bundle.fingerprint:
            raise InputError("the voice was made with another bundle; make it again with 'fastvoicegrad voice make'")
        return voice

    def _one_voice(self, reference: str | Path | Voice) -> Voice:
        if isinstance(reference, Voice):
            return reference
        path = Path(reference)
        if path.suffix == ".voice":
            return Voice.load(path)
        info = audio.inspect(path)
        with single_threaded_blas():
            return encode_voice(self.bundle, lambda: audio.read_blocks(info), str(path), path.name)

    def voice_of(self, wave: Array, rate: int, name: str = "array") -> Voice:
        """A voice from samples, shape ``(N,)``. See `voice`."""
        wave = _checked(wave)
        with single_threaded_blas():
            return encode_voice(self.bundle, lambda: audio.resampled(iter([wave]), rate, MEL.sample_rate), name, name)

    # -- conversion -----------------------------------------------------------------------------------------

    def convert(self, wave: Array, rate: int, voice: Voice, *, steps: int = 1, seed: int = 0) -> Array:
        """Convert samples.

        Args:
            wave: ``(N,)``, mono, full scale +-1.
            rate: of the samples and of the result, Hz.
            steps: K of the sampler; a distilled bundle allows 1.
            seed: of the initial noise.
        Returns:
            ``(N,)``.
        Raises:
            InputError: silent, shorter than one frame, not finite, or more steps than the bundle allows.
        """
        wave = _checked(wave)

        def blocks() -> Iterator[Array]:
            return audio.resampled(iter([wave]), rate, MEL.sample_rate)

        gain = _gain(audio.speech_level(np.concatenate(list(blocks()))), len(wave) / rate, "the source")
        with single_threaded_blas():
            converted = self.convert_blocks(blocks(), voice, gain=gain, steps=steps, seed=seed)
            return np.concatenate(list(audio.fit_length(audio.resampled(converted, MEL.sample_rate, rate), len(wave))))

    def convert_file(
        self,
        source: str | Path,
        output: str | Path,
        voice: Voice,
        *,
        steps: int = 1,
        seed: int = 0,
        rate: int | None = None,
        progress: Progress | None = None,
    ) -> Conversion:
        """Convert a recording of any length into a new file of exactly its length, at its rate or `rate`.

        Raises:
            InputError: the source cannot be read or is silent, or the output cannot be written. Nothing is left
                half-written.
        """
        started = time.perf_counter()
        info = audio.inspect(source)
        rate = info.rate if rate is None else rate
        if not audio.LOWEST_RATE <= rate <= audio.HIGHEST_RATE:
            raise InputError(f"rate must lie between {audio.LOWEST_RATE} and {audio.HIGHEST_RATE} Hz, got {rate}")
        samples = round(info.samples * rate / info.rate)
        timing = Timing()
        with single_threaded_blas(), audio.writing(output, rate, info.seconds) as file:
            gain = _gain(audio.level_of_blocks(audio.read_blocks(info)), info.seconds, str(source))
            converted = self.convert_blocks(
                audio.read_blocks(info), voice, gain=gain, steps=steps, seed=seed, timing=timing
            )
            done = 0
            for block in audio.fit_length(audio.resampled(converted, MEL.sample_rate, rate), samples):
                file.write(np.clip(block, -1.0, 1.0))
                done += len(block)
                if progress:
                    progress(done / rate)
        return Conversion(Path(output), info.seconds, rate, samples, time.perf_counter() - started, timing.stages)

    def convert_blocks(
        self,
        blocks: Iterable[Array],
        voice: Voice,
        *,
        gain: float,
        steps: int = 1,
        seed: int = 0,
        chunk: int = CHUNK,
        timing: Timing | None = None,
    ) -> Iterator[Array]:
        """Blocks of samples at 22,050 Hz in, converted blocks out; see `pipeline.convert_blocks`."""
        return convert_blocks(self.bundle, blocks, voice, gain=gain, steps=steps, seed=seed, chunk=chunk, timing=timing)

    def copy_synthesis(self, mel: Array, seed: int = 0) -> Array:
        """The vocoder alone: log-mel ``(80, T)`` -> ``(256 T,)`` samples at 22,050 Hz."""
        return vocode(self.bundle, mel, 0, slice(0, mel.shape[1]), 0.0, seed)[0]


def _gain(level: float, seconds: float, name: str) -> float:
    if seconds * MEL.sample_rate < SHORTEST:
        raise InputError(f"{name} is shorter than one frame ({SHORTEST / MEL.sample_rate:.3f} s); give a longer one")
    if level == 0.0:
        raise InputError(f"{name} is silent; give a recording with speech")
    return TARGET_LEVEL / level


def _checked(wave: Array) -> Array:
    wave = np.asarray(wave, dtype=np.float32)
    if wave.ndim != 1:
        raise InputError(f"mono samples of shape (N,) are needed, got shape {wave.shape}; average the channels")
    if not np.isfinite(wave).all():
        raise InputError("the samples hold NaN or infinite values; clean them first")
    return wave
