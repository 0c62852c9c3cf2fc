"""The mean-reverting diffusion of DiffVC (arXiv 2109.13821, sections 2 and 3), for t from 0, the mel, to 1, noise.

    dX = beta_t / 2 (mean - X) dt + sqrt(beta_t) dW,    beta_t = beta_0 + (beta_1 - beta_0) t

While noise is added, the mel X_0 reverts to `mean`, an estimate of the words in an average voice. A network estimates
the score s(X_t, t), the gradient of the log density. A solver follows it back from 1 to 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

from torch import Tensor

Time = TypeVar("Time", float, Tensor)
Solver = Literal["maximum-likelihood", "euler-maruyama"]


@dataclass(frozen=True)
class SdeConfig:
    """The noise rate beta_t."""

    beta_start: float = 0.05  # beta_0
    beta_end: float = 20.0  # beta_1

    def beta(self, t: float) -> float:
        return self.beta_start + (self.beta_end - self.beta_start) * t

    def gamma(self, s: float, t: Time) -> Time:
        """gamma_{s,t} = exp(-1/2 integral of beta from s to t): the share of X_s - mean that is left in X_t."""
        integral = (self.beta_start + (self.beta_end - self.beta_start) / 2 * (s + t)) * (t - s)
        return math.e ** (-0.5 * integral)

    def marginal(self, x0: Tensor, mean: Tensor, t: Time) -> tuple[Tensor, Time]:
        """Mean and standard deviation of X_t given X_0 (section 2.2).

        Args:
            t: a number, or a tensor that broadcasts with the mels.
        """
        gamma = self.gamma(0.0, t)
        return gamma * x0 + (1 - gamma) * mean, (1 - gamma**2) ** 0.5

    def diffuse(self, x0: Tensor, mean: Tensor, noise: Tensor, t: Time) -> Tensor:
        """A sample of X_t given X_0."""
        centre, deviation = self.marginal(x0, mean, t)
        return centre + deviation * noise


class Coefficients(NamedTuple):
    """kappa, omega and sigma of a solver's step (section 3)."""

    kappa: float
    omega: float
    sigma: float


def euler_maruyama(sde: SdeConfig, t: float, h: float) -> Coefficients:
    """The reverse SDE in steps of h: exact only as h goes to 0."""
    return Coefficients(0.0, 0.0, math.sqrt(sde.beta(t) * h))


def maximum_likelihood(sde: SdeConfig, t: float, h: float) -> Coefficients:
    """The solver of theorem 1: each step has the mean and variance of X_{t-h} given X_t and X_0, for any h.

    That posterior's mean is mean + mu (X_t - mean) + nu (X_0 - mean). Its X_0 is the estimate by the score.
    """
    s = max(t - h, 0.0)
    left, kept = 1 - sde.gamma(0.0, s) ** 2, sde.gamma(s, t)
    variance, added = 1 - sde.gamma(0.0, t) ** 2, 1 - kept**2
    mu, nu = kept * left / variance, sde.gamma(0.0, s) * added / variance
    noise_rate = sde.beta(t) * h
    kappa = nu * variance / (sde.gamma(0.0, t) * noise_rate) - 1
    omega = (mu - 1) / noise_rate + (1 + kappa) / variance - 0.5
    return Coefficients(kappa, omega, math.sqrt(left * added / variance))


SOLVERS: dict[Solver, Callable[[SdeConfig, float, float], Coefficients]] = {
    "maximum-likelihood": maximum_likelihood,
    "euler-maruyama": euler_maruyama,
}


def sample(
    sde: SdeConfig,
    score: Callable[[Tensor, float], Tensor],
    x: Tensor,
    mean: Tensor,
    steps: int,
    noise: Callable[[int], Tensor],
    solver: Solver = "maximum-likelihood",
) -> Tensor:
    """X_0 from X_1 in evenly spaced steps.

    Args:
        score: (X_t, t) -> the score.
        x: X_1, of the shape of `mean`.
        noise: fresh standard normal noise for the k-th step from 1.
    """
    h = 1 / steps
    for k in range(1, steps + 1):
        t = 1 - (k - 1) * h
        kappa, omega, sigma = SOLVERS[solver](sde, t, h)
        drift = (0.5 + omega) * (x - mean) + (1 + kappa) * score(x, t)
        x = x + sde.beta(t) * h * drift + sigma * noise(k)
    return x
