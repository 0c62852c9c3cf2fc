"""Conversion while somebody speaks: as many samples out as in, a constant time later.

stream = StreamingConverter(StreamBundle.open(), VoiceConverter.load().voice("nora"), rate=48000)
output = stream.push(block)  # len(output) == len(block), stream.latency samples late
rest = stream.flush()  # the last stream.latency samples
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..audio import HIGHEST_RATE, LOWEST_RATE
from ..errors import InputError
from ..mel import MEL, Array
from ..settings import check_seed, check_semitones
from ..voice import Voice
from .bundle import StreamBundle, StreamVoice
from .core import State, Target, advance, begin, change
from .resampling import Resampler, reach_of
from .running import RunningGain, RunningMedian

LOUDEST = 8.0  # 18 dB above full scale: beyond it a sample is damaged, and its square would drive the gain


@dataclass
class StreamState:
    """The state of a whole stream: of the core, of both resamplers, and the samples that wait to go out."""

    core: State
    arriving: Resampler
    leaving: Resampler
    waiting: Array


class StreamingConverter:
    """Converts a stream to a voice, block by block. Blocks of any size give the same samples.

    Args:
        bundle: opened by `StreamBundle.open`.
        voice: the target, of the full bundle that the stream bundle belongs to.
        rate: of the samples, Hz.
        semitones: by which the result lies above the target's height.
        keep_pitch: keep the source's height instead of the target's.
        gain: brings the speech to the networks' level; None: it is measured as the stream goes on.
        source_pitch: median F0 of the source in Hz; None: it is measured as the stream goes on.
        seed: of the noise.
    Raises:
        InputError: a voice of another bundle, or a setting out of range.
        TypeError: no voice.
    """

    def __init__(
        self,
        bundle: StreamBundle,
        voice: Voice | StreamVoice,
        rate: int = MEL.sample_rate,
        *,
        semitones: float = 0.0,
        keep_pitch: bool = False,
        gain: float | None = None,
        source_pitch: float | None = None,
        seed: int = 0,
    ) -> None:
        if not (LOWEST_RATE <= rate <= HIGHEST_RATE and rate == int(rate)):
            raise InputError(f"rate must be whole and lie between {LOWEST_RATE} and {HIGHEST_RATE} Hz, got {rate}")
        check_seed(seed)
        check_semitones(semitones)
        if not all(value is None or 0 < value < 1e4 for value in (gain, source_pitch)):
            raise InputError("gain and source_pitch must be above 0 and below 10000")
        self.bundle, self.rate, self.seed = bundle, int(rate), seed
        self._gain, self._source_pitch = gain, source_pitch
        self._target = Target(self._prepared(voice), semitones, keep_pitch)
        bundle.warm_up()
        self.reset()

    def _prepared(self, voice: Voice | StreamVoice) -> StreamVoice:
        if not isinstance(voice, Voice | StreamVoice):
            raise TypeError(f"a stream takes a Voice, not {type(voice).__name__}; VoiceConverter.voice gives one")
        if isinstance(voice, Voice):
            return self.bundle.voice(voice)
        if voice.converter != self.bundle.converter_fingerprint:
            raise InputError("the voice was prepared for another stream bundle; prepare it again with this one")
        return voice

    @property
    def latency(self) -> int:
        """Samples at `rate` by which the output is late."""
        core = self.bundle.config.latency + reach_of(MEL.sample_rate, self.rate)
        return core * self.rate // MEL.sample_rate + reach_of(self.rate, MEL.sample_rate)

    def reset(self) -> None:
        """Back to the time before the first sample. Voice and pitch stay."""
        gain = RunningGain(self._gain or 1.0, self._gain is not None)
        median = RunningMedian(self._source_pitch, True) if self._source_pitch else RunningMedian()
        self._state = StreamState(
            begin(self.bundle, self._target, self.seed, gain, median),
            Resampler(self.rate, MEL.sample_rate),
            Resampler(MEL.sample_rate, self.rate),
            np.zeros(self.latency, np.float32),
        )

    @property
    def state(self) -> StreamState:
        """A snapshot of the stream; setting it goes back there."""
        return copy.deepcopy(self._state)

    @state.setter
    def state(self, state: StreamState) -> None:
        self._state = copy.deepcopy(state)
        core = self._state.core
        self._target = core.fade.following if core.fade and core.fade.following else core.target

    # -- sound ------------------------------------------------------------------------------------------------

    def push(self, samples: Array) -> Array:
        """Takes the next samples and gives as many, `latency` samples late. The first ones are silence.

        Args:
            samples: ``(N,)``, floats of full scale +-1, any N. Samples that are no numbers count as silence.
        Raises:
            InputError: another shape or type; a network that fails, after which `reset` begins a new stream.
        """
        output = push_all([self], [samples])[0]
        if isinstance(output, InputError):
            raise output
        return output

    def flush(self) -> Array:
        """The end of a stream: its last `latency` samples. Afterwards a new one can begin."""
        rest = self.push(np.zeros(self.latency, np.float32))
        self.reset()
        return rest

    def convert(self, samples: Array) -> Array:
        """A whole recording at once, ``(N,)`` -> ``(N,)`` without the delay, from a fresh state to a fresh state."""
        self.reset()
        return np.concatenate([self.push(samples), self.flush()])[self.latency :]

    # -- changes while it runs --------------------------------------------------------------------------------

    def set_voice(self, voice: Voice | StreamVoice) -> None:
        """Another target for the samples to come. It fades in within 93 ms, after a fade that still goes on.

        Args:
            voice: a `StreamVoice` of `StreamBundle.voice` costs no time here.
        Raises:
            InputError: a voice of another bundle.
        """
        self._change(replace(self._target, voice=self._prepared(voice)))

    def set_pitch(self, semitones: float = 0.0, keep_pitch: bool = False) -> None:
        """Another height of the melody for the samples to come; see the class.

        Raises:
            InputError: out of range.
        """
        check_semitones(semitones)
        self._change(replace(self._target, semitones=semitones, keep_pitch=keep_pitch))

    def _change(self, target: Target) -> None:
        old, self._target = self._target, target
        if (target.semitones, target.keep_pitch) != (old.semitones, old.keep_pitch) or target.voice is not old.voice:
            change(self._state.core, target)

    # -- the parts of `push_all` ------------------------------------------------------------------------------

    def _arrive(self, samples: Array) -> Array:
        """Samples at `rate` -> at 22,050 Hz."""
        samples = samples.astype(np.float32)
        if samples.size and not (samples.min() >= -LOUDEST and samples.max() <= LOUDEST):
            samples = np.where(np.isfinite(samples), samples, np.float32(0)).clip(-LOUDEST, LOUDEST)
        return self._state.arriving.push(samples)

    def _leave(self, converted: Array, count: int) -> Array:
        """Converted samples at 22,050 Hz -> the next `count` samples at `rate`."""
        state = self._state
        waiting = np.concatenate([state.waiting, state.leaving.push(converted)])
        state.waiting = waiting[count:].copy()
        return waiting[:count].copy()


def push_all(converters: Sequence[StreamingConverter], blocks: Sequence[Array]) -> list[Array | InputError]:
    """`StreamingConverter.push` for several streams at once, which takes far less time than one after the other.

    Args:
        converters: different ones, of one bundle.
        blocks: the next samples of each, ``(N,)``, any N.
    Returns:
        for each stream as many samples, or the error that its `push` would raise: the other streams go on.
    Raises:
        InputError: a block of another shape or type, or converters of several bundles.
    """
    bundles = {id(converter.bundle): converter.bundle.config for converter in converters}
    if len(bundles) > 1 and any(config != converters[0].bundle.config for config in bundles.values()):
        raise InputError("streams of several bundles cannot be converted together")
    blocks = [_block(block) for block in blocks]
    arrived = [converter._arrive(block) for converter, block in zip(converters, blocks, strict=True)]
    states = [converter._state.core for converter in converters]
    results = advance(converters[0].bundle, states, arrived) if states else []
    return [
        hops if isinstance(hops, InputError) else converter._leave(hops, len(block))
        for converter, block, hops in zip(converters, blocks, results, strict=True)
    ]


def _block(samples: Array) -> Array:
    samples = np.asarray(samples)
    if samples.ndim != 1 or samples.dtype.kind != "f":
        raise InputError(f"a stream takes one channel of floats, not {samples.dtype} of shape {samples.shape}")
    return samples
