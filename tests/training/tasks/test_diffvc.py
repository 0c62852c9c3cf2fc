from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fastvoicegrad import InputError  # noqa: E402
from fastvoicegrad.training.data.average_voice import average_mels  # noqa: E402
from fastvoicegrad.training.data.store import Store  # noqa: E402
from fastvoicegrad.training.models.diffvc import PUBLISHED, DiffVc, DiffVcConfig, ScoreConfig  # noqa: E402
from fastvoicegrad.training.models.diffvc_encoder import AverageVoiceConfig  # noqa: E402
from fastvoicegrad.training.networks import load_diffvc  # noqa: E402
from tests.training.tasks.tiny_runs import trainer  # noqa: E402

TINY = DiffVcConfig(
    AverageVoiceConfig(width=16, filters=16, layers=1, postnet=8),
    ScoreConfig(width=8, condition=8, heads=2, head_dim=4),
)


def test_the_average_voice_is_the_mean_mel_of_each_unit(store: Path) -> None:
    opened = Store(store)
    train = np.concatenate([np.r_[entry.slice] for entry in opened.split("train")])
    units, mel = opened.array("units")[train], opened.array("mel")[train].astype(np.float64)
    means = average_mels(opened)
    for unit in (0, 7, 15):
        np.testing.assert_allclose(means[unit], mel[units == unit].mean(0), rtol=1e-5)


def test_the_score_network_starts_near_the_published_size() -> None:
    with torch.device("meta"):
        model = DiffVc(PUBLISHED)
    millions = {name: sum(p.numel() for p in getattr(model, name).parameters()) / 1e6 for name in ("encoder", "score")}
    assert 5 < millions["encoder"] < 10
    assert 100 < millions["score"] < 130


@pytest.mark.parametrize("frames", [4, 36])
def test_shapes_and_gradients(frames: int) -> None:
    torch.manual_seed(0)
    model, mel = DiffVc(TINY), torch.randn(2, 80, frames)
    target = (torch.randn(2, 80, 20), torch.randn(2, 80, 20))
    score = model(mel, model.average(mel), torch.tensor([0.1, 0.9]), torch.randn(2, 192), target)
    assert score.shape == mel.shape
    score.square().mean().backward()
    without = {name for name, p in model.score.named_parameters() if p.grad is None}
    assert not without
    assert all(p.grad is None for p in model.encoder.parameters())


def test_the_encoder_has_no_dropout_before_the_first_validation() -> None:
    network = DiffVc(DiffVcConfig())
    assert not network.encoder.training


def test_the_encoder_has_no_dropout_while_the_score_network_trains() -> None:
    model = DiffVc(TINY).train()
    mel = torch.randn(1, 80, 16)
    assert torch.equal(model.average(mel), model.average(mel))
    assert model.score.training


def test_training_changes_the_score_network_alone(runs: Path, store: Path, tmp_path: Path) -> None:
    (tmp_path / "diffvc-encoder").symlink_to(runs / "diffvc-encoder")
    run = trainer(store, tmp_path, "diffvc")
    before = {name: value.clone() for name, value in run.task.modules["diffvc"].state_dict().items()}
    assert run.train_step()["score"] > 0
    changed = {
        name.split(".")[0] for name, v in run.task.modules["diffvc"].state_dict().items() if (v != before[name]).any()
    }
    assert changed == {"score"}
    with pytest.raises(InputError, match="reference_frames"):
        trainer(store, tmp_path, "diffvc", "data.reference_frames=0", name="refused")


@pytest.mark.parametrize("solver", ["maximum-likelihood", "euler-maruyama"])
def test_a_checkpoint_converts(runs: Path, solver: str) -> None:
    model = load_diffvc(runs / "diffvc" / "last.safetensors")
    mel, reference = torch.randn(80, 16) * 2 - 5, torch.randn(80, 24) * 2 - 5
    noise = torch.randn(7, 80, 16)
    converted = model.convert(mel, torch.randn(192), reference, noise, 6, solver)  # type: ignore[arg-type]
    assert converted.shape == mel.shape
    assert torch.isfinite(converted).all()
    again = model.convert(mel, torch.zeros(192), reference, noise, 6, solver)  # type: ignore[arg-type]
    assert not torch.equal(converted, again)
