"""Streams: every split gives the same samples, nothing comes too early, voices change without a click."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from fastvoicegrad import InputError, Voice
from fastvoicegrad.postfilter import sharpen
from fastvoicegrad.stream import core
from fastvoicegrad.stream.bundle import StreamBundle
from fastvoicegrad.stream.converter import StreamingConverter
from fastvoicegrad.stream.together import run_all
from fastvoicegrad.voice_file import Adapter
from tests.conftest import vowels

RATES = [22050, 48000, 44100, 16000, 8000]
Make = Callable[..., StreamingConverter]


@pytest.fixture(scope="module")
def make(stream_folder: Path, voices: list[Any]) -> Make:
    bundle = StreamBundle.open(stream_folder)
    return lambda rate=22050, **more: StreamingConverter(bundle, voices[0], rate, **more)


def pushed(stream: StreamingConverter, wave: np.ndarray, sizes: list[int]) -> np.ndarray:
    """A whole stream in blocks of these sizes, one after the other and again, and its end; without the delay."""
    outputs, place, turn = [], 0, 0
    while place < len(wave):
        block = wave[place : place + sizes[turn % len(sizes)]]
        outputs.append(stream.push(block))
        assert len(outputs[-1]) == len(block)
        place, turn = place + len(block), turn + 1
    return np.concatenate([*outputs, stream.flush()])[stream.latency :]


def test_the_whole_has_the_length_of_its_source(make: Make) -> None:
    wave = vowels(1.0)
    whole = make().convert(wave)
    assert whole.shape == wave.shape
    assert whole.dtype == np.float32
    assert np.isfinite(whole).all()
    assert np.abs(whole).max() > 1e-3


@pytest.mark.parametrize("sizes", [[1], [7], [441], [256], [512], [1000, 3], [22050], [220500]])
def test_blocks_of_every_size_give_the_same(make: Make, sizes: list[int]) -> None:
    wave = vowels(10.5 if sizes[0] > 22050 else 0.4 if sizes[0] < 7 else 1.5)
    stream = make()
    np.testing.assert_allclose(pushed(stream, wave, sizes), stream.convert(wave), atol=1e-4)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("size", [0.0116, 0.02, 0.045])
def test_every_split_has_the_same_pitch_to_the_last_bit(
    make: Make, monkeypatch: pytest.MonkeyPatch, rate: int, size: float
) -> None:
    """The pitch is rounded to a grid. One hop that rounds to another value would move all later pulses."""
    pitches, render = list[np.ndarray](), core.render

    def watched(filters: Any, pitch: np.ndarray, *more: Any) -> Any:
        pitches.append(pitch)
        return render(filters, pitch, *more)

    monkeypatch.setattr(core, "render", watched)
    stream, wave = make(rate), vowels(3.0, rate=rate)
    stream.convert(wave)
    whole = np.concatenate(pitches)
    pitches.clear()
    pushed(stream, wave, [round(size * rate)])
    np.testing.assert_array_equal(np.concatenate(pitches), whole)


def test_the_renderer_reads_the_sharpened_mel(
    stream_folder: Path, voices: list[Voice], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, read = list[np.ndarray](), list[np.ndarray]()

    def watched(bundle: StreamBundle, name: str, streams: list[Any]) -> list[Any]:
        outputs = run_all(bundle, name, streams)
        if name == "converter":
            made.extend(mel for mel, _ in outputs)
        if name == "renderer":
            read.extend(inputs["mel"] for inputs in streams)
        return outputs

    monkeypatch.setattr(core, "run_all", watched)
    StreamingConverter(StreamBundle.open(stream_folder), voices[0]).push(vowels(0.5))
    assert made
    for converted, rendered in zip(made, read, strict=True):
        np.testing.assert_array_equal(rendered[0].T, sharpen(converted[0].T, 1.2))
        assert np.abs(rendered - converted).max() > 0.01


def adapted(bundle: StreamBundle, voice: Voice, converter: str) -> Voice:
    """A voice with an adapter for streams of a converter."""
    values = 0.3 * np.random.default_rng(0).standard_normal(bundle.voice(voice).film.size).astype(np.float32)
    return replace(voice, adapter=Adapter(np.zeros(1, np.float32), "", Adapter(values, converter)))


def test_an_adapted_voice_streams_as_it_converts_the_whole(stream_folder: Path, voices: list[Voice]) -> None:
    bundle, wave = StreamBundle.open(stream_folder), vowels(1.5)
    voice = adapted(bundle, voices[0], bundle.converter_fingerprint)
    stream = StreamingConverter(bundle, voice)
    whole = stream.convert(wave)
    np.testing.assert_allclose(pushed(stream, wave, [441, 7, 1000]), whole, atol=1e-4)
    assert np.abs(whole - StreamingConverter(bundle, voices[0]).convert(wave)).max() > 1e-3


def test_an_adapter_that_does_not_fit_changes_nothing(stream_folder: Path, voices: list[Voice]) -> None:
    bundle = StreamBundle.open(stream_folder)
    short = Adapter(np.ones(7, np.float32), bundle.converter_fingerprint)
    for voice in (
        adapted(bundle, voices[0], "another"),
        replace(voices[0], adapter=Adapter(np.zeros(1, np.float32), "", short)),
    ):
        np.testing.assert_array_equal(bundle.voice(voice).film, bundle.voice(voices[0]).film)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("seed", [0, 1])
def test_random_splits_give_the_same_at_every_rate(make: Make, rate: int, seed: int) -> None:
    wave, random = vowels(1.2, rate=rate), np.random.default_rng(seed)
    stream = make(rate)
    sizes = [int(size) for size in 10 ** random.uniform(0, 3.7, 50)]
    np.testing.assert_allclose(pushed(stream, wave, sizes), stream.convert(wave), atol=1e-4)


@pytest.mark.parametrize("rate", [22050, 48000, 16000])
def test_no_sample_comes_before_its_time_plus_the_latency(make: Make, rate: int) -> None:
    """What comes out up to a moment does not depend on what comes in after it."""
    wave = vowels(0.8, rate=rate)
    stream, moment = make(rate), rate // 2 + 77
    changed = wave.copy()
    changed[moment:] = np.random.default_rng(0).standard_normal(len(wave) - moment)
    first, second = (np.concatenate([stream.push(x), stream.flush()]) for x in (wave, changed))
    np.testing.assert_allclose(first[:moment], second[:moment], atol=1e-6)
    assert np.abs(first[moment : moment + rate // 20] - second[moment : moment + rate // 20]).max() > 1e-3


@pytest.mark.parametrize("rate", RATES)
def test_no_shorter_latency_would_do(make: Make, rate: int) -> None:
    """Sample by sample, the queue of finished samples runs empty now and then, and never below."""
    stream, waiting = make(rate), list[int]()
    for sample in vowels(0.1, rate=rate):
        assert stream.push(np.array([sample])).shape == (1,)
        waiting.append(len(stream._state.waiting))
    assert min(waiting) <= rate / 22050 + 1


def test_the_latency_is_that_of_the_bundle(make: Make) -> None:
    assert make().latency == 1023  # a hop, half of the window beyond it, two frames of look-ahead
    assert 1000 * make(48000).latency / 48000 < 1000 * 1023 / 22050 + 2.3


def test_a_snapshot_goes_on_where_it_was_taken(make: Make) -> None:
    wave, stream = vowels(1.0), make(48000)
    stream.push(wave[:10000])
    state = stream.state
    first = stream.push(wave[10000:])
    stream.state = state
    np.testing.assert_array_equal(stream.push(wave[10000:]), first)


def test_a_reset_forgets_everything(make: Make) -> None:
    wave, stream = vowels(1.0), make()
    first = stream.push(wave)
    stream.reset()
    np.testing.assert_array_equal(stream.push(wave), first)


def test_nothing_grows(make: Make) -> None:
    stream, block = make(48000), vowels(0.02, rate=48000)

    def size() -> int:
        core = stream._state.core
        arrays = [core.samples, stream._state.waiting, core.render.tail, *core.caches.values()]
        return sum(x.size for x in arrays) + len(core.gains) * 256

    for _ in range(100):
        stream.push(block)
    gc.collect()
    before, counted = size(), len(gc.get_objects())
    for _ in range(150):
        stream.push(block)
    gc.collect()
    assert abs(size() - before) < 4096
    assert len(gc.get_objects()) < counted + 200


def test_a_voice_changes_gradually(make: Make, voices: list[Any]) -> None:
    """The change begins at once, and no sample jumps more than within a voice."""
    wave = vowels(2.0)
    same, other = make(), make()
    first = [same.push(wave), other.push(wave[:22050])]
    other.set_voice(voices[1])
    changed = np.concatenate([first[1], other.push(wave[22050:])])
    np.testing.assert_allclose(changed[:22050], first[0][:22050], atol=1e-4)
    assert np.abs(changed[23000:] - first[0][23000:]).max() > 1e-3
    steps = np.abs(np.diff(changed))
    assert steps[22000:26000].max() <= 1.5 * max(steps[5000:22000].max(), steps[30000:].max())


def test_changes_that_follow_each_other_glide(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each fade begins where the one before it ends."""
    ratios, moved = list[float](), core._moved

    def record(frames: core._Frames) -> np.ndarray:
        ratios.extend(moved(replace(frames, pitch=np.full_like(frames.pitch, 100.0)))[0] / 100.0)
        return moved(frames)

    monkeypatch.setattr(core, "_moved", record)
    stream, wave = make(source_pitch=100.0), vowels(1.0)
    stream.push(wave[:6000])
    for number, semitones in enumerate((12.0, 13.0, 5.0, 0.0)):
        stream.set_pitch(semitones)
        stream.push(wave[6000 + 512 * number : 6512 + 512 * number])
    stream.push(wave[8048:])
    semitones = 12 * np.log2(ratios)
    assert np.abs(np.diff(semitones)).max() <= 12.0 / (core.FADE + 1) + 1e-3
    assert semitones[-1] == pytest.approx(semitones[0], abs=1e-4)
    assert stream.state.core.fade is None


def test_what_does_not_change_starts_no_fade(make: Make) -> None:
    stream = make()
    stream.push(vowels(0.2))
    stream.set_pitch(0.0)
    assert stream.state.core.fade is None


def test_changes_do_not_depend_on_blocks(make: Make, voices: list[Any]) -> None:
    wave, results = vowels(1.5), []
    for size in (256, 1000, 15000):
        stream = make(source_pitch=125.0)  # the result's pitches lie far from the edges of rendering.PITCH_GRID
        parts = []
        for part, change in ((wave[:15000], True), (wave[15000:], False)):
            for start in range(0, len(part), size):
                parts.append(stream.push(part[start : start + size]))
            if change:
                stream.set_voice(voices[1])
                stream.set_pitch(-3.0)
        results.append(np.concatenate(parts))
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], atol=1e-4)


def test_the_output_is_as_loud_as_the_source(make: Make) -> None:
    """The level that the networks get is the same, whatever the source's is."""
    loud = vowels(4.0)
    stream = make()
    high, low = stream.convert(loud), stream.convert(0.1 * loud)
    last = slice(3 * 22050, None)
    assert np.sqrt(np.mean(high[last] ** 2)) == pytest.approx(10 * np.sqrt(np.mean(low[last] ** 2)), rel=0.25)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_bad_samples_do_no_lasting_harm(make: Make, bad: float) -> None:
    wave, stream = vowels(0.5), make(gain=1.0)
    wave[3000] = bad
    assert np.isfinite(stream.convert(wave)).all()


@pytest.mark.parametrize(
    "samples", [np.zeros((10, 2), np.float32), np.zeros(10, np.int16), np.zeros(10, complex), np.array("x")]
)
def test_other_arrays_are_refused(make: Make, samples: np.ndarray) -> None:
    with pytest.raises(InputError, match="one channel of floats"):
        make().push(samples)


@pytest.mark.parametrize(
    "settings",
    [{"rate": 4000}, {"seed": -1}, {"gain": 0.0}, {"source_pitch": -5.0}, {"semitones": 30.0}, {"gain": np.nan}],
)
def test_settings_out_of_range_are_refused(make: Make, settings: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        make(**settings)
