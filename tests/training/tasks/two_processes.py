"""One of several processes that train together, started by torch.distributed.run: part by part, as `dev train` does."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from typer.testing import CliRunner

from fastvoicegrad.cli import app
from fastvoicegrad.training.loop import Trainer


def main(path: Path) -> None:
    """Run the commands in a file: a JSON list of lists of words."""
    trainers, run = list[Trainer](), Trainer.run
    Trainer.run = lambda trainer: (trainers.append(trainer), run(trainer))[1]  # type: ignore[method-assign]
    for words in json.loads(path.read_text()):
        done = CliRunner().invoke(app, words)
        if done.exit_code != 0:
            raise SystemExit(f"{' '.join(words)}\n{done.output}\n{done.exception!r}")
        weights = [w.detach().clone() for m in trainers[-1].task.modules.values() for w in m.parameters()]
        for other in gather_object([weights]):
            if not all(torch.equal(one, same) for one, same in zip(weights, other, strict=True)):
                raise SystemExit(f"process {PartialState().process_index} has other weights after {' '.join(words)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
