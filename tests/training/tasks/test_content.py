from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from fastvoicegrad import InputError  # noqa: E402
from fastvoicegrad.training.networks import load_content  # noqa: E402
from tests.training.tasks.tiny_runs import trainer  # noqa: E402


@pytest.mark.parametrize(("part", "prefix"), [("encoder", "encoder."), ("units", "heads.units.")])
def test_the_frozen_part_stays_and_the_rest_is_trained(
    runs: Path, store: Path, tmp_path: Path, part: str, prefix: str
) -> None:
    with pytest.raises(InputError, match="start_from"):
        trainer(store, tmp_path, "content", f"frozen={part}")
    start = runs / "content" / "last.safetensors"
    run = trainer(store, tmp_path, "content", f"frozen={part}", f"loop.start_from={start}", "loop.ema=0.0")
    run.run()
    before, after = load_content(start).state_dict(), load_content(run.last).state_dict()
    same = {key for key in before if torch.equal(before[key], after[key])}
    statistics = {key for key in before if key.startswith("encoder.norm.")}
    assert same | statistics == {key for key in before if key.startswith(prefix)} | statistics
