"""What a live stream passes besides the conversion: gate, meters, fades at gaps, delays and rings."""

from __future__ import annotations

import numpy as np
import pytest

from fastvoicegrad.live.devices import Monitor
from fastvoicegrad.live.effects import SILENCE, DelayLine, Gaps, Gate, Meter, Slope, decibels
from fastvoicegrad.live.ring import Ring

RATE, BLOCK = 16000, 160


def test_the_gate_is_open_before_the_first_word_comes_out() -> None:
    gate, late = Gate(RATE, -40.0), 800
    quiet, loud = (np.full(BLOCK, x, np.float32) for x in (1e-4, 0.1))
    assert gate.factors(quiet, late).max() == 0.0
    gate.factors(loud, late)
    assert gate.open
    assert gate.factors(quiet, late).min() == 1.0
    closed = np.concatenate([gate.factors(quiet, late) for _ in range(100)])
    assert closed[: late + RATE // 5].min() == 1.0
    assert closed[-1] == 0.0
    assert np.abs(np.diff(closed)).max() < 0.01


def test_an_open_gate_changes_nothing() -> None:
    gate = Gate(RATE, None)
    gate.factors(np.zeros(BLOCK, np.float32), 0)
    assert gate.factors(np.zeros(BLOCK, np.float32), 0).min() == 1.0


@pytest.mark.parametrize("rate", [8000, 16000, 48000, 96000])
@pytest.mark.parametrize("block", [1, 64, 1000])
def test_gaps_fade_out_and_in_at_every_rate(rate: int, block: int) -> None:
    gaps, there = Gaps(rate), np.full(rate // 10, 0.5, np.float32)
    there[: rate // 20] *= -1

    def passed(samples: np.ndarray, count: int) -> np.ndarray:
        starts = range(0, count, block)
        return np.concatenate([gaps.filled(samples[x : x + block], min(block, count - x)) for x in starts])

    np.testing.assert_array_equal(passed(there, len(there)), there)
    gap, back = passed(there[:0], rate // 50), passed(there, len(there))
    short = rate // 500  # 2 ms
    assert gap[short] < 0.06 * 0.5 < gap[short // 2]
    assert gap[-1] == pytest.approx(0.0, abs=1e-6)
    late = rate // 100
    np.testing.assert_array_equal(back[late:], there[late:])
    assert np.abs(np.diff([gap[-1], *back[:late]])).max() < 1.01 * 0.5 / late
    gaps.cut()
    after = passed(there, len(there))
    assert np.abs(np.diff([back[-1], *after[: rate // 20]])).max() < 0.6 * 3 / (0.002 * rate)


def test_a_gap_amid_a_return_makes_no_jump() -> None:
    gaps, there = Gaps(48000), np.full(4000, 0.5, np.float32)
    parts = [gaps.filled(there[:1000], 1000)]
    for count in (100, 300, 50, 0, 470):
        parts += [gaps.filled(there[:count], 480)]
    parts += [gaps.filled(there, 4000)]
    output = np.concatenate(parts)
    assert np.abs(np.diff(output)).max() < 0.5 * 3 / 96
    assert output[-1] == 0.5


def test_meters_fall_slowly_and_remember_clipping() -> None:
    meter = Meter()
    meter.add(np.array([0.1, -1.0], np.float32), RATE)
    meter.add(np.zeros(RATE // 10, np.float32), RATE)
    assert meter.peak == pytest.approx(-2.0)
    assert meter.clipped
    assert decibels(np.zeros(10, np.float32)) == SILENCE


def test_a_ring_keeps_order_over_its_end() -> None:
    ring, given = Ring(10), []
    for start in range(0, 60, 4):
        assert ring.write(np.arange(start, start + 4, dtype=np.float32)) == 0
        given.extend(ring.read(4).tolist())
    assert given == list(range(60))
    assert ring.write(np.zeros(12, np.float32)) == 2
    assert ring.skip(3) == 3
    assert len(ring.read(100)) == 7


def test_delays_and_slopes_do_not_depend_on_blocks() -> None:
    line, wave = DelayLine(5), np.arange(20, dtype=np.float32)
    np.testing.assert_array_equal(np.concatenate([line.push(wave[:3]), line.push(wave[3:])])[5:], wave[:15])
    whole, parts = Slope(100, 0.1, 0.1), Slope(100, 0.1, 0.1)
    expected = whole.run(1.0, 12)
    np.testing.assert_allclose(np.concatenate([parts.run(1.0, 5), parts.run(1.0, 7)]), expected)
    assert parts.run(1.0, 0).shape == (0,)


def test_a_monitor_that_lacks_or_skips_samples_does_not_click() -> None:
    monitor, wave = Monitor(RATE), 0.5 * np.cos(np.arange(8000) / 400).astype(np.float32)
    monitor.write(wave[:1000])
    parts = [monitor.read(400) for _ in range(4)]  # the last 600 are missing
    monitor.write(wave[1000:1400])
    parts.append(monitor.read(400))
    monitor.write(wave[1400:])  # far more than may wait
    parts += [monitor.read(400) for _ in range(3)]
    output = np.concatenate(parts)
    assert len(output) == 8 * 400
    np.testing.assert_array_equal(output[:1000], wave[:1000])
    assert np.abs(output[1500:1600]).max() < 1e-6
    assert np.abs(np.diff(output)).max() < 0.06
