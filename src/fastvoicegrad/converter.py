"""Voice conversion: five verbs over a bundle. Waves in, waves out, block by block.

converter = VoiceConverter.load()
voice = converter.voice(["reference.wav"])
result = converter.convert(wave, rate, voice)            # same length, same rate
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np

from . import vocoder as synthesis
from .audio import files as audio
from .audio.level import ACTIVE_RANGE, TARGET_LEVEL, LevelMeter, speech_level
from .bundle import Bundle
from .diffusion import eps_from_x0, frame_noise, guided, initial_state, sample, subsequence
from .errors import InputError
from .mel import MEL, Array, log_mel, log_mel_of_padded, lowpass_projection
from .postfilter import NO_SUMS, speech_probability
from .voice import MEMORY, Voice, pool, spread

SHORTEST = MEL.n_fft  # samples: one frame
CHUNK = 4096  # frames that are converted at once (48 s), beside their context
LEAST_VOICED = 0.15  # share of a reference's active frames; below it there is no speech
LEAST_SPEECH = 0.3  # seconds
PITCH_GRID = 0.125  # Hz: at 100 Hz two hundredths of a semitone
SHORTEST_WINDOW = 16  # frames below which an embedding says nothing
VOICE_WINDOW = 344  # frames (4 s) that are embedded at once
OWN_SPEECH, OWN_SEARCHED = 344, 2584  # frames (4 s) of the source that say whose voice it is, and where (30 s)

T = TypeVar("T")
Progress = Callable[[float], None]  # called with the seconds of source that are done


@dataclass
class Timing:
    """Seconds of work by stage."""

    stages: dict[str, float] = field(default_factory=dict)

    def run(self, stage: str, call: Callable[[], T]) -> T:
        started = time.perf_counter()
        result = call()
        self.stages[stage] = self.stages.get(stage, 0.0) + time.perf_counter() - started
        return result


@dataclass(frozen=True)
class Conversion:
    """What a conversion was: lengths in seconds, real-time factor = seconds of work per second of audio."""

    output: Path
    seconds: float
    rate: int
    samples: int
    elapsed: float
    stages: dict[str, float]

    @property
    def real_time_factor(self) -> float:
        return self.elapsed / self.seconds


@dataclass(frozen=True)
class _Heard:
    """Of a block of a reference: the sum of its active frames' embeddings, how many frames are active, the pitch in Hz
    of those that are voiced, and the frames to remember: content (C, N) and mel (80, N)."""

    embedding: Array
    speech: int
    pitch: Array
    keys: Array
    mel: Array


class VoiceConverter:
    """Converts any recording to any voice with the networks of one bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    @classmethod
    def load(cls, bundle: str | Path | None = None, threads: int | None = None) -> VoiceConverter:
        """Open a bundle (None: the one that comes with the package).

        Args:
            threads: CPU threads; None uses all cores.
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
        return self._embed_voice(lambda: audio.read_blocks(info), str(path), path.name)

    def voice_of(self, wave: Array, rate: int, name: str = "array") -> Voice:
        """A voice from samples, shape ``(N,)``. See `voice`."""
        wave = _checked(wave)
        return self._embed_voice(lambda: audio.resampled(iter([wave]), rate, MEL.sample_rate), name, name)

    def _embed_voice(self, read: Callable[[], Iterator[Array]], called: str, name: str) -> Voice:
        """A voice from blocks at 22,050 Hz, read twice: once for the level, once for the sound."""
        level = _level(read())
        if level == 0.0:
            raise InputError(f"{called} is silent; give a reference with speech")
        wholes = _regroup(read(), int(audio.BLOCK_SECONDS * MEL.sample_rate))
        with self.bundle.alone():
            heard = [self._hear(block * np.float32(TARGET_LEVEL / level)) for block in wholes]
        parts = [part for part in heard if part is not None]
        speech, pitch = sum(part.speech for part in parts), np.concatenate([np.zeros(0), *(p.pitch for p in parts)])
        seconds = speech * MEL.hop_length / MEL.sample_rate
        if seconds < LEAST_SPEECH or len(pitch) < LEAST_VOICED * speech:
            raise InputError(f"{called}: no speech was found in it; give a reference in which somebody speaks")
        total = np.sum([part.embedding for part in parts], axis=0)
        keys = np.concatenate([part.keys for part in parts], axis=1)
        mel = np.concatenate([part.mel for part in parts], axis=1)
        kept = spread(mel.shape[1], MEMORY)
        embedding = (total / np.linalg.norm(total)).astype(np.float32)
        middle = float(np.median(pitch))
        return Voice(embedding, keys[:, kept], mel[:, kept], middle, self.bundle.fingerprint, seconds, [name])

    def _hear(self, wave: Array) -> _Heard | None:
        """The speech in a block; None where there is none."""
        if len(wave) < 2 * SHORTEST:
            return None
        mel = log_mel(wave)
        loudness = np.sqrt(
            np.square(wave[: len(wave) // MEL.hop_length * MEL.hop_length]).reshape(-1, MEL.hop_length).mean(1)
        )
        active = np.flatnonzero(loudness > ACTIVE_RANGE * TARGET_LEVEL)
        if len(active) < SHORTEST_WINDOW:
            return None
        keys, pitch = self._content(_even(mel)), self._pitch(mel)[active]
        windows = np.array_split(mel[:, active], -(-len(active) // VOICE_WINDOW), axis=1)
        embeddings = [self.bundle.run("speaker", mel=window[None])[0][0] * window.shape[1] for window in windows]
        pitch = pitch[pitch > 0]
        kept = spread(mel.shape[1], MEMORY)
        return _Heard(np.sum(embeddings, axis=0), len(active), pitch, keys[:, kept], mel[:, kept])

    def _source_speaker(self, mel: Array, voice: Voice) -> Voice | None:
        """The voice of the source itself, from the first of its speech; None where there is too little. All frames
        stand beside the speech, but only the speech is embedded. Whoever whispers has the pitch of `voice`."""
        spoken = np.flatnonzero(speech_probability(mel)[0] > 0.5)[:OWN_SPEECH]
        if len(spoken) < SHORTEST_WINDOW:
            return None
        mel = mel[:, : spoken[-1] + 1]
        keys, pitch = self._content(_even(mel)), self._pitch(mel)[spoken]
        voiced = pitch[pitch > 0]
        embedding = self.bundle.run("speaker", mel=mel[None, :, spoken])[0][0]
        kept = spread(mel.shape[1], MEMORY)
        middle = float(np.median(voiced)) if len(voiced) else voice.pitch
        return replace(voice, embedding=embedding, keys=keys[:, kept], mel=mel[:, kept], pitch=middle)

    def _content(self, mel: Array) -> Array:
        """(C, T) of mel frames (80, T)."""
        return self.bundle.run("content", mel=mel[None])[0][0]

    def _pitch(self, mel: Array) -> Array:
        """F0 in Hz (T,) of mel frames (80, T), 0 where unvoiced."""
        return self.bundle.run("pitch", mel=mel[None])[0][0]

    # -- conversion -----------------------------------------------------------------------------------------

    def convert(self, wave: Array, rate: int, voice: Voice, *, steps: int = 1, seed: int = 0) -> Array:
        """Convert samples.

        Args:
            wave: ``(N,)``, mono, full scale +-1.
            rate: of the samples and of the result, Hz.
            steps: of the sampler; a distilled bundle knows one.
            seed: of the initial noise.
        Returns:
            ``(N,)``, as loud as the source.
        Raises:
            InputError: silent, shorter than one frame, not finite, or more steps than the bundle knows.
        """
        wave = _checked(wave)

        def blocks() -> Iterator[Array]:
            return audio.resampled(iter([wave]), rate, MEL.sample_rate)

        gain = self._gain(speech_level(np.concatenate(list(blocks()))), len(wave) / rate, "the source")
        with self.bundle.alone():
            converted = self.convert_blocks(blocks(), voice, gain=gain, steps=steps, seed=seed)
            return np.concatenate(list(_exactly(audio.resampled(converted, MEL.sample_rate, rate), len(wave))))

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
            InputError: the source cannot be read or is silent, the output cannot be written; nothing is left
                half-written.
        """
        started = time.perf_counter()
        info = audio.inspect(source)
        rate = info.rate if rate is None else rate
        if not audio.LOWEST_RATE <= rate <= audio.HIGHEST_RATE:
            raise InputError(f"rate must lie between {audio.LOWEST_RATE} and {audio.HIGHEST_RATE} Hz, got {rate}")
        samples = round(info.samples * rate / info.rate)
        timing = Timing()
        with self.bundle.alone(), audio.writing(output, rate, info.seconds) as file:
            gain = self._gain(_level(audio.read_blocks(info)), info.seconds, str(source))
            blocks = self.convert_blocks(
                audio.read_blocks(info), voice, gain=gain, steps=steps, seed=seed, timing=timing
            )
            done = 0
            for block in _exactly(audio.resampled(blocks, MEL.sample_rate, rate), samples):
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
        """The pipeline itself: blocks of samples at 22,050 Hz in, converted blocks out, seams exact.

        Every chunk is rendered together with the frames that its result depends on, so the size of a chunk
        changes nothing but the memory that is needed.
        """
        if not 1 <= steps <= self.bundle.config.max_steps:
            allowed = self.bundle.config.max_steps
            raise InputError(
                f"this bundle converts in at most {allowed} step{'s' if allowed > 1 else ''}, {steps} were asked for"
            )
        if voice.encoder != self.bundle.fingerprint:
            raise InputError("the voice was made with another bundle; make it again with 'fastvoicegrad voice make'")
        timing = timing or Timing()
        left, right = self.bundle.context(steps)
        frames = _mel_frames(blocks, gain, self.bundle.stride)
        head, frames = _begun(frames)
        own = timing.run("converter", lambda: self._source_speaker(head, voice))
        turns, sums = 0.0, NO_SUMS  # of the pulse train and the post-filter: what is carried from chunk to chunk
        for window, start, first, last in _windows(frames, chunk, left, right, self.bundle.stride):
            mel, pitch = self._convert_mel(window, start, voice, own, steps, seed, timing)
            kept = slice(first - start, last - start)
            mel, sums = timing.run("converter", lambda: self.bundle.config.postfilter(mel, voice.mel, kept, sums))  # noqa: B023
            wave, turns = timing.run("vocoder", lambda: self.render(mel, start, kept, turns, seed, pitch))  # noqa: B023
            yield wave / np.float32(gain)

    def render(
        self, mel: Array, start: int, kept: slice, turns: float, seed: int, known: Array | None = None
    ) -> tuple[Array, float]:
        """The vocoder on a window of mel frames.

        Args:
            mel: ``(80, T)``, natural log, the first of which is frame `start`.
            kept: the frames, counted in the window, whose samples are wanted.
            turns: phase of the pulse train before the first of them.
            known: ``(T,)``, the pitch in Hz where it is known, 0 elsewhere; there the vocoder has to hear it.
        Returns:
            their samples, and the phase after the last.
        """
        heard, *filters = (x[0] for x in self.bundle.run("vocoder", mel=mel[None]))
        pitch = heard if known is None else np.where(known > 0, known, heard)
        # The phase adds the pitch up: what chunks of different sizes round differently must not add up with it.
        pitch = (np.round(pitch / PITCH_GRID) * PITCH_GRID).astype(np.float32)
        pulses, phase = synthesis.pulse_train(pitch, kept.start, turns)
        hiss = synthesis.noise(seed, start, mel.shape[1])
        wave = synthesis.render(pulses, hiss, filters, mel, self.bundle.config.corrections, self.bundle.threads)
        samples = slice(kept.start * MEL.hop_length, kept.stop * MEL.hop_length)
        return wave[samples], float(phase[samples.stop - 1] % 1.0)

    def _gain(self, level: float, seconds: float, name: str) -> float:
        if seconds * MEL.sample_rate < SHORTEST:
            raise InputError(
                f"{name} is shorter than one frame ({SHORTEST / MEL.sample_rate:.3f} s); give a longer one"
            )
        if level == 0.0:
            raise InputError(f"{name} is silent; give a recording with speech")
        return TARGET_LEVEL / level

    def _convert_mel(
        self, mel: Array, start: int, voice: Voice, own: Voice | None, steps: int, seed: int, timing: Timing
    ) -> tuple[Array, Array | None]:
        """A window of mel frames (80, T), the first of which is frame `start`, in the other voice; and the pitch
        (T,) in Hz, 0 where unvoiced, for a converter that is told it.

        Every estimate goes beyond what the converter says of the voice, away from what it says of the source's `own`
        (`guided`): what is left of that voice in content and x_t is in both.
        """
        bundle, config = self.bundle, self.bundle.config
        content = timing.run("content", lambda: self._content(mel))
        heard = timing.run("pitch", lambda: self._pitch(mel))
        pitch = heard * np.float32(voice.pitch / own.pitch if own else 1.0)  # the melody, at the voice's height
        noise = partial(_noise, seed, start, mel.shape[1], temperature=config.temperature)
        x0 = (mel - bundle.mel_mean) / bundle.mel_std
        x = initial_state(config.initial, x0, noise(0), float(bundle.alpha_bar[config.start]))

        def estimate(x_t: Array, t: int, of: Voice) -> Array:
            hints = {"keys": of.keys[None], "reference": of.mel[None]} if config.retrieval else {}
            if config.harmonics:
                hints["pitch"] = pitch[None]
            return bundle.run(
                "converter",
                x=x_t[None].astype(np.float32),
                step=np.array([t], np.int64),
                alpha_bar=np.array([bundle.alpha_bar[t]], np.float32),
                speaker=of.embedding[None],
                content=content[None],
                **hints,
            )[0][0]

        def predict_eps(x_t: Array, t: int) -> Array:
            said = estimate(x_t, t, voice)
            if own is not None and config.guidance:
                said = guided(said, estimate(x_t, t, own), config.guidance, lowpass_projection(config.guidance_cosines))
            return eps_from_x0(x_t, said, float(bundle.alpha_bar[t]))

        levels = subsequence(steps, config.start)
        x = timing.run("converter", lambda: sample(predict_eps, x, levels, bundle.alpha_bar, noise))
        converted = (x * bundle.mel_std + bundle.mel_mean).astype(np.float32)
        return converted, pitch if config.harmonics else None


def _noise(seed: int, start: int, frames: int, stream: int, *, temperature: float) -> Array:
    return np.float32(temperature) * frame_noise(seed, start, frames, MEL.n_mels, stream)


def _checked(wave: Array) -> Array:
    wave = np.asarray(wave, dtype=np.float32)
    if wave.ndim != 1:
        raise InputError(f"mono samples of shape (N,) are needed, got shape {wave.shape}; average the channels")
    if not np.isfinite(wave).all():
        raise InputError("the samples hold NaN or infinite values; clean them first")
    return wave


def _level(blocks: Iterable[Array]) -> float:
    meter = LevelMeter()
    for block in blocks:
        meter.add(block)
    return meter.level


def _even(mel: Array) -> Array:
    return np.pad(mel, ((0, 0), (0, mel.shape[1] % 2)), mode="edge")


def _regroup(blocks: Iterable[Array], size: int) -> Iterator[Array]:
    """The same samples in blocks of `size`; the last may be longer by less than half or shorter."""
    rest = np.zeros(0, np.float32)
    for block in blocks:
        rest = np.concatenate([rest, block])
        while len(rest) >= size + size // 2:
            yield rest[:size]
            rest = rest[size:]
    yield rest


def _exactly(blocks: Iterable[Array], samples: int) -> Iterator[Array]:
    """Cut or fill with silence to the sample."""
    done = 0
    for block in blocks:
        block = block[: samples - done]
        done += len(block)
        if len(block):
            yield block
    if done < samples:
        yield np.zeros(samples - done, np.float32)


def _mel_frames(blocks: Iterable[Array], gain: float, stride: int) -> Iterator[Array]:
    """Log-mel frames (80, n) of a signal that arrives in blocks: the frames of `log_mel`, whatever the blocks.

    The signal is filled with silence to whole hops, their number a multiple of `stride`.
    """
    pad, hop = MEL.padding, MEL.hop_length
    buffer, total, mirrored = np.zeros(0, np.float32), 0, False
    for block in blocks:
        buffer = np.concatenate([buffer, block * np.float32(gain)])
        total += len(block)
        if not mirrored:
            if len(buffer) <= pad:
                continue
            buffer = np.concatenate([buffer[pad:0:-1], buffer])
            mirrored = True
        # One mirror's length stays back: the end of the signal needs it.
        count = (len(buffer) - 3 * pad) // hop
        if count > 0:
            yield log_mel_of_padded(buffer[: count * hop + 2 * pad])
            buffer = buffer[count * hop :]
    buffer = np.concatenate([buffer, np.zeros(-total % (hop * stride), np.float32)])
    if not mirrored:
        buffer = np.concatenate([buffer[pad:0:-1], buffer])
    yield log_mel_of_padded(np.concatenate([buffer, buffer[-2 : -pad - 2 : -1]]))


def _begun(frames: Iterator[Array]) -> tuple[Array, Iterator[Array]]:
    """The first frames of a stream (80, n), enough to hear whose voice it is, and the whole stream. How many blocks
    that takes depends on their sizes; what counts of them, the first of the speech, does not."""
    blocks, heard, length = [], 0, 0
    for block in frames:
        blocks.append(block)
        heard, length = heard + int((speech_probability(block) > 0.5).sum()), length + block.shape[1]
        if heard >= OWN_SPEECH or length >= OWN_SEARCHED:
            break
    return np.concatenate(blocks, axis=1)[:, :OWN_SEARCHED], chain(blocks, frames)


def _windows(
    frames: Iterable[Array], chunk: int, left: int, right: int, stride: int
) -> Iterator[tuple[Array, int, int, int]]:
    """Cut a stream of mel frames into chunks with context.

    Yields:
        (window (80, T), absolute index of its first frame, first and last + 1 frame to keep). Every window
        starts and ends on a multiple of `stride`, or at the end of the signal, which is one too.
    """
    chunk = max(stride, chunk // stride * stride)
    buffer, base, first = np.zeros((MEL.n_mels, 0), np.float32), 0, 0
    for block in frames:
        buffer = np.concatenate([buffer, block], axis=1)
        while base + buffer.shape[1] >= first + chunk + right + stride:
            last = first + chunk
            yield buffer[:, : last + right - base], base, first, last
            first = last
            start = max(0, first - left)
            buffer, base = buffer[:, start - base :], start
    yield buffer, base, first, base + buffer.shape[1]
