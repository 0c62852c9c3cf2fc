"""One of several processes that train together, started by torch.distributed.run: part by part, as `dev train` does."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from typer.testing import CliRunner

from fastvoicegrad.cli import app


def main(path: Path) -> None:
    """Run the commands in a file: a JSON list of lists of words."""
    for words in json.loads(path.read_text()):
        done = CliRunner().invoke(app, words)
        if done.exit_code != 0:
            raise SystemExit(f"{' '.join(words)}\n{done.output}\n{done.exception!r}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
