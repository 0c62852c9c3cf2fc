from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fastvoicegrad import InputError  # noqa: E402
from tests.training.tasks.tiny_runs import lend, trainer  # noqa: E402


@pytest.mark.parametrize(
    ("part", "settings", "message"),
    [
        ("content", ["model.features=7"], "has 5 columns, and model.features is 7; set it to 5"),
        ("content", ["model.units=8"], "has 16 units, and model.units is 8; set it to 16 or more"),
        ("content", ["keep=content_unperturbed", "model.dim=96"], "has 144 columns, and model.dim is 96"),
        ("stream-content", ["model.units=8"], "has 16 units, and model.units is 8"),
        ("stream-content", ["model.dim=96"], "has 144 columns, and model.dim is 96"),
        ("speaker", ["model.dim=64"], "has 192 columns, and model.dim is 64"),
        ("teacher", ["model.content_dim=96"], "has 144 columns, and model.content_dim is 96"),
        ("teacher", ["model.speaker_dim=64"], "has 192 columns, and model.speaker_dim is 64"),
        ("diffvc", ["score.speaker_dim=64"], "has 192 columns, and score.speaker_dim is 64"),
        ("stream-converter", ["model.content_dim=96"], "has 144 columns, and model.content_dim is 96"),
        ("stream-converter", ["model.speaker_dim=64"], "has 192 columns, and model.speaker_dim is 64"),
    ],
)
def test_a_model_that_does_not_fit_the_store_is_refused(
    runs: Path, store: Path, tmp_path: Path, part: str, settings: list[str], message: str
) -> None:
    lend(runs, tmp_path)
    (tmp_path / "student").symlink_to(runs / "student")
    with pytest.raises(InputError, match=message):
        trainer(store, tmp_path, part, *settings, name="refused")


@pytest.mark.parametrize("part", ["student", "stream-converter"])
@pytest.mark.parametrize(("array", "setting"), [("content_unperturbed", "content_dim"), ("speaker", "speaker_dim")])
def test_a_teacher_that_does_not_fit_the_store_is_refused(
    runs: Path, store: Path, tmp_path: Path, part: str, array: str, setting: str
) -> None:
    """The store's embeddings are of other encoders than the teacher was trained with."""
    lend(runs, tmp_path)
    (tmp_path / "student").symlink_to(runs / "student")
    other = tmp_path / "store"
    other.mkdir()
    for path in store.iterdir():
        (other / path.name).symlink_to(path)
    (other / f"{array}.npy").unlink()
    np.save(other / f"{array}.npy", np.load(store / f"{array}.npy")[:, :64])
    fitting = [f"model.{setting}=64"] if part == "stream-converter" else []
    with pytest.raises(InputError, match=rf"{array}\.npy has 64 columns, and the teacher's model\.{setting} is"):
        trainer(other, tmp_path, part, *fitting, name="refused")
