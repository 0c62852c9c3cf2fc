from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from fastvoicegrad import Voice, VoiceConverter, threads
from fastvoicegrad.threads import available_cores, default_threads


@pytest.fixture
def cgroups(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with a folder of cgroups, on a machine with 64 cores."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(threads, "CGROUPS", tmp_path / "top")
    monkeypatch.setattr(threads, "OWN_CGROUPS", tmp_path / "own")
    (tmp_path / "top").mkdir()
    return tmp_path


def test_the_environment_and_the_quota_limit_threads(cgroups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (available_cores(), default_threads()) == (64, 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert default_threads() == 3
    (cgroups / "own").write_text("0::/\n")
    (cgroups / "top/cpu.max").write_text("150000 100000\n")
    assert (available_cores(), default_threads()) == (2, 2)
    (cgroups / "top/cpu.max").write_text("max 100000\n")
    assert available_cores() == 64


UNIFIED = "0::/user.slice/a b.service\n"
SEPARATE = "12:cpuset:/\n5:memory:/docker/1\n3:cpu,cpuacct:/docker/1\n1:name=systemd:/docker/1\n0::/docker/1\n"
OWN, ABOVE = "user.slice/a b.service", "user.slice"


@pytest.mark.parametrize(
    ("own", "quotas", "cores"),
    [
        (UNIFIED, {OWN: "250000 100000"}, 3),
        (UNIFIED, {OWN: "max 100000", ABOVE: "400000 100000"}, 4),
        (UNIFIED, {OWN: "800000 100000", ABOVE: "200000 50000", ".": "max 100000"}, 4),
        (UNIFIED, {OWN: "10000 100000", ABOVE: "400000 100000"}, 1),
        (UNIFIED, {"user.slice/other": "100000 100000", "..": "100000 100000"}, 64),
        (UNIFIED, {".": "700000 100000"}, 7),  # a container, whose cgroups have the names of the host
        (SEPARATE, {"cpu/docker/1": "500000 100000"}, 5),
        (SEPARATE, {"cpu/docker/1": "-1 100000", "cpu/docker": "600000 100000", "cpu": "-1 100000"}, 6),
        (SEPARATE, {"cpu": "200000 100000"}, 2),
        (SEPARATE, {"memory/docker/1": "100000 100000", "cpuset": "100000 100000"}, 64),
        ("", {".": "100000 100000"}, 64),
        ("no cgroup\n0::/../x\n", {".": "100000 100000"}, 1),
    ],
)
def test_every_quota_above_a_process_limits_it(cgroups: Path, own: str, quotas: dict[str, str], cores: int) -> None:
    (cgroups / "own").write_text(own)
    for name, quota in quotas.items():
        folder = cgroups / "top" / name
        folder.mkdir(parents=True, exist_ok=True)
        if own == SEPARATE:
            for file, value in zip(("cpu.cfs_quota_us", "cpu.cfs_period_us"), quota.split(), strict=True):
                (folder / file).write_text(value + "\n")
        else:
            (folder / "cpu.max").write_text(quota + "\n")
    assert available_cores() == cores


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
