from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Path:
    """Every part trained for four steps, in the order in which they need each other."""
    pytest.importorskip("torch")
    from fastvoicegrad.train.recipe import PARTS

    from .tiny_runs import trainer

    root = tmp_path_factory.mktemp("runs")
    for part in PARTS:
        scores = trainer(store, root, part).run()
        assert scores
        assert all(value == value for value in scores.values()), f"{part}: {scores}"
    return root
