from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fastvoicegrad import InputError  # noqa: E402
from fastvoicegrad.mel import MEL, log_mel  # noqa: E402
from fastvoicegrad.training.data.store import Store  # noqa: E402
from fastvoicegrad.training.models.speaker import SpeakerConfig, SpeakerEncoder, resampled  # noqa: E402
from fastvoicegrad.training.tasks.speaker import DELAY, LabelledCrops, SpeakerTask, fit_front  # noqa: E402
from tests.training.tasks.tiny_runs import trainer  # noqa: E402


def test_batches_hold_the_teachers_embeddings(store: Path, tmp_path: Path) -> None:
    task = trainer(store, tmp_path, "speaker").task
    assert isinstance(task, SpeakerTask)
    batch = task.batch(np.random.default_rng(0), 4)
    assert batch["mel"].shape[:2] == (len(batch["target"]), 80)
    assert batch["target"].norm(dim=1).numpy() == pytest.approx(1, abs=1e-3)
    task.modules["speaker"] = lambda mel: batch["target"]  # type: ignore[assignment]
    losses = task.losses(batch)
    assert losses["cosine"] == pytest.approx(0, abs=1e-5)
    assert losses["geometry"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("held", [{"generator": {"x": 1}}, {"a.weight": torch.zeros(1)}, {}, [1], "text", None])
def test_another_file_than_the_verifiers_is_refused(store: Path, tmp_path: Path, held: object) -> None:
    path = tmp_path / "weights.pt"
    if held == "text":
        path.write_text("no weights")
    elif held is not None:
        torch.save(held, path)
    with pytest.raises(InputError, match=r"published=.*weights\.pt does not hold CAM\+\+'s weights in the sizes"):
        trainer(store, tmp_path, "speaker", f"published={path}")


def test_a_split_without_embeddings_of_the_teacher_is_refused(store: Path) -> None:
    opened = Store(store)
    teacher = opened.array("speaker_teacher").copy()
    teacher[[entry.recording.split == "valid" for entry in opened.entries]] = np.nan
    opened._arrays["speaker_teacher"] = teacher
    LabelledCrops(opened, "train", 48)
    with pytest.raises(InputError, match="has no 'valid' recording of 48 frames with an embedding by the speaker"):
        LabelledCrops(opened, "valid", 48)


def test_the_front_end_is_fitted_to_the_verifiers_features() -> None:
    """Of noise with a moving spectrum, the fit explains most of the published mel."""
    kaldi = pytest.importorskip("torchaudio.compliance.kaldi")
    random = np.random.default_rng(0)
    slow = np.repeat(random.uniform(0.01, 1, 40), 2205)
    waves = [
        (slow * np.convolve(random.standard_normal(len(slow)), random.standard_normal(8), "same") * 0.1).astype(
            np.float32
        )
        for _ in range(12)
    ]
    encoder = SpeakerEncoder(SpeakerConfig(width=4, entrance=8, growth=4, layers=(1,)))
    fit_front(encoder, waves)
    from fastvoicegrad.training.data.teachers import to_teacher_rate

    late = np.pad(to_teacher_rate(waves[0], MEL.sample_rate), (DELAY, 0))
    wanted = kaldi.fbank(torch.from_numpy(late)[None], num_mel_bins=80, sample_frequency=16000)
    with torch.no_grad():
        found = encoder.front(resampled(torch.from_numpy(log_mel(waves[0]))[None]))[0].T
    count = min(len(found), len(wanted))
    left = (found[:count] - wanted[:count]).var() / wanted[:count].var()
    assert left < 0.3
