"""A tiny bundle that finds speech, and recordings of two speakers that are none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import soundfile

from fastvoicegrad.bundle import DEFAULT, Bundle
from fastvoicegrad.preview import SAMPLE
from tests.conftest import RATE, vowels


@pytest.fixture(autouse=True)
def few_sources(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Little shipped speech, to save time: two recordings, of which one is held back, beside the demo's."""
    few = tmp_path_factory.mktemp("speech")
    for number in range(2):
        shutil.copy(SAMPLE, few / f"{number:02}.opus")
    entries = [{"text": "Hola.", "language": "es"}, {"text": "Hello!", "language": "en-us"}]
    (few / "index.json").write_text(json.dumps(entries))
    monkeypatch.setattr("fastvoicegrad.training.adapt.shipped.SPEECH", few)


@pytest.fixture(scope="session")
def bundle(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny networks with the default bundle's pitch tracker."""
    made = tmp_path_factory.mktemp("adapt") / "bundle"
    shutil.copytree(folder, made)
    shutil.copy(DEFAULT / "pitch.onnx", made / "pitch.onnx")
    config, default = (json.loads((path / "config.json").read_text()) for path in (made, DEFAULT))
    config["networks"]["pitch"] = default["networks"]["pitch"]
    (made / "config.json").write_text(json.dumps(config))
    return made


@pytest.fixture(scope="session")
def stream_bundle(bundle: Path, stream_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny networks that stream, for voices of `bundle`."""
    made = tmp_path_factory.mktemp("adapt") / "stream"
    shutil.copytree(stream_folder, made)
    config = json.loads((made / "config.json").read_text())
    (made / "config.json").write_text(json.dumps(config | {"encoder": Bundle.open(bundle).fingerprint}))
    return made


@pytest.fixture(scope="session")
def speech_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six recordings of one speaker, 15 s."""
    made = tmp_path_factory.mktemp("anna")
    for number in range(6):
        soundfile.write(made / f"{number}.wav", vowels(2.5, pitch=190 + 3 * number, seed=number), RATE)
    return made
