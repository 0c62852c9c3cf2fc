from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("librosa")

from fastvoicegrad.training.data.corpus import Recording
from fastvoicegrad.training.data.parallel import align, align_parallel, families
from fastvoicegrad.training.data.store import Entry, Store, write_index


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_a_slowed_reading_is_found_frame_by_frame() -> None:
    random = np.random.default_rng(0)
    frames = unit(np.repeat(random.standard_normal((20, 16)), 3, axis=0))
    slower = np.repeat(frames, 2, axis=0)
    found = align(frames, slower)
    assert (np.diff(found) >= 0).all()
    np.testing.assert_array_equal(slower[found], frames)
    distinct = unit(random.standard_normal((60, 16)))
    np.testing.assert_array_equal(align(distinct, distinct), np.arange(60))


def recording(name: str, voice: str, text: str | None, split: str = "train", corpus: str = "a") -> Recording:
    return Recording(name, name, corpus, split, 1.0, 16000, voice, text)


def test_only_other_voices_of_the_same_text_are_parallel(tmp_path: Path) -> None:
    recordings = [
        recording("0", "x", "Glue the sheet."),
        recording("1", "y", "glue the SHEET"),
        recording("2", "z", "Glue the sheet.", corpus="b"),
        recording("3", "z", "Glue the sheet.", split="valid"),
        recording("4", "x", None),
        recording("5", "y", None),
    ]
    write_index(tmp_path, [Entry(r, 40 * i, 40) for i, r in enumerate(recordings)])
    content = np.random.default_rng(1).standard_normal((240, 8)).astype(np.float16)
    content[40:80] = content[:40]
    np.save(tmp_path / "content_unperturbed.npy", content)
    store = Store(tmp_path)
    assert [[e.recording.id for e in family] for family in families(store)] == [["0", "1"]]
    align_parallel(store)
    parallel = store.array("parallel")
    np.testing.assert_array_equal(parallel[:40], np.arange(40, 80))
    np.testing.assert_array_equal(parallel[40:80], np.arange(40))
    assert (parallel[80:] == -1).all()
