from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fastvoicegrad import InputError, Voice
from fastvoicegrad.voice import FORMAT, MOST_FRAMES, pool


def unit(*x: float) -> np.ndarray:
    v = np.array(x, np.float32)
    return v / np.linalg.norm(v)


def voice_of(embedding: np.ndarray, encoder: str, seconds: float, name: str = "", frames: int = 8) -> Voice:
    """Every frame of the mel holds the voice's duration."""
    keys, mel = np.zeros((144, frames), np.float32), np.full((80, frames), seconds, np.float32)
    return Voice(embedding, keys, mel, 100 * seconds, encoder, seconds, [name])


def test_round_trip(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    keys, mel = (random.standard_normal((n, 7)).astype(np.float32) for n in (144, 80))
    voice = Voice(unit(1, 2, 3), keys, mel, 123.5, "abc", 4.5, ["a.wav"])
    voice.save(tmp_path / "x.voice")
    again = Voice.load(tmp_path / "x.voice")
    np.testing.assert_allclose(again.embedding, voice.embedding, atol=1e-7)
    np.testing.assert_allclose(again.keys, keys, atol=2e-3)
    np.testing.assert_allclose(again.mel, mel, atol=2e-3)
    assert (again.pitch, again.encoder, again.seconds, again.sources) == (123.5, "abc", 4.5, ["a.wav"])
    assert [p.name for p in tmp_path.iterdir()] == ["x.voice"]


def test_pooling_is_by_duration_and_weight() -> None:
    a, b = voice_of(unit(1, 0), "e", 3.0, "a"), voice_of(unit(0, 1), "e", 1.0, "b")
    np.testing.assert_allclose(pool([a, b]).embedding, unit(3, 1), atol=1e-6)
    np.testing.assert_allclose(pool([a, b], [1, 3]).embedding, unit(1, 1), atol=1e-6)
    assert pool([a, b]).pitch == pytest.approx(300**0.75 * 100**0.25)  # three parts to one, on a musical scale
    assert pool([a, b]).seconds == 4.0
    assert pool([a, b]).sources == ["a", "b"]


def test_frames_are_shared_by_duration_and_weight() -> None:
    """Of two voices with equally many frames, the one with three times the weight gives three times the frames."""
    a, b = voice_of(unit(1, 0), "e", 3.0, frames=600), voice_of(unit(0, 1), "e", 1.0, frames=600)
    assert [(pool([a, b]).mel[0] == seconds).sum() for seconds in (3.0, 1.0)] == [600, 200]
    assert [(pool([a, b], [0, 1]).mel[0] == seconds).sum() for seconds in (3.0, 1.0)] == [0, 600]
    long = voice_of(unit(1, 0), "e", 3.0, frames=2 * MOST_FRAMES)
    assert pool([long, long]).keys.shape == (144, MOST_FRAMES)


def test_bad_pools() -> None:
    a, b = voice_of(unit(1, 0), "e", 3.0), voice_of(unit(0, 1), "f", 1.0)
    for voices, weights, text in (
        ([], None, "no reference"),
        ([a, b], None, "different bundles"),
        ([a], [-1.0], "weights"),
    ):
        with pytest.raises(InputError, match=text):
            pool(voices, weights)


def about(**changed: object) -> np.ndarray:
    return np.array(
        json.dumps({"format": FORMAT, "pitch": 100.0, "encoder": "", "seconds": 1.0, "sources": []} | changed)
    )


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": 1, "embedding": [1], "encoder": "", "seconds": 1}'])
def test_files_of_another_kind_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.voice").write_text(text)
    with pytest.raises(InputError, match="voice make"):
        Voice.load(tmp_path / "x.voice")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"about": about(format=99)}, "format 99"),
        ({"about": about(surprise=1)}, "not a voice"),
        ({"about": about(pitch=0.0)}, "damaged"),
        ({"embedding": np.ones((1, 2))}, "damaged"),
        ({"keys": np.ones((144, 3))}, "damaged"),
        ({"mel": np.full((80, 2), np.nan)}, "damaged"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, changed: dict[str, np.ndarray], message: str) -> None:
    whole = {"about": about(), "embedding": np.ones(2), "keys": np.ones((144, 2)), "mel": np.ones((80, 2))}
    with (tmp_path / "x.voice").open("wb") as file:
        np.savez(file, **(whole | changed))
    with pytest.raises(InputError, match=message):
        Voice.load(tmp_path / "x.voice")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    voice_of(unit(1, 0), "e", 1.0).save(tmp_path / "x.voice")
    data = (tmp_path / "x.voice").read_bytes()
    (tmp_path / "x.voice").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="voice make"):
        Voice.load(tmp_path / "x.voice")
