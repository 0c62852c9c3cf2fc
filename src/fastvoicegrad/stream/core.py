"""The conversion of a stream at 22,050 Hz: samples in, the samples of whole hops out, and one state between.

    samples -> gain -> mel -> content, pitch -> converter -> renderer -> samples

Hop k comes out when the samples that its mel frame and its look-ahead need are there. Nothing is computed twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from ..mel import MEL, Array
from .bundle import StreamBundle, StreamVoice
from .frontend import beyond, stream_mel
from .rendering import RenderState, render
from .running import RunningGain, RunningMedian, ramp

FADE = 8  # frames (93 ms) in which one voice becomes another
MOST_FRAMES = 256  # that the networks read at once
HOP = MEL.hop_length


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
    """A target that fades out: its converter's state and the frames that are left."""

    target: Target
    cache: Array
    left: int = FADE


@dataclass
class State:
    """Everything that passes from block to block. `copy.deepcopy` makes a snapshot."""

    gain: RunningGain
    median: RunningMedian
    samples: Array  # scaled, from the start of the next frame on
    caches: dict[str, Array]  # of the networks
    gains: list[tuple[float, float]] = field(default_factory=list)  # of the hops that did not come out yet
    late: int = 0  # outputs of the encoders that belong to no frame and are still to come
    fade: Fade | None = None
    render: RenderState = field(default_factory=RenderState)


def begin(bundle: StreamBundle, gain: RunningGain, median: RunningMedian) -> State:
    """The state before the first sample: silence came before."""
    caches = {name: bundle.empty(name) for name in ("content", "pitch", "converter", "renderer")}
    silence = np.zeros(beyond(bundle.config.window), np.float32)
    return State(gain, median, silence, caches, late=bundle.config.lookahead)


def advance(bundle: StreamBundle, state: State, target: Target, samples: Array, seed: int) -> Array:
    """Take samples ``(N,)``; gives the hops that they complete, ``(256 n,)``. The state moves on."""
    scaled, gains = state.gain.scale(samples)
    state.gains += gains
    state.samples = np.concatenate([state.samples, scaled])
    context = bundle.config.window - HOP
    parts = [np.zeros(0, np.float32)]
    while (frames := min((len(state.samples) - context) // HOP, MOST_FRAMES)) > 0:
        mel = stream_mel(state.samples[: frames * HOP + context], bundle.config.window)
        state.samples = state.samples[frames * HOP :]
        parts.append(_convert(bundle, state, target, mel, seed))
    return np.concatenate(parts)


def _convert(bundle: StreamBundle, state: State, target: Target, mel: Array, seed: int) -> Array:
    """New frames ``(n, 80)`` -> the samples of as many hops, or of fewer at the start."""
    content, pitch = (_step(bundle, state, name, mel=mel[None])[0] for name in ("content", "pitch"))
    missing = min(state.late, len(mel))
    state.late -= missing
    content, pitch = content[:, missing:], pitch[0, missing:]
    if not len(pitch):
        return np.zeros(0, np.float32)
    converted, moved = _converted(bundle, state, target, content, pitch)
    filters = _step(bundle, state, "renderer", mel=converted, pitch=moved[None])
    wave = render((filters[0][0], filters[1][0], filters[2][0]), moved, seed, state.render)
    gains, state.gains = state.gains[: len(moved)], state.gains[len(moved) :]
    return wave / np.concatenate([ramp(*gain) for gain in gains])


def _step(bundle: StreamBundle, state: State, name: str, **inputs: Array) -> list[Array]:
    """A network's outputs; its cache moves on."""
    *outputs, state.caches[name] = bundle.run(name, **inputs, state=state.caches[name])
    return outputs


def _converted(bundle: StreamBundle, state: State, target: Target, content: Array, pitch: Array) -> tuple[Array, Array]:
    """Mel ``(1, n, 80)`` in the target's voice and its pitch ``(n,)``; after a change, faded from the voice before."""
    medians = [state.median.add(float(hertz)) for hertz in pitch]
    ratios = np.array([target.pitch_ratio(median) for median in medians])
    fade = state.fade
    if fade is not None:
        count = min(fade.left, len(pitch))
        shares = np.ones(len(pitch), np.float32)  # of the new target
        shares[:count] = 1 - (fade.left - np.arange(count)) / (FADE + 1)
        before = np.array([fade.target.pitch_ratio(median) for median in medians])
        ratios = before ** (1 - shares) * ratios**shares
    moved = (pitch * ratios).astype(np.float32)
    if fade is not None:
        old, fade.cache = _in_voice(bundle, fade.target, content[:, :count], moved[:count], fade.cache)
        fade.left -= count
        state.fade = fade if fade.left else None
    mel, state.caches["converter"] = _in_voice(bundle, target, content, moved, state.caches["converter"])
    if fade is not None:
        share = shares[None, :count, None]
        mel[:, :count] = share * mel[:, :count] + (1 - share) * old
    return mel, moved


def _in_voice(bundle: StreamBundle, target: Target, content: Array, pitch: Array, cache: Array) -> tuple[Array, Array]:
    mel, cache = bundle.run(
        "converter",
        content=content,
        pitch=pitch[None],
        film=target.voice.film,
        memory=target.voice.memory,
        state=cache,
    )
    return mel, cache


def change(state: State, old: Target) -> None:
    """Starts to fade from a target to the one of the next samples."""
    state.fade = Fade(old, state.caches["converter"].copy())


def milliseconds(samples: float, rate: float = MEL.sample_rate) -> float:
    """Of so many samples, rounded up to a tenth."""
    return math.ceil(samples / rate * 1e4) / 10
