from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
from typer.testing import CliRunner

from fastvoicegrad.cli import app
from tests.conftest import vowels


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A protocol of two voices that say five things each, made by the command."""
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
    words = ("--make-pairs", folder / "manifest.jsonl", "--pairs", folder / "pairs.jsonl", "--sentences", 2)
    made = CliRunner().invoke(app, ["evaluate", *map(str, words)])
    assert made.exit_code == 0, made.output
    assert len((folder / "pairs.jsonl").read_text().splitlines()) == 4
    return folder / "pairs.jsonl"
