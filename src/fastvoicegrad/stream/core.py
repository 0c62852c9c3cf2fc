"""The conversion of a stream at 22,050 Hz: samples in, the samples of whole hops out, and one state between.

    samples -> gain -> mel -> content, pitch -> converter -> sharpening -> renderer -> samples

Hop k comes out when the samples that its mel frame and its look-ahead need are there. Nothing is computed twice.
A stream is a generator that asks for one step after the other. `advance` answers many of them together. For one hop it
yields these calls and gets these answers:

    Call(_mel_of(768), samples)                      -> mel (1, 1, 80)
    Call("content", mel, state)                      -> content (1, 1, C), new state
    Call("pitch", mel, state)                        -> pitch (1, 1), new state
    Call("converter", content, pitch, voice, state)  -> mel (1, 1, 80), new state
    Call(_sharpen_of(1.1), mel)                      -> mel (1, 1, 80); no call where the bundle's factor is 1
    Call("renderer", mel, pitch, state)              -> filters of pulses and noise, new state
    Call(render, filters, pitch, noise, state)       -> samples (1, 256), new state
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from ..errors import InputError
from ..mel import MEL, Array
from ..postfilter import sharpen
from .bundle import StreamBundle, StreamVoice
from .config import StreamConfig
from .frontend import beyond, stream_mel
from .rendering import RenderState, noise, render, silence
from .running import RunningGain, RunningMedian, ramp
from .together import Answer, Call, run_all

FADE = 8  # frames (93 ms) in which one voice becomes another
MOST_FRAMES = 256  # that the networks read at once
HOP = MEL.hop_length
Steps = Generator[Call, Sequence[Any], Array]


@dataclass
class Target:
    """What the stream is converted to: a voice, and the height of its melody.

    Attributes:
        semitones: by which the melody lies above the voice's height.
        keep_pitch: the melody keeps the source's height instead.
    """

    voice: StreamVoice
    semitones: float = 0.0
    keep_pitch: bool = False

    def pitch_ratio(self, median: float) -> float:
        """By which the source's F0 is multiplied."""
        return (1.0 if self.keep_pitch else self.voice.pitch / median) * 2.0 ** (self.semitones / 12)


@dataclass
class Fade:
    """A target that fades out.

    Attributes:
        cache: its converter's state; None where the voice stays and its pitch alone changes.
        left: frames until it is gone.
        following: the target that the next fade leads to.
    """

    target: Target
    cache: Array | None
    left: int = FADE
    following: Target | None = None


@dataclass
class State:
    """Everything that passes from block to block. `copy.deepcopy` makes a snapshot."""

    target: Target
    seed: int  # of the noise
    gain: RunningGain
    median: RunningMedian
    samples: Array  # scaled, from the start of the next frame on
    caches: dict[str, Array]  # of the networks
    gains: list[tuple[float, float]] = field(default_factory=list)  # of the hops that did not come out yet
    late: int = 0  # outputs of the encoders that belong to no frame and are still to come
    fade: Fade | None = None
    hop: int = 0  # number of the next one that comes out
    render: RenderState = field(default_factory=silence)


def begin(bundle: StreamBundle, target: Target, seed: int, gain: RunningGain, median: RunningMedian) -> State:
    """The state before the first sample: silence came before."""
    caches = {name: bundle.empty(name) for name in ("content", "pitch", "converter", "renderer")}
    before = np.zeros(beyond(bundle.config.window), np.float32)
    return State(target, seed, gain, median, before, caches, late=bundle.config.lookahead)


def advance(bundle: StreamBundle, states: Sequence[State], blocks: Sequence[Array]) -> list[Array | InputError]:
    """Take samples ``(N,)`` of each of several streams. The states move on.

    Returns:
        for each stream the hops that are complete now, ``(256 n,)``, or the error that ends it: the others go on.
    """
    streams = [_hops(bundle.config, state, samples) for state, samples in zip(states, blocks, strict=True)]
    results: list[Array | InputError] = [np.zeros(0, np.float32)] * len(streams)
    answers: dict[int, Answer | None] = dict.fromkeys(range(len(streams)))  # None starts a generator
    while answers:
        calls = dict[int, Call]()
        for number, answer in answers.items():
            if isinstance(answer, InputError):
                results[number] = answer
                continue
            try:
                calls[number] = streams[number].send(answer)  # type: ignore[arg-type]
            except StopIteration as end:
                results[number] = end.value
        answers = dict(zip(calls, run_all(bundle, list(calls.values())), strict=True))
    return results


@lru_cache(maxsize=4)
def _mel_of(window: int) -> Callable[[Array], list[Array]]:
    return lambda samples: [stream_mel(samples, window)]


@lru_cache(maxsize=4)
def _sharpen_of(gain: float) -> Callable[[Array], list[Array]]:
    """`sharpen` of mels ``(B, n, 80)``. Each frame is by itself, so nothing waits."""

    def sharpened(mel: Array) -> list[Array]:
        return [np.ascontiguousarray(sharpen(mel.reshape(-1, MEL.n_mels).T, gain).T).reshape(mel.shape)]

    return sharpened


def _hops(config: StreamConfig, state: State, samples: Array) -> Steps:
    """Samples ``(N,)`` -> the samples of the hops that they complete."""
    scaled, gains = state.gain.scale(samples)
    state.gains += gains
    state.samples = np.concatenate([state.samples, scaled])
    context, parts = config.window - HOP, [np.zeros(0, np.float32)]
    while (frames := min((len(state.samples) - context) // HOP, _most_frames(state))) > 0:
        (mel,) = yield Call(_mel_of(config.window), {"samples": state.samples[None, : frames * HOP + context]})
        state.samples = state.samples[frames * HOP :]
        parts.append((yield from _convert(state, mel, config.sharpening)))
    return np.concatenate(parts)


def _most_frames(state: State) -> int:
    """Frames that the networks may read at once: a fade that follows another one begins with a frame of its own."""
    return state.fade.left if state.fade is not None and state.fade.following is not None else MOST_FRAMES


def _convert(state: State, mel: Array, sharpening: float) -> Steps:
    """New frames ``(1, n, 80)`` -> the samples of as many hops, or of fewer at the start."""
    (content,) = yield from _step(state, "content", mel=mel)
    (pitch,) = yield from _step(state, "pitch", mel=mel)
    missing = min(state.late, pitch.shape[1])
    state.late -= missing
    content, pitch = content[:, missing:], pitch[:, missing:]
    if not pitch.size:
        return np.zeros(0, np.float32)
    shares = _shares(state, pitch.shape[1])
    pitch = _moved(state, pitch[0], shares)[None]
    mel = yield from _converted(state, content, pitch, shares)
    if sharpening != 1:
        (mel,) = yield Call(_sharpen_of(sharpening), {"mel": mel})
    filters = yield from _step(state, "renderer", mel=mel, pitch=pitch)
    wave = yield from _rendered(state, filters, pitch)
    gains, state.gains = state.gains[: pitch.shape[1]], state.gains[pitch.shape[1] :]
    return wave / np.concatenate([ramp(*gain) for gain in gains])


def _rendered(state: State, filters: Sequence[Array], pitch: Array) -> Steps:
    """Filters and pitch of the next n hops -> samples ``(256 n,)``."""
    inputs = dict(zip(("magnitude", "phase", "noise_magnitude"), filters, strict=True))
    hiss = noise(state.seed, state.hop, pitch.shape[1])[None]
    wave, *after = yield Call(render, {**inputs, "pitch": pitch, "noise": hiss, **state.render._asdict()})
    state.hop, state.render = state.hop + pitch.shape[1], RenderState(*after)
    return wave[0]


def _step(state: State, name: str, **inputs: Array) -> Generator[Call, Sequence[Any], list[Array]]:
    """A network's outputs; its cache moves on."""
    *outputs, state.caches[name] = yield Call(name, {**inputs, "state": state.caches[name]})
    return outputs


def _shares(state: State, frames: int) -> Array:
    """Share ``(frames,)`` of the target in what comes next; the rest belongs to the target that fades out."""
    left = state.fade.left if state.fade is not None else 0
    return np.minimum(1 - (left - np.arange(frames, dtype=np.float32)) / (FADE + 1), 1)


def _moved(state: State, pitch: Array, shares: Array) -> Array:
    """Pitch ``(n,)`` of the source -> of the result."""
    medians = [state.median.add(float(hertz)) for hertz in pitch]
    ratios = np.array([state.target.pitch_ratio(median) for median in medians])
    if state.fade is not None:
        before = np.array([state.fade.target.pitch_ratio(median) for median in medians])
        ratios = before ** (1 - shares) * ratios**shares
    return (pitch * ratios).astype(np.float32)


def _converted(state: State, content: Array, pitch: Array, shares: Array) -> Steps:
    """Content ``(1, n, C)`` and the result's pitch ``(1, n)`` -> mel ``(1, n, 80)``, faded from the voice before."""
    inputs = {"content": content, "pitch": pitch, **_of_voice(state.target)}
    mel = (yield from _step(state, "converter", **inputs))[0]
    fade = state.fade
    if fade is None:
        return mel
    count = min(fade.left, pitch.shape[1])
    if fade.cache is not None:
        inputs = {"content": content[:, :count], "pitch": pitch[:, :count], **_of_voice(fade.target)}
        old, fade.cache = yield Call("converter", {**inputs, "state": fade.cache})
        share = shares[None, :count, None]
        mel = np.concatenate([share * mel[:, :count] + (1 - share) * old, mel[:, count:]], 1)
    fade.left -= count
    if not fade.left:
        state.fade = None
        if fade.following is not None:
            change(state, fade.following)
    return mel


def _of_voice(target: Target) -> dict[str, Array]:
    return {"film": target.voice.film, "memory": target.voice.memory}


def change(state: State, target: Target) -> None:
    """Starts to fade to another target, or does so when the fade that goes on is over."""
    if state.fade is not None:
        state.fade.following = target
        return
    same_voice = target.voice is state.target.voice
    state.fade = Fade(state.target, None if same_voice else state.caches["converter"].copy())
    state.target = target
