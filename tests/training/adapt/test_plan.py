"""The plan in an adaptation's folder: damaged ones, those of other work, and runs that meet."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

pytest.importorskip("torch")

from fastvoicegrad import InputError
from fastvoicegrad.bundle import Bundle
from fastvoicegrad.bundle_config import BundleConfig
from fastvoicegrad.files import lock
from fastvoicegrad.training.adapt import corpus, run
from fastvoicegrad.training.adapt.recordings import Clip, Recordings
from fastvoicegrad.training.adapt.run import Budget, Work, adapt, threads_of
from fastvoicegrad.training.adapt.shipped import Shipped
from fastvoicegrad.version import __version__

SAVED = {"version": __version__, "trains": "adapter", "digest": "d", "asked": 6, "minutes": None}
PLANNED = {"steps": 6, "threads": 1, "precision": "no"}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        json.dumps(SAVED).encode(),
        json.dumps(SAVED | PLANNED | {"threads": 0}).encode(),
        json.dumps(SAVED | PLANNED | {"threads": "two"}).encode(),
        json.dumps(SAVED | PLANNED | {"precision": "int8"}).encode(),
    ],
)
def test_a_damaged_plan_is_one_line(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "plan.json").write_bytes(text)
    with pytest.raises(InputError, match=r"is damaged \(plan\.json cannot be read\); delete it"):
        threads_of(tmp_path, Budget(threads=2))


def test_a_run_that_continues_names_its_threads(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(json.dumps(SAVED | PLANNED))
    work, notes = cast(Work, SimpleNamespace(folder=tmp_path, name="adapter", digest="d")), list[str]()
    for threads in (None, 1):
        run._planned(work, None, Budget(steps=6, threads=threads), notes.append)
    assert notes == []
    assert run._planned(work, None, Budget(steps=6, threads=2), notes.append).threads == 1
    assert notes == ["the run continues with 1 thread: another --threads would round differently"]


# -- what a run is of ---------------------------------------------------------------------------------------


def clips(count: int) -> list[Clip]:
    mel = np.arange(80 * 100, dtype=np.float32).reshape(80, 100)
    return [Clip(mel[0], mel + number, mel[0], mel) for number in range(count)]


def digest(config: BundleConfig, name: str = "anna", train: int = 3) -> str:
    """Of five clips, the first of which are trained on."""
    made = clips(5)
    bundle = SimpleNamespace(config=config)
    recordings = Recordings(name, made[:train], made[train:], cast(Any, None))
    return Work(cast(Any, SimpleNamespace(bundle=bundle)), [recordings], Shipped([], []), Path()).digest


def test_a_run_belongs_to_its_bundle_and_its_voices() -> None:
    config = Bundle.open().config
    before = digest(config)
    for name, network in config.networks.items():
        other = config.networks | {name: replace(network, sha256="0" * 64)}
        assert digest(replace(config, networks=other)) != before, name
    for setting, value in {"start": 3, "temperature": 0.1, "guidance": 0.9, "initial": "noise"}.items():
        assert digest(replace(config, **{setting: value})) != before, setting  # type: ignore[arg-type]
    assert digest(config, name="ben") == before
    assert digest(config, train=4) != before
    assert digest(replace(config, name="other", version="0.1", notes={})) == before


# -- runs that meet -----------------------------------------------------------------------------------------


def reading(*arguments: object) -> None:
    pytest.fail("it read recordings")


@pytest.mark.parametrize(("begin", "output"), [(adapt, "made.voice"), (corpus.train_on, "made")])
def test_a_second_run_on_one_output_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begin: Callable[..., object], output: str
) -> None:
    for module in (run, corpus):
        monkeypatch.setattr(module, "read_voice", reading)
    for folder in ("made.adapt", "corpus"):
        (tmp_path / folder).mkdir()
    with open(tmp_path / "made.adapt" / ".lock", "ab") as file:
        assert lock(file.fileno())
        with pytest.raises(InputError, match=r"another run works in .*made\.adapt; wait for its end, or name another"):
            begin([tmp_path / "corpus"], tmp_path / output, Budget(steps=1))


def test_a_run_that_came_to_nothing_leaves_no_folder(tmp_path: Path) -> None:
    for _ in range(2):  # its lock is free again
        with pytest.raises(InputError, match="no such file or folder"):
            adapt([tmp_path / "none.wav"], tmp_path / "anna.voice", Budget(steps=1, threads=1))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "anna.adapt").touch()
    with pytest.raises(InputError, match=r"anna\.adapt cannot be made a folder"):
        adapt([tmp_path / "none.wav"], tmp_path / "anna.voice", Budget(steps=1, threads=1))
