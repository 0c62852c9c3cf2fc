from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fastvoicegrad.training.losses import recogniser_loss, second_similarity_loss  # noqa: E402
from fastvoicegrad.training.tasks.student_losses import PretrainedLosses  # noqa: E402
from tests.training.tasks.stand_ins import Recogniser  # noqa: E402


@torch.inference_mode()
@pytest.mark.parametrize("conversions", [0, 3])
def test_words_of_reconstructions_and_conversions_count_alike(
    monkeypatch: pytest.MonkeyPatch, conversions: int
) -> None:
    monkeypatch.setattr("fastvoicegrad.training.tasks.student_losses.MelRecogniser", Recogniser)
    margins = (0.1, 0.2)
    losses = PretrainedLosses({"recogniser": 1.0}, "", "whisper.pt", margins, lambda: [np.zeros(4, np.float32)])
    network = losses.networks["recogniser"]
    made, real, converted = (torch.randn(n, 80, 20) for n in (4, 4, conversions))
    expected = recogniser_loss(network(made), network(real))
    if conversions:
        expected = expected + recogniser_loss(network(converted), network(real[:3]), margins)
    torch.testing.assert_close(losses(made, real, converted, {})["recogniser"], expected)


@torch.inference_mode()
def test_the_second_verifier_reads_the_targets_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    class Verifier(torch.nn.Module):
        def __init__(self, weights: str, waves: list[np.ndarray]) -> None:
            super().__init__()
            assert weights == "ge2e.pt"
            assert waves

        def forward(self, mel: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.normalize(mel.mean(2), dim=1)

    monkeypatch.setattr("fastvoicegrad.training.tasks.student_losses.MelGe2e", Verifier)
    losses = PretrainedLosses({"ge2e": 1.0}, "", "", (), lambda: [np.zeros(4, np.float32)], "ge2e.pt")
    real, converted, reference = torch.randn(4, 80, 20), torch.randn(3, 80, 20), torch.randn(3, 80, 50)
    embed = losses.networks["ge2e"]
    expected = second_similarity_loss(embed(converted), embed(reference), embed(real[:3]))
    found = losses(real, real, converted, {"to_reference": reference})
    torch.testing.assert_close(found["ge2e"], expected)
