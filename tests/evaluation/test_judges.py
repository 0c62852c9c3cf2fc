"""Judges are loaded and tried before the training that they judge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("jiwer")
pytest.importorskip("tokenizers")

from fastvoicegrad import InputError
from fastvoicegrad.evaluation import judges as module
from fastvoicegrad.evaluation.registry import METRICS, MetricSpec
from fastvoicegrad.evaluation.speaker import Ecapa, Encoder, SpeakerSimilarity


class Plain(Encoder):
    """Any judge."""

    name, kind = "some judge", "a judge of this test"

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        assert wave.dtype == np.float32
        TRIED.append(len(wave))
        return np.ones(4) / 2


TRIED = list[int]()


def failing(error: Exception) -> type[Encoder]:
    class Failing(Plain):
        def __call__(self, wave: np.ndarray) -> np.ndarray:
            raise error

    return Failing


def use(monkeypatch: pytest.MonkeyPatch, make: Callable[[str], Encoder], folder: Path) -> None:
    (folder / "judge.pt").write_bytes(b"weights")
    spec = MetricSpec("speaker", lambda _, path: SpeakerSimilarity(make(path)), "judge.pt")
    monkeypatch.setattr(module, "METRICS", (spec,))


def test_a_judge_is_tried_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Plain, tmp_path)
    TRIED.clear()
    assert list(module.judges(tmp_path).encoders) == ["some judge"]
    assert TRIED == [16000]


@pytest.mark.parametrize(
    "error", [ValueError("two\nlines"), StopIteration(), KeyError("weights"), OSError(5, "Input/output error")]
)
def test_a_judge_that_cannot_be_loaded_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    use(monkeypatch, failing(error), tmp_path)
    with pytest.raises(InputError, match=r"^the judge some judge cannot be loaded \(.+\); check \S+$") as refused:
        module.judges(tmp_path)
    assert "\n" not in str(refused.value)


def test_too_little_memory_is_no_fault_of_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, failing(MemoryError()), tmp_path)
    with pytest.raises(MemoryError):
        module.judges(tmp_path)


def test_damaged_weights_are_found_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "METRICS", [spec for spec in METRICS if spec.weights == "ge2e.pt"])
    (tmp_path / "ge2e.pt").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"GE2E's weights .*ge2e\.pt cannot be read"):
        module.judges(tmp_path)


def test_damaged_weights_of_ecapa_are_named(tmp_path: Path) -> None:
    pytest.importorskip("speechbrain")
    (tmp_path / "ecapa.ckpt").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"ECAPA's weights .*ecapa\.ckpt cannot be read; name SpeechBrain's"):
        Ecapa(str(tmp_path / "ecapa.ckpt"))(np.zeros(16000, np.float32))
