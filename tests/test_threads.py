from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from fastvoicegrad import Voice, VoiceConverter, threads
from fastvoicegrad.threads import available_cores, default_threads


def test_the_environment_and_the_quota_limit_threads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(threads, "CGROUP_QUOTA", tmp_path / "none")
    assert (available_cores(), default_threads()) == (64, 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert default_threads() == 3
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    monkeypatch.setattr(threads, "CGROUP_QUOTA", tmp_path / "cpu.max")
    assert (available_cores(), default_threads()) == (2, 2)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert available_cores() == 64


def test_conversions_in_threads_equal_conversions_in_turn(
    converter: VoiceConverter, voice: Voice, speech: np.ndarray
) -> None:
    waves = [speech[: 22050 + 2205 * i] for i in range(4)]
    in_turn = [converter.convert(wave, 22050, voice) for wave in waves]
    at_once = [np.zeros(0, np.float32)] * len(waves)

    def work(i: int) -> None:
        at_once[i] = converter.convert(waves[i], 22050, voice)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(waves))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for one, other in zip(in_turn, at_once, strict=True):
        np.testing.assert_array_equal(one, other)


def test_more_threads_than_cores_are_not_started() -> None:
    assert VoiceConverter.load(threads=100_000).bundle.threads == available_cores()
