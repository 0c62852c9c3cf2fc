from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastvoicegrad import InputError, Voice
from fastvoicegrad.voice import pool


def unit(*x: float) -> np.ndarray:
    v = np.array(x, np.float32)
    return v / np.linalg.norm(v)


def test_round_trip(tmp_path: Path) -> None:
    voice = Voice(unit(1, 2, 3), "abc", 4.5, ["a.wav"])
    voice.save(tmp_path / "x.voice")
    again = Voice.load(tmp_path / "x.voice")
    np.testing.assert_allclose(again.embedding, voice.embedding, atol=1e-7)
    assert (again.encoder, again.seconds, again.sources) == ("abc", 4.5, ["a.wav"])
    assert [p.name for p in tmp_path.iterdir()] == ["x.voice"]


def test_pooling_is_by_duration_and_weight() -> None:
    a, b = Voice(unit(1, 0), "e", 3.0, ["a"]), Voice(unit(0, 1), "e", 1.0, ["b"])
    np.testing.assert_allclose(pool([a, b]).embedding, unit(3, 1), atol=1e-6)
    np.testing.assert_allclose(pool([a, b], [1, 3]).embedding, unit(1, 1), atol=1e-6)
    assert pool([a, b]).seconds == 4.0
    assert pool([a, b]).sources == ["a", "b"]


def test_bad_pools() -> None:
    a, b = Voice(unit(1, 0), "e", 3.0), Voice(unit(0, 1), "f", 1.0)
    for voices, weights, text in (
        ([], None, "no reference"),
        ([a, b], None, "different bundles"),
        ([a], [-1.0], "weights"),
    ):
        with pytest.raises(InputError, match=text):
            pool(voices, weights)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[1]",
        '{"format": 99, "embedding": []}',
        '{"format": 1, "embedding": [[1]], "encoder": "", "seconds": 1}',
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.voice").write_text(text)
    with pytest.raises(InputError):
        Voice.load(tmp_path / "x.voice")
