"""The conversion of streams at 22,050 Hz: samples in, the samples of whole hops out, and one state between.

    samples -> gain -> mel -> content, pitch -> converter -> sharpening -> renderer -> samples

Hop k comes out when the samples that its mel frame and its look-ahead need are there. Nothing is computed twice.
Several streams move on in rounds. A round takes all new frames of each stream, up to `MOST_FRAMES`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise

import numpy as np

from ..errors import InputError
from ..mel import MEL, Array
from ..postfilter import sharpen
from .bundle import StreamBundle, StreamVoice
from .config import StreamConfig
from .frontend import beyond, framed, mel_of_windows
from .rendering import RenderState, noise, render, silence
from .running import RunningGain, RunningMedian, ramps
from .together import Inputs, run_all

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

    def for_a_round(self) -> State:
        """A copy of what a round changes in place."""
        median = replace(self.median, pitches=self.median.pitches.copy())
        fade = replace(self.fade) if self.fade is not None else None
        return replace(self, median=median, caches=dict(self.caches), fade=fade)


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
    for state, samples in zip(states, blocks, strict=True):
        scaled, gains = state.gain.scale(samples)
        state.samples, state.gains = np.concatenate([state.samples, scaled]), state.gains + gains
    parts: list[list[Array]] = [[np.zeros(0, np.float32)] for _ in states]
    errors = dict[int, InputError]()
    while True:
        ready = [n for n, state in enumerate(states) if n not in errors and _new_frames(bundle.config, state)]
        if not ready:
            return [errors.get(number) or np.concatenate(hops) for number, hops in enumerate(parts)]
        for number, hops in zip(ready, _round(bundle, [states[number] for number in ready]), strict=True):
            if isinstance(hops, InputError):
                errors[number] = hops
            else:
                parts[number].append(hops)


def _new_frames(config: StreamConfig, state: State) -> int:
    """Frames of the next round. A fade that follows another one begins with a frame of its own."""
    complete = max(0, (len(state.samples) - (config.window - HOP)) // HOP)
    follows = state.fade is not None and state.fade.following is not None
    return min(complete, state.fade.left if state.fade is not None and follows else MOST_FRAMES)


def _round(bundle: StreamBundle, states: Sequence[State]) -> list[Array | InputError]:
    """The hops ``(256 n,)`` of streams with new frames. Where a network fails, each stream has a round of its own."""
    later = [state.for_a_round() for state in states]
    try:
        hops: list[Array | InputError] = [*_hops(bundle, later)]
    except InputError as error:  # perhaps of one stream alone
        return [error] if len(states) == 1 else [_round(bundle, [state])[0] for state in states]
    for state, after in zip(states, later, strict=True):
        vars(state).update(vars(after))
    return hops


@dataclass
class _Frames:
    """A stream's frames of a round. Arrays have a batch of one.

    Attributes:
        content: ``(1, n, C)``
        pitch: ``(1, n)`` in Hz, first the source's, then the result's.
        shares: ``(n,)``, of the target in what comes out; the rest belongs to the target that fades out.
    """

    state: State
    content: Array
    pitch: Array
    shares: Array

    def __len__(self) -> int:
        return self.pitch.shape[1]


def _hops(bundle: StreamBundle, states: Sequence[State]) -> list[Array]:
    """The hops of a round. A stream that begins may have none: its first frames belong to the look-ahead."""
    mels = [{"mel": mel} for mel in _mels(bundle.config, states)]
    encoded = [_step(bundle, name, states, mels) for name in ("content", "pitch")]
    streams = [_without_late(state, *outputs) for state, *outputs in zip(states, *encoded, strict=True)]
    sounding = [frames for frames in streams if len(frames)]
    hops = iter(_decoded(bundle, sounding) if sounding else [])
    return [next(hops) if len(frames) else np.zeros(0, np.float32) for frames in streams]


def _mels(config: StreamConfig, states: Sequence[State]) -> list[Array]:
    """The new frames of each stream, ``(1, n, 80)``. Their first samples are used up; the others are context."""
    windows = list[Array]()
    for state in states:
        used = HOP * _new_frames(config, state)
        windows.append(framed(state.samples[: used + config.window - HOP], config.window, HOP))
        state.samples = state.samples[used:]
    return _split(mel_of_windows(np.concatenate(windows)), [len(one) for one in windows])


def _split(rows: Array, counts: Sequence[int]) -> list[Array]:
    """Rows ``(N, ...)`` of several streams -> those of each, ``(1, n, ...)``."""
    return [rows[None, start:stop] for start, stop in pairwise([0, *accumulate(counts)])]


def _step(bundle: StreamBundle, name: str, states: Sequence[State], streams: Sequence[Inputs]) -> list[list[Array]]:
    """A network's outputs for each stream. The caches move on."""
    given = [{**inputs, "state": state.caches[name]} for state, inputs in zip(states, streams, strict=True)]
    outputs = run_all(bundle, name, given)
    for state, output in zip(states, outputs, strict=True):
        state.caches[name] = output.pop()
    return outputs


def _without_late(state: State, content: Sequence[Array], pitch: Sequence[Array]) -> _Frames:
    """What the encoders give, without the outputs that belong to no frame."""
    missing = min(state.late, pitch[0].shape[1])
    state.late -= missing
    shares = _shares(state, pitch[0].shape[1] - missing)
    return _Frames(state, content[0][:, missing:], pitch[0][:, missing:], shares)


def _shares(state: State, frames: int) -> Array:
    """Share ``(frames,)`` of the target in what comes next; the rest belongs to the target that fades out."""
    left = state.fade.left if state.fade is not None else 0
    return np.minimum(1 - (left - np.arange(frames, dtype=np.float32)) / (FADE + 1), 1)


def _decoded(bundle: StreamBundle, streams: Sequence[_Frames]) -> list[Array]:
    """The hops ``(256 n,)`` of streams with at least one frame."""
    states, counts = [frames.state for frames in streams], [len(frames) for frames in streams]
    for frames in streams:
        frames.pitch = _moved(frames)
    mels = _voiced(bundle, streams)
    if (sharpening := bundle.config.sharpening) != 1:  # each frame is by itself, so nothing waits
        mels = _split(np.ascontiguousarray(sharpen(np.concatenate(mels, 1)[0].T, sharpening).T), counts)
    inputs = [{"mel": mel, "pitch": frames.pitch} for mel, frames in zip(mels, streams, strict=True)]
    filters = [np.concatenate(parts, 1)[0] for parts in zip(*_step(bundle, "renderer", states, inputs), strict=True)]
    return [hops.ravel() for hops in _split(_rendered(streams, filters), counts)]


def _moved(frames: _Frames) -> Array:
    """Pitch ``(1, n)`` of the source -> of the result."""
    state, shares = frames.state, frames.shares
    medians = [state.median.add(hertz) for hertz in frames.pitch[0].tolist()]
    ratios = np.array([state.target.pitch_ratio(median) for median in medians])
    if state.fade is not None:
        before = np.array([state.fade.target.pitch_ratio(median) for median in medians])
        ratios = before ** (1 - shares) * ratios**shares
    return (frames.pitch * ratios).astype(np.float32)


def _voiced(bundle: StreamBundle, streams: Sequence[_Frames]) -> list[Array]:
    """Mels ``(1, n, 80)`` of the target voices, faded from the voices before."""
    inputs = [_read(frames, frames.state.target, frames.state.caches["converter"]) for frames in streams]
    fades = [fade if (fade := frames.state.fade) and fade.cache is not None else None for frames in streams]
    inputs += [_read(one, fade.target, fade.cache, fade.left) for one, fade in zip(streams, fades, strict=True) if fade]
    outputs = run_all(bundle, "converter", inputs)
    mels, before = list[Array](), iter(outputs[len(streams) :])
    for frames, fade, (mel, cache) in zip(streams, fades, outputs, strict=False):
        frames.state.caches["converter"] = cache
        if fade:
            old, fade.cache = next(before)
            share = frames.shares[: old.shape[1], None]
            mel = np.concatenate([share * mel[:, : len(share)] + (1 - share) * old, mel[:, len(share) :]], 1)
        _fade_on(frames.state, len(frames))
        mels.append(mel)
    return mels


def _read(frames: _Frames, target: Target, cache: Array | None, most: int = MOST_FRAMES) -> Inputs:
    """What the converter reads for a target."""
    assert cache is not None
    voice = {"film": target.voice.film, "memory": target.voice.memory}
    return {"content": frames.content[:, :most], "pitch": frames.pitch[:, :most], **voice, "state": cache}


def _fade_on(state: State, frames: int) -> None:
    """Counts the frames of a fade. At its end the one that follows begins."""
    if state.fade is None:
        return
    state.fade.left -= min(state.fade.left, frames)
    if not state.fade.left:
        following, state.fade = state.fade.following, None
        if following is not None:
            change(state, following)


def _rendered(streams: Sequence[_Frames], filters: Sequence[Array]) -> Array:
    """Samples ``(N, 256)`` of all hops, at the level of the source."""
    states, counts = [frames.state for frames in streams], [len(frames) for frames in streams]
    hiss = np.concatenate([noise(state.seed, state.hop, count) for state, count in zip(states, counts, strict=True)])
    pitch = np.concatenate([frames.pitch[0] for frames in streams])
    before = RenderState.joined([state.render for state in states])
    hops, after = render(filters, pitch, hiss, counts, before)
    gains = list[tuple[float, float]]()
    for row, (state, count) in enumerate(zip(states, counts, strict=True)):
        state.hop, state.render = state.hop + count, after.of(row)
        gains += state.gains[:count]
        state.gains = state.gains[count:]
    return hops / ramps(gains)


def change(state: State, target: Target) -> None:
    """Starts to fade to another target, or does so when the fade that goes on is over."""
    if state.fade is not None:
        state.fade.following = target
        return
    same_voice = target.voice is state.target.voice
    state.fade = Fade(state.target, None if same_voice else state.caches["converter"].copy())
    state.target = target
