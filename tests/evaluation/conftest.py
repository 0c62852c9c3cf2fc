from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import soundfile

from tests.conftest import vowels


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two synthetic voices with six sentences each."""
    folder = tmp_path_factory.mktemp("speech")
    rows = []
    for voice, pitch in (("low", 110.0), ("high", 200.0)):
        for number in range(6):
            wave = vowels(1.2, pitch, 16000, seed=number)
            soundfile.write(folder / f"{voice}{number}.wav", wave, 16000)
            rows.append(
                {"id": f"{voice}{number}", "path": f"{voice}{number}.wav", "corpus": "made", "split": "test"}
                | {"speaker": voice, "text": f"sentence {number}", "duration": 1.2, "sample_rate": 16000}
            )
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "manifest.jsonl"


@pytest.fixture(scope="session")
def pairs(manifest: Path) -> Path:
    """A protocol file of four pairs."""
    pytest.importorskip("torch")
    from fastvoicegrad.evaluation.pairs import pairs_of_manifest, write_pairs

    made = pairs_of_manifest(manifest, [], "test", sentences=2, references=3, seed=0, longest=30.0)
    assert len(made) == 4
    write_pairs(manifest.parent / "pairs.jsonl", made)
    return manifest.parent / "pairs.jsonl"


@pytest.fixture(scope="session")
def two_pairs(pairs: Path) -> Path:
    """A protocol file of two pairs, one in each direction."""
    from fastvoicegrad.evaluation.pairs import read_pairs, write_pairs

    found = {pair.natural.voice: pair for pair in read_pairs(pairs)}
    assert len(found) == 2
    write_pairs(pairs.parent / "two.jsonl", found.values())
    return pairs.parent / "two.jsonl"


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluation computes its figures in this process: another one needs ten seconds for its imports.

    tests/evaluation/test_run.py evaluates in several processes.
    """
    from fastvoicegrad.evaluation import run

    class Pool:
        def __init__(self, jobs: int, context: Any, start: Callable[..., None], arguments: tuple[run.Plan]) -> None:
            monkeypatch.setattr(run, "_evaluator", run.Evaluator(*arguments), raising=False)

        def submit(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_result(work(*arguments))
            return future

        def shutdown(self, wait: bool, cancel_futures: bool) -> None:
            pass

    monkeypatch.setattr(run, "ProcessPoolExecutor", Pool)
