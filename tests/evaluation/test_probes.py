from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from fastvoicegrad import InputError
from fastvoicegrad.evaluation import probes
from tests.cli.conftest import Inside, inside  # noqa: F401


class Teacher:
    """Two unit vectors, one for low and one for high voices, by the rate of zero crossings."""

    def __init__(self, weights: str) -> None:
        assert Path(weights).name == "campplus.pt"

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        vector = np.zeros(192, np.float32)
        spectrum = np.abs(np.fft.rfft(wave))
        vector[int(np.argmax(spectrum[: len(wave) // 100]) / len(wave) * 16000 > 150)] = 1.0
        return vector


def test_probes_of_two_voices(
    manifest: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    inside: Inside,  # noqa: F811
) -> None:
    monkeypatch.setattr(probes, "SpeakerTeacher", Teacher)
    (tmp_path / "campplus.pt").write_bytes(b"")
    words = ("--manifest", manifest, "--campplus", tmp_path / "campplus.pt", "--bundle", folder, "--per-voice", 4)
    done = inside("dev", "probe", *words)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["content"]["voices"], found["content"]["recordings"], found["content"]["chance %"]) == (2, 8, 50)
    assert found["content"]["mel %"] == 100  # pitch tells the two apart
    assert found["speaker"]["teacher's EER %"] == 0
    assert -1 <= found["speaker"]["cosine to teacher"] <= 1


def test_two_voices_are_needed(manifest: Path, tmp_path: Path) -> None:
    for per_voice in (0, 1):
        with pytest.raises(InputError, match="needs two test voices with two recordings each"):
            probes.probe(manifest, tmp_path / "campplus.pt", per_voice=per_voice)


def test_weights_that_are_missing_are_named(manifest: Path, tmp_path: Path, inside: Inside) -> None:  # noqa: F811
    done = inside("dev", "probe", "--manifest", manifest, "--campplus", tmp_path / "none.pt")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "none.pt: no such file" in done.stderr
