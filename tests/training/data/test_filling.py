from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("joblib")

from fastvoicegrad import InputError
from fastvoicegrad.training.data.corpus import Recording
from fastvoicegrad.training.data.filling import Shape, fill
from fastvoicegrad.training.data.store import Entry, Store, finish, write_index

SHAPES = {
    "mel": Shape("frames", (2,), np.float16),
    "wave": Shape("samples", (), np.int16),
    "process": Shape("recordings", (3,), np.float32),
}


def compute(number: int, entry: Entry, factor: int) -> tuple[np.ndarray, ...]:
    frames = np.arange(entry.start, entry.start + entry.frames)
    samples = np.repeat(frames, 256)
    return np.stack([frames, factor * frames], 1), samples, np.array([number, entry.frames, os.getpid()])


def broken(number: int, entry: Entry, factor: int) -> tuple[np.ndarray, ...]:
    if number == 7:
        raise RuntimeError("the computer was switched off")
    return compute(number, entry, factor)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    lengths = [3, 1, 2] * 12
    recordings = [Recording(str(i), f"{i}.wav", "made", "train", 1.0, 22050) for i in range(len(lengths))]
    starts = np.cumsum([0, *lengths[:-1]]).tolist()
    write_index(tmp_path, [Entry(r, a, n) for r, a, n in zip(recordings, starts, lengths, strict=True)])
    return Store(tmp_path)


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_recording_has_its_rows(store: Store, jobs: int) -> None:
    arrays = fill(store, SHAPES, compute, 3, jobs=jobs)
    frames = np.arange(store.total_frames)
    np.testing.assert_array_equal(arrays["mel"], np.stack([frames, 3 * frames], 1))
    np.testing.assert_array_equal(arrays["wave"], np.repeat(frames, 256))
    np.testing.assert_array_equal(arrays["process"][:, 0], np.arange(36))
    assert (os.getpid() in arrays["process"][:, 2].astype(int)) == (jobs == 1)
    for name, array in arrays.items():
        finish(store.root / f"{name}.npy", array)
    assert {p.name for p in store.root.iterdir()} == {"index.jsonl", "mel.npy", "wave.npy", "process.npy"}


def test_a_killed_command_continues(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastvoicegrad.training.data.filling.BLOCK", 3)
    with pytest.raises(RuntimeError, match="switched off"):
        fill(store, SHAPES, broken, 3)
    done: list[int] = []

    def counted(number: int, entry: Entry, factor: int) -> tuple[np.ndarray, ...]:
        done.append(number)
        return compute(number, entry, factor)

    arrays = fill(store, SHAPES, counted, 3)
    assert done == list(range(6, 36))
    np.testing.assert_array_equal(arrays["mel"][:, 0], np.arange(store.total_frames))


def test_other_settings_start_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastvoicegrad.training.data.filling.BLOCK", 3)
    with pytest.raises(RuntimeError, match="switched off"):
        fill(store, SHAPES, broken, 3)
    frames = np.arange(store.total_frames)
    np.testing.assert_array_equal(fill(store, SHAPES, compute, 5)["mel"][:, 1], 5 * frames)


def test_some_recordings_alone(store: Store) -> None:
    arrays = fill(store, {"process": SHAPES["process"]}, only_process, only=[2, 5])
    assert np.flatnonzero(arrays["process"][:, 1]).tolist() == [2, 5]


def test_another_choice_of_recordings_starts_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastvoicegrad.training.data.filling.BLOCK", 1)
    with pytest.raises(RuntimeError, match="switched off"):
        fill(store, {"process": SHAPES["process"]}, broken_process, only=[2, 5, 7])
    arrays = fill(store, {"process": SHAPES["process"]}, only_process, only=[1, 9])
    assert np.flatnonzero(arrays["process"][:, 1]).tolist() == [1, 9]


def test_a_process_that_dies_is_named(store: Store) -> None:
    with pytest.raises(InputError, match="fewer --jobs"):
        fill(store, {"process": SHAPES["process"]}, dying, jobs=2)


def dying(number: int, entry: Entry) -> tuple[np.ndarray]:
    os._exit(1)


def broken_process(number: int, entry: Entry) -> tuple[np.ndarray]:
    return (broken(number, entry, 1)[2],)


def only_process(number: int, entry: Entry) -> tuple[np.ndarray]:
    return (compute(number, entry, 1)[2],)
