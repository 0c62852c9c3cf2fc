"""DiffVC's diffusion: marginals against a simulation, and the solvers' identities."""

from __future__ import annotations

import math
from typing import get_args

import pytest

torch = pytest.importorskip("torch")

from fastvoicegrad.training.sde import SdeConfig, Solver, euler_maruyama, maximum_likelihood, sample  # noqa: E402

SDE = SdeConfig()
TIMES = [(1.0, 1.0), (1.0, 1 / 6), (0.5, 0.1), (0.2, 0.2), (1 / 30, 1 / 30)]


def posterior(t: float, s: float) -> tuple[float, float, float]:
    """mu, nu and sigma of X_s given X_t and X_0, by Bayes' rule for two Gaussian steps."""
    gamma_s, kept = SDE.gamma(0.0, s), SDE.gamma(s, t)
    before, added = 1 - gamma_s**2, 1 - kept**2  # variances of X_s given X_0, of X_t given X_s
    if before == 0:
        return 0.0, 1.0, 0.0
    precision = 1 / before + kept**2 / added
    return kept / added / precision, gamma_s / before / precision, precision**-0.5


def test_gamma_is_a_product_and_a_rate() -> None:
    assert SDE.gamma(0.2, 0.2) == 1
    assert SDE.gamma(0.0, 0.3) * SDE.gamma(0.3, 0.9) == pytest.approx(SDE.gamma(0.0, 0.9))
    slope = (math.log(SDE.gamma(0.0, 0.4 + 1e-6)) - math.log(SDE.gamma(0.0, 0.4 - 1e-6))) / 2e-6
    assert slope == pytest.approx(-SDE.beta(0.4) / 2, rel=1e-6)
    assert SDE.gamma(0.0, 1.0) == pytest.approx(math.exp(-10.025 / 2))


@pytest.mark.parametrize("t", [0.1, 0.5, 1.0])
def test_the_forward_marginals_equal_a_simulation(t: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x0, mean, steps = 2.0, -1.0, 2000
    x, h = torch.full((20_000,), x0), t / steps
    for step in range(steps):
        beta = SDE.beta((step + 0.5) * h)
        x = x + beta / 2 * (mean - x) * h + math.sqrt(beta * h) * torch.randn(x.shape, generator=generator)
    centre, deviation = SDE.marginal(torch.tensor(x0), torch.tensor(mean), t)
    assert float(x.mean()) == pytest.approx(float(centre), abs=0.03)
    assert float(x.std()) == pytest.approx(deviation, rel=0.02)
    at_times = SDE.marginal(torch.tensor([x0]), torch.tensor([mean]), torch.tensor([t, 0.0]))
    assert at_times[0].tolist() == pytest.approx([float(centre), x0])
    assert at_times[1].tolist() == pytest.approx([deviation, 0.0])


@pytest.mark.parametrize(("t", "h"), TIMES)
def test_a_maximum_likelihood_step_has_the_posterior_of_the_forward_process(t: float, h: float) -> None:
    x, mean, x0 = (torch.tensor(value, dtype=torch.float64) for value in (0.7, -0.4, 1.3))
    kappa, omega, sigma = maximum_likelihood(SDE, t, h)
    mu, nu, deviation = posterior(t, t - h)
    centre, spread = SDE.marginal(x0, mean, t)
    score = (centre - x) / spread**2
    step = x + SDE.beta(t) * h * ((0.5 + omega) * (x - mean) + (1 + kappa) * score)
    assert float(step) == pytest.approx(float(mean + mu * (x - mean) + nu * (x0 - mean)))
    assert sigma == pytest.approx(deviation, abs=1e-7)


def test_both_solvers_agree_for_small_steps() -> None:
    h = 1e-6
    kappa, omega, sigma = maximum_likelihood(SDE, 0.5, h)
    assert kappa == pytest.approx(0, abs=1e-3)
    assert omega == pytest.approx(0, abs=1e-2)
    assert sigma == pytest.approx(euler_maruyama(SDE, 0.5, h).sigma, rel=1e-3)


@pytest.mark.parametrize("solver", get_args(Solver))
@pytest.mark.parametrize("steps", [1, 6, 30, 1000])
def test_a_perfect_score_recovers_the_mel(solver: Solver, steps: int) -> None:
    generator = torch.Generator().manual_seed(steps)
    x0, mean, noise = torch.randn(3, 1, 80, 16, generator=generator, dtype=torch.float64)

    def score(x: torch.Tensor, t: float) -> torch.Tensor:
        centre, deviation = SDE.marginal(x0, mean, t)
        return (centre - x) / deviation**2

    def fresh(k: int) -> torch.Tensor:
        return torch.randn(x0.shape, generator=generator, dtype=x0.dtype)

    result = sample(SDE, score, SDE.diffuse(x0, mean, noise, 1.0), mean, steps, fresh, solver)
    error = float((result - x0).abs().mean())
    if solver == "maximum-likelihood":
        assert error < 1e-6
    elif steps == 1000:
        assert error < 0.02  # the last step still adds noise
    else:
        assert error > 0.05
