"""Several processes share a batch: the same run as one process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from tests.training.tasks.tiny_runs import RECIPES, settings, trainer  # noqa: E402


@pytest.mark.parametrize("part", ["teacher", "student", "student with content"])
def test_two_processes_equal_one(runs: Path, store: Path, tmp_path: Path, part: str) -> None:
    part, *content = part.split(" with ")
    more = [f"content={runs / 'content' / 'last.safetensors'}", "train_content=true", "data.context=32"]
    more = [*more, "weights.content=1.0", "conversions=2"] if content else []
    recipe = RECIPES / "smoke" / f"{part}.yaml"
    command = ["-m", "fastvoicegrad", "dev", "train", part, "--recipe", recipe, "-o", tmp_path / part]
    for setting in (*settings(store, runs, part, *more), "loop.threads=1"):
        command += ["--set", setting]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run([*launch, *map(str, command)], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    whole = runs / part
    if content:
        whole = tmp_path / "whole"
        trainer(store, runs, part, *more, name=str(whole)).run()
    alone, shared = load_file(whole / "last.safetensors"), load_file(tmp_path / part / "last.safetensors")
    assert alone.keys() == shared.keys()
    for key in alone:
        # Four steps of Adam move a weight by about 4e-3, whatever the size of its gradient.
        torch.testing.assert_close(shared[key].float(), alone[key].float(), atol=4e-5, rtol=1e-4)
