"""Streams that share calls of the networks give what each gives alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

pytest.importorskip("torch")

from fastvoicegrad import InputError, VoiceConverter
from fastvoicegrad.stream.bundle import StreamBundle
from fastvoicegrad.stream.converter import StreamingConverter, push_all
from tests.conftest import vowels

Make = Callable[..., StreamingConverter]


@pytest.fixture
def bundle(stream_folder: Path) -> StreamBundle:
    return StreamBundle.open(stream_folder)


@pytest.fixture
def make(bundle: StreamBundle, voices: list[Any]) -> Make:
    return lambda rate=22050, voice=voices[0], **more: StreamingConverter(bundle, voice, rate, **more)


@pytest.fixture
def runs(bundle: StreamBundle, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The networks that ran, one name for each call."""
    names, run = list[str](), bundle.run

    def counted(name: str, **inputs: np.ndarray) -> list[np.ndarray]:
        names.append(name)
        return run(name, **inputs)

    monkeypatch.setattr(bundle, "run", counted)
    return names


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_streams_give_together_what_they_give_alone(make: Make, voices: list[Any], seed: int) -> None:
    """Several rates, voices and beginnings, blocks of any size, and changes of voice and pitch on the way."""
    random = np.random.default_rng(seed)
    settings = [{}, {"rate": 48000, "seed": 7}, {"voice": voices[1]}, {"rate": 16000, "keep_pitch": True}, {}]
    together, alone = ([make(**one) for one in settings] for _ in range(2))
    waves = [vowels(4.0, pitch=100.0 + 30 * n, seed=n) for n in range(len(settings))]
    for turn in range(60):
        chosen = [n for n in range(len(settings)) if turn >= 6 * n and random.random() < 0.8]
        blocks = [waves[n][1000 * turn :][: int(10 ** random.uniform(0, 3.5))] for n in chosen]
        results = push_all([together[n] for n in chosen], blocks)
        for n, block, result in zip(chosen, blocks, results, strict=True):
            np.testing.assert_allclose(result, alone[n].push(block), atol=1e-4)
        for n in random.permutation(len(settings))[: turn % 10 == 9]:
            for stream in (together[n], alone[n]):
                stream.set_voice(voices[turn // 10 % 2])
                stream.set_pitch(float(turn % 7 - 3))


def test_one_call_of_each_network_serves_all(make: Make, runs: list[str]) -> None:
    """With one new frame or two: the shorter ones are filled up."""
    streams = [make() for _ in range(5)]
    push_all(streams, [np.zeros(2000 + 100 * n) for n in range(5)])
    runs.clear()
    push_all(streams, [np.full(441, 0.1)] * 5)
    assert sorted(runs) == ["content", "converter", "pitch", "renderer"]


def test_streams_with_and_without_new_frames_share_a_push(make: Make, runs: list[str]) -> None:
    results = push_all([make(), make()], [np.zeros(10), np.zeros(3000)])
    assert [len(cast(np.ndarray, result)) for result in results] == [10, 3000]
    assert push_all([], []) == []


def test_a_stream_that_fails_fails_alone(make: Make, bundle: StreamBundle, voices: list[Any]) -> None:
    good = bundle.voice(voices[0])
    bad = replace(good, film=np.full_like(good.film, 3e38))
    streams, wave = [make(voice=good), make(voice=bad), make(voice=good)], vowels(0.3)
    results = push_all(streams, [wave] * 3)
    assert isinstance(results[1], InputError)
    for result in (results[0], results[2]):
        np.testing.assert_allclose(result, make(voice=good).push(wave), atol=1e-4)
    with pytest.raises(InputError, match="not finite"):
        make(voice=bad).push(wave)


def test_voices_and_streams_of_other_bundles_are_refused(make: Make, bundle: StreamBundle, voices: list[Any]) -> None:
    stranger = replace(bundle.voice(voices[0]), converter="another")
    for other in (lambda: make(voice=stranger), lambda: make().set_voice(stranger)):
        with pytest.raises(InputError, match="prepared for another stream bundle"):
            other()
    streams = [make(), make()]
    streams[1].bundle = SimpleNamespace(config="another")  # type: ignore[assignment]
    with pytest.raises(InputError, match="several bundles"):
        push_all(streams, [np.zeros(10)] * 2)


def test_a_wrong_block_is_refused_before_anything_moves(make: Make) -> None:
    streams, wave = [make(), make()], vowels(0.2)
    with pytest.raises(InputError, match="one channel of floats"):
        push_all(streams, [wave, np.zeros((3, 2))])
    np.testing.assert_array_equal(streams[0].push(wave), make().push(wave))


@pytest.mark.parametrize("streams", [2, 3, 8])
@pytest.mark.parametrize("frames", [1, 2, 4])
def test_the_pitch_has_the_same_bits_whatever_shares_its_call(streams: int, frames: int) -> None:
    """Other last bits cross an edge of `rendering.PITCH_GRID` in some hop, and then all later pulses move."""
    bundle, random = StreamBundle.open(), np.random.default_rng(streams)
    mel = random.normal(-5, 2, (streams, 48, 80)).astype(np.float32)

    def track(mel: np.ndarray, at_once: int) -> np.ndarray:
        state, pitches = np.repeat(bundle.empty("pitch"), len(mel), axis=0), []
        for start in range(0, mel.shape[1], at_once):
            pitch, windows = bundle.run("pitch", mel=mel[:, start : start + at_once], state=state)
            state = windows[:, -state.shape[1] :]
            pitches.append(pitch)
        return np.concatenate(pitches, axis=1)

    alone = [track(mel[row : row + 1], 1)[0] for row in range(streams)]
    np.testing.assert_array_equal(track(mel, frames), alone)


def test_streams_of_the_shipped_bundle_stay_equal_for_long() -> None:
    bundle, random = StreamBundle.open(), np.random.default_rng(5)
    voice = VoiceConverter.load().voice("nora")
    waves = [vowels(12.0, pitch=110.0 + 25 * n, seed=n) for n in range(4)]
    together = [StreamingConverter(bundle, voice, 22050) for _ in waves]
    got, places = [list[np.ndarray]() for _ in waves], [0] * len(waves)
    while any(place < len(wave) for place, wave in zip(places, waves, strict=True)):
        chosen = [n for n in range(len(waves)) if random.random() < 0.8]
        blocks = [waves[n][places[n] :][: int(random.integers(200, 1200))] for n in chosen]
        for n, block, result in zip(chosen, blocks, push_all([together[n] for n in chosen], blocks), strict=True):
            got[n].append(cast(np.ndarray, result))
            places[n] += len(block)
    for wave, parts in zip(waves, got, strict=True):
        alone = StreamingConverter(bundle, voice, 22050).push(wave)
        np.testing.assert_allclose(np.concatenate(parts), alone, atol=1e-4)
