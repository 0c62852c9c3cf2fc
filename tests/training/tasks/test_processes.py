"""Several processes share a batch: the same run as one process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from tests.training.tasks.tiny_runs import RECIPES, settings, stream_settings, trainer  # noqa: E402

EQUAL = ("teacher", "student", "student with content")
PARTS = (*EQUAL, "vocoder", "stream-renderer", "stream-converter")  # losses of the others are no means over a batch


def more_settings(runs: Path, name: str) -> list[str]:
    """Settings of a training beyond the smoke recipe's."""
    if "with content" not in name:
        return []
    content = f"content={runs / 'content' / 'last.safetensors'}"
    return [content, "train_content=true", "data.context=32", "weights.content=1.0", "conversions=2"]


@pytest.fixture(scope="module")
def shared(runs: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two processes, which train all parts in one start and compare their weights after each."""
    root, commands = tmp_path_factory.mktemp("shared"), []
    for name in PARTS:
        part = name.split()[0]
        recipe = "streaming" if part.startswith("stream-") else part
        words = ["dev", "train", part, "--recipe", RECIPES / "smoke" / f"{recipe}.yaml", "-o", root / name]
        own = stream_settings if part.startswith("stream-") else settings
        for setting in own(store, runs, part, *more_settings(runs, name), "loop.threads=1"):
            words += ["--set", setting]
        commands.append(list(map(str, words)))
    (root / "commands.json").write_text(json.dumps(commands))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    program = [str(Path(__file__).with_name("two_processes.py")), str(root / "commands.json")]
    done = subprocess.run([*launch, *program], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return root


@pytest.mark.slow
@pytest.mark.parametrize("name", EQUAL)
def test_two_processes_equal_one(runs: Path, store: Path, shared: Path, tmp_path: Path, name: str) -> None:
    whole, more = runs / name, more_settings(runs, name)
    if more:
        whole = tmp_path / "whole"
        trainer(store, runs, name.split()[0], *more, name=str(whole)).run()
    alone, together = load_file(whole / "last.safetensors"), load_file(shared / name / "last.safetensors")
    assert alone.keys() == together.keys()
    for key in alone:
        # Four steps of Adam move a weight by about 4e-3, whatever the size of its gradient.
        torch.testing.assert_close(together[key].float(), alone[key].float(), atol=4e-5, rtol=1e-4)
