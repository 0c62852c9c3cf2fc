from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from fastvoicegrad.training import losses  # noqa: E402


def test_least_squares_at_its_optima() -> None:
    one, zero = [torch.ones(2, 1, 9)], [torch.zeros(2, 1, 9)]
    assert losses.adversarial_discriminator(one, zero) == 0
    assert losses.adversarial_discriminator(zero, one) == 2
    assert losses.adversarial_generator(one) == 0
    assert losses.adversarial_generator(zero) == 1


def test_feature_matching_sums_layers() -> None:
    real = [[torch.zeros(2, 3), torch.zeros(2, 5)], [torch.zeros(4)]]
    fake = [[torch.ones(2, 3), torch.ones(2, 5)], [torch.full((4,), 3.0)]]
    assert losses.feature_matching(real, fake) == 5
    assert losses.feature_matching(real, real) == 0


def test_feature_matching_may_compare_half_of_the_layers() -> None:
    real = [[torch.zeros(3)] * 4, [torch.zeros(2)] * 3]
    fake = [[torch.full((3,), float(n)) for n in (1, 2, 4, 8)], [torch.full((2,), float(n)) for n in (16, 32, 64)]]
    assert losses.feature_matching(real, fake, "early") == 1 + 2 + 16
    assert losses.feature_matching(real, fake, "late") == 4 + 8 + 32 + 64
    assert losses.feature_matching(real, fake) == 127


@pytest.mark.parametrize(("weighting", "c"), [("sqrt_alpha_bar", 0.5), ("alpha_bar", 0.25), ("const", 1.0)])
def test_score_distillation_weights_and_gradient(weighting: str, c: float) -> None:
    student = torch.zeros(2, 80, 4, requires_grad=True)
    teacher = torch.ones(2, 80, 4, requires_grad=True)
    loss = losses.score_distillation(student, teacher, torch.full((2,), 0.25), weighting)  # type: ignore[arg-type]
    assert loss.item() == pytest.approx(c)
    loss.backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_frechet_distance_has_its_closed_forms() -> None:
    real = torch.randn(4000, 6, dtype=torch.float64)
    real = (real - real.mean(0)) * torch.tensor([1.0, 2, 3, 4, 5, 6])
    power = real.T.cov().trace()
    assert losses.frechet_distance(real, real).abs() < 1e-9
    assert losses.frechet_distance(real, real + 3) == pytest.approx(float(6 * 9 / power))
    assert losses.frechet_distance(real, 0.5 * real) == pytest.approx(0.25)  # Gaussians, one half as wide
    assert losses.frechet_distance(real, 0 * real) == pytest.approx(1.0)
    mixed = real @ torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]
    assert losses.frechet_distance(real, mixed) > 0.01


def test_spectral_losses_vanish_for_equals() -> None:
    wave = torch.randn(2, 8192)
    assert losses.multi_resolution_stft(wave, wave) < 1e-6
    assert losses.multi_resolution_stft(wave, 0.5 * wave) > 0.5


def test_weighted_sum_names_what_is_missing() -> None:
    named = {"a": torch.tensor(2.0), "b": torch.tensor(3.0)}
    assert losses.weighted_sum(named, {"a": 1.0, "b": 10.0, "unused": 5.0}) == 32
    with pytest.raises(KeyError, match="b"):
        losses.weighted_sum(named, {"a": 1.0})


def test_content_consistency_is_an_angle_between_standardised_frames() -> None:
    target = torch.randn(2, 16, 90)
    mirrored = 2 * target.mean((0, 2), keepdim=True) - target
    scaled = 5 * target + 3

    def loss(content: torch.Tensor, target: torch.Tensor) -> float:
        return float(losses.content_consistency_loss(content, target))

    assert loss(target, target) == pytest.approx(0, abs=1e-6)
    assert loss(mirrored, target) == pytest.approx(2, abs=1e-5)
    assert loss(scaled, scaled) == pytest.approx(0, abs=1e-6)
    assert loss(torch.randn(2, 16, 90), target) == pytest.approx(1, abs=0.1)


def test_recogniser_loss_is_a_mean_of_angles_beyond_margins() -> None:
    layers = [torch.randn(2, 30, 8), torch.randn(2, 30, 16)]
    opposite = [layers[0], -layers[1]]
    assert float(losses.recogniser_loss([3 * x for x in layers], layers)) == pytest.approx(0, abs=1e-6)
    assert float(losses.recogniser_loss(opposite, layers)) == pytest.approx(1, abs=1e-6)
    assert float(losses.recogniser_loss(opposite, layers, [0.5, 0.5])) == pytest.approx(0.75, abs=1e-6)


def test_speaker_similarity_is_least_at_the_target() -> None:
    target, source, neither = (x[None] for x in torch.eye(3))
    found = [float(losses.speaker_similarity_loss(x, target, source)) for x in (target, neither, source)]
    assert found == [0.0, 1.0, 2.0]
    one_voice = losses.speaker_similarity_loss(target, target, target)
    assert float(one_voice) == 0.0


def test_the_second_similarity_allows_what_source_and_target_share() -> None:
    source, target = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]])
    assert float(losses.second_similarity_loss(target, target, source)) == pytest.approx(0.0)
    assert float(losses.second_similarity_loss(source, target, source)) == pytest.approx(0.4 + 0.4)


def test_a_validation_may_compare_spectra_before_the_first_step() -> None:
    losses._window.cache_clear()
    real, fake = torch.zeros(1, 4096), torch.ones(1, 4096, requires_grad=True)
    with torch.inference_mode():
        losses.multi_resolution_stft(real, fake)
    losses.multi_resolution_stft(real, fake).backward()
    assert fake.grad is not None
