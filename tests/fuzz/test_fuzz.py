"""Two thousand damaged inputs end in a result or in one line."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fastvoicegrad.bundle import DEFAULT

from .damage import damaged, damaged_tree
from .run import COLUMNS, failures, run_cases, table
from .worker import MAKERS, kind_of

CASES = 2000
MOST_MEMORY = 2048  # MB

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="limits of memory and time need POSIX")


@pytest.fixture(scope="module")
def bundle(request: pytest.FixtureRequest) -> Path:
    """The tiny bundle, whose cases are fast; without PyTorch the default one."""
    if importlib.util.find_spec("torch") is None:
        return DEFAULT
    folder: Path = request.getfixturevalue("folder")
    return folder


@pytest.mark.slow
def test_damaged_inputs_end_in_a_result_or_one_line(bundle: Path) -> None:
    results = run_cases(bundle, range(CASES), jobs=1)
    bad = [f"{r['number']} {r['kind']}: {r['outcome']} {r['left']} {r['message'][-300:]}" for r in failures(results)]
    assert not bad, "\n".join([f"{len(bad)} of {CASES} cases failed", *bad[:20], table(results)])
    assert len(results) == CASES
    assert max(result["peak"] for result in results) < MOST_MEMORY
    good = Counter(result["kind"] for result in results if result["outcome"] == "success")
    assert set(good) == set(MAKERS), "no case of a kind was left whole: too much damage tests too little"


def test_every_failure_is_counted() -> None:
    """The judge of the cases itself."""
    base = {"number": 0, "kind": "array", "message": "", "left": [], "peak": 1, "seconds": 0.1}
    for outcome in COLUMNS:
        assert len(failures([base | {"outcome": outcome}])) == (outcome not in ("success", "refused"))
    assert failures([base | {"outcome": "success", "left": ["x"]}])
    assert "| array | 0 | 0 | 0 | 0 | 0 | 1 | 0 | 0 | 1 |" in table([base | {"outcome": "hang"}])


def test_a_case_is_a_function_of_its_number() -> None:
    data, tree = bytes(range(256)) * 10, {"a": 1, "b": [1, 2], "c": {"d": "x"}}
    for number in range(50):
        assert damaged(data, np.random.default_rng(number)) == damaged(data, np.random.default_rng(number))
        assert repr(damaged_tree(tree, np.random.default_rng(number))) == repr(
            damaged_tree(tree, np.random.default_rng(number))
        )
    assert Counter(map(kind_of, range(100))) == {kind: share for kind, (_, share) in MAKERS.items()}
