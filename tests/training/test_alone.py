"""Folders that one run at a time may write to."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("librosa")

from accelerate import Accelerator

from fastvoicegrad import InputError
from fastvoicegrad.files import lock
from fastvoicegrad.training.alone import alone, held
from fastvoicegrad.training.data.corpus import Recording
from fastvoicegrad.training.data.embed import embed_content, embed_speaker
from fastvoicegrad.training.data.parallel import align_parallel
from fastvoicegrad.training.data.prepare import PrepareConfig, prepare
from fastvoicegrad.training.data.store import Entry, Store, write_index
from tests.training.tasks.tiny_runs import trainer

REFUSED = "another run works in .*; wait for its end, or name another output"


def is_free(folder: Path) -> bool:
    with open(folder / ".lock", "ab") as file:
        return bool(lock(file.fileno()))


@pytest.mark.parametrize(
    "work",
    [
        lambda folder: prepare(PrepareConfig("none.jsonl", str(folder)), ["mel"]),
        lambda folder: embed_content(Store(folder), "none.safetensors", None),
        lambda folder: embed_speaker(Store(folder), "none.safetensors"),
        lambda folder: align_parallel(Store(folder)),
    ],
)
def test_a_second_run_in_a_store_is_refused(tmp_path: Path, work: Callable[[Path], Any]) -> None:
    write_index(tmp_path, [Entry(Recording("a", "a.wav", "c", "train", 1.0, 16000), 0, 40)])
    with open(tmp_path / ".lock", "ab") as file:
        assert lock(file.fileno())
        with pytest.raises(InputError, match=REFUSED):
            work(tmp_path)
    with pytest.raises(InputError, match="none|content_unperturbed"):  # the lock is free again
        work(tmp_path)
    assert is_free(tmp_path)


def test_a_second_training_in_a_folder_is_refused(store: Path, tmp_path: Path) -> None:
    (tmp_path / "pitch").mkdir()
    with open(tmp_path / "pitch" / ".lock", "ab") as file:
        assert lock(file.fileno())
        with pytest.raises(InputError, match=REFUSED):
            trainer(store, tmp_path, "pitch")
    assert not (tmp_path / "pitch" / "config.yaml").exists()


def test_a_training_holds_its_folder_until_it_ends(store: Path, tmp_path: Path) -> None:
    run = trainer(store, tmp_path, "pitch", "loop.steps=1")
    assert not is_free(tmp_path / "pitch")
    again = trainer(store, tmp_path, "pitch", "loop.steps=1")  # of the same process
    run.run()
    assert not is_free(tmp_path / "pitch")
    again.run()
    assert is_free(tmp_path / "pitch")


def test_a_training_that_fails_leaves_its_folder(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trainer(store, tmp_path, "pitch")
    monkeypatch.setattr(run, "train_step", lambda: pytest.fail("no number"))
    with pytest.raises(BaseException, match="no number"):
        run.run()
    assert is_free(tmp_path / "pitch")


def test_only_the_main_process_holds_the_folder(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several processes train together."""
    monkeypatch.setattr(Accelerator, "is_main_process", False)
    (tmp_path / "pitch").mkdir()
    with open(tmp_path / "pitch" / ".lock", "ab") as file:
        assert lock(file.fileno())
        trainer(store, tmp_path, "pitch")


def test_a_hold_ends_with_its_last_reference(tmp_path: Path) -> None:
    first, second = held(tmp_path), held(tmp_path / ".")
    assert first is second
    del first
    assert not is_free(tmp_path)
    del second
    assert is_free(tmp_path)


def test_the_lock_of_another_user_serves_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with alone(tmp_path):
        (tmp_path / "mel.npy").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with alone(tmp_path):
        assert not is_free(tmp_path)
