from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fastvoicegrad.library import VoiceLibrary
from tests.library.voices import BEN


@pytest.fixture
def presets(tmp_path: Path) -> Path:
    """Two presets; their order is not alphabetical."""
    folder = tmp_path / "presets"
    folder.mkdir()
    for name in ("nora", "Ben"):
        replace(BEN, description=f"a preset: {name}").save(folder / f"{name}.voice", most_frames=10)
    (folder / "nora.opus").write_bytes(b"a preview")
    (folder / "index.json").write_text(json.dumps(["nora", "Ben"]))
    return folder


@pytest.fixture
def library(tmp_path: Path, presets: Path) -> VoiceLibrary:
    return VoiceLibrary(tmp_path / "data" / "voices", presets)
