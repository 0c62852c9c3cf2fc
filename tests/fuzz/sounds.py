"""Damaged sound files as sources and references, and arrays of all kinds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import soundfile

from .damage import damaged, pick
from .workspace import SOUNDS, Action, Case, encoded

OUTPUTS = (".wav", ".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff")
BAD_FLOATS = (np.nan, np.inf, -np.inf, 1e20, 1e38, -1e38, 9.0, 100.0, 32768.0)


def bad_samples(case: Case) -> bytes:
    """A float .wav with a few absurd samples, or with all of them too large."""
    wave = case.good.wave.astype(np.float64)
    if case.random.random() < 0.2:
        wave *= pick(case.random, [32768.0, 1e-30, 1e30, 20.0, 0.0])
    places = case.random.integers(len(wave), size=int(case.random.integers(1, 4)))
    wave[places] = [pick(case.random, BAD_FLOATS) for _ in places]
    with np.errstate(over="ignore"):
        wave = wave.astype(np.float32)
    return encoded(("wav", "WAV", "FLOAT", 22050, 1), wave)


def chained(case: Case) -> bytes:
    """Two files one after the other."""
    return bytes(pick(case.random, case.good.sounds) + pick(case.random, case.good.sounds))


def sound_file(case: Case) -> tuple[str, bytes]:
    """Suffix and bytes of a damaged sound file."""
    number = int(case.random.integers(len(SOUNDS)))
    suffix, data = SOUNDS[number][0], case.good.sounds[number]
    kind = case.random.random()
    if kind < 0.08:
        return suffix, chained(case)
    if kind < 0.2:
        return "wav", bad_samples(case)
    if kind < 0.25:
        suffix = pick(case.random, ["raw", "wav", "mp3", "voice", "VOICE", "m4a", "txt", ""])
    return suffix, damaged(data, case.random)


def source(case: Case) -> Action:
    suffix, data = sound_file(case)
    path = case.write(f"source.{suffix}", data)
    output = case.folder / f"output{pick(case.random, OUTPUTS)}"
    rate = pick(case.random, [0, -1, 10**9] if case.random.random() < 0.03 else [None, None, None, 8000, 48000, 44100])
    rate = 48000 if output.suffix == ".opus" else rate
    case.expected.add(output.name)

    def action() -> list[np.ndarray]:
        case.good.converter.convert_file(path, output, case.good.voice, rate=rate)
        samples, _ = soundfile.read(output)
        assert samples.ndim == 1
        assert len(samples)
        return [samples]

    return action


def reference(case: Case) -> Action:
    suffix, data = sound_file(case)
    path = case.write(f"reference.{suffix}", data)

    def action() -> list[np.ndarray]:
        voice = case.good.converter.voice([path])
        return [voice.embedding, voice.keys, voice.mel, np.array([voice.pitch, voice.seconds])]

    return action


RATES = (22050, 16000, 48000, 8000, 44100.0, 4000, 384_000, 11025)
BAD_RATES: tuple[Any, ...] = (
    0, -1, 1, 3999, 8000.5, 10**6, 1e9, 2**70, 10**400, float("nan"), float("inf"), 1e-300, True,
)  # fmt: skip
SHAPES: tuple[Callable[[np.ndarray], Any], ...] = (
    lambda x: x[:, None],
    lambda x: x[None],
    lambda x: np.stack([x, x]),
    lambda x: np.stack([x, -x], 1),
    lambda x: x[None, None],
    lambda x: x[:0],
    lambda x: x[:1],
    lambda x: x[: 400 + len(x) % 300],
    lambda x: x[0],
    lambda x: x[::-2],
    lambda x: np.asfortranarray(np.stack([x, x], 1))[:, 0],
    lambda x: x.tolist(),
    lambda x: tuple(x[:5000].tolist()),
)
TYPES: tuple[Any, ...] = ("f8", "f2", ">f4", "i2", "i4", "i8", "u1", "i1", "?", "c8", "O", "U5", "f8", "M8[s]")
NO_ARRAYS: tuple[Any, ...] = (None, "source.wav", b"bytes", 5, [], [[]], [[1.0], [1.0, 2.0]], ["a", "b"], {}, object())


def samples(case: Case) -> Any:
    """An array, or nearly one."""
    random, wave = case.random, case.good.wave.copy()
    kind = random.random()
    if kind < 0.25:
        wave[random.integers(len(wave), size=int(random.integers(1, 4)))] = pick(random, BAD_FLOATS)
    elif kind < 0.4:
        wave = wave * np.float32(pick(random, [0.0, 1e-30, 1e-6, 10.0, 1e5, 1e30, -1.0])) + np.float32(
            pick(random, [0.0, 0.0, 0.5, 5.0, 1e10])
        )
    elif kind < 0.6:
        return pick(random, SHAPES)(wave)
    elif kind < 0.75:
        scale = pick(random, [1, 32767])
        with np.errstate(all="ignore"):
            return (wave * scale).astype(pick(random, TYPES))
    elif kind < 0.8:
        case.wrong_type = True
        return pick(random, NO_ARRAYS)
    elif kind < 0.85:
        return random.standard_normal(int(random.integers(1, 30_000)))
    return wave


def array(case: Case) -> Action:
    wave, rate = samples(case), pick(case.random, BAD_RATES if case.random.random() < 0.2 else RATES)
    options: dict[str, Any] = {}
    if case.random.random() < 0.3:
        options["seed"] = pick(case.random, [0, 1, -1, 2**32, 2**64, 2**128, 10**50, 1.5, None, "x", True, np.int64(3)])
    if case.random.random() < 0.2:
        options["steps"] = pick(case.random, [1, 0, -1, 2, 3, 10**9, 1.0, None, "x", True])
    if case.random.random() < 0.05:
        rate = pick(case.random, [None, "22050", [22050], b"x"])
    good = isinstance(rate, int | float) and all(type(value) in (int, np.int64) for value in options.values())
    case.wrong_type |= not good or (isinstance(wave, np.ndarray) and wave.dtype.kind in "cOUM")
    converter = case.good.converter
    if case.random.random() < 0.3:

        def voice() -> list[np.ndarray]:
            made = converter.voice_of(wave, rate)
            return [made.embedding, made.keys, made.mel, np.array([made.pitch, made.seconds])]

        return voice

    def convert() -> list[np.ndarray]:
        converted = converter.convert(wave, rate, case.good.voice, **options)
        assert len(converted) == len(wave)
        return [converted]

    return convert
