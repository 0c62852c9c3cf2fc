from __future__ import annotations

import math

import numpy as np
import pytest

from fastvoicegrad.diffusion import (
    cosine_schedule,
    diffuse,
    eps_from_x0,
    frame_noise,
    initial_state,
    laplace_schedule,
    linear_schedule,
    noise_schedule,
    reverse_step,
    sample,
    sigmoid_schedule,
    signal_to_noise,
    step_at_snr,
    subsequence,
)

AB = cosine_schedule()
STARTS = (500, 700, 900, 950, 990)


def test_schedule_equals_its_closed_form() -> None:
    # Where beta is not clipped the product telescopes: alpha_bar(t) = f(t) / f(0).
    t = np.arange(0, 999)
    f = np.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2
    np.testing.assert_allclose(AB[:999], f / f[0], rtol=1e-10)
    assert AB[0] == 1.0
    assert (np.diff(AB) < 0).all()


@pytest.mark.parametrize(("t", "root"), [(500, 0.7027), (700, 0.4507), (900, 0.1552), (950, 0.07784), (990, 0.01558)])
def test_schedule_has_the_known_values(t: int, root: float) -> None:
    assert math.sqrt(AB[t]) == pytest.approx(root, rel=1e-3)


def test_the_linear_schedule_equals_its_closed_forms() -> None:
    ab, t = linear_schedule(), np.arange(1001)
    beta = 1e-4 + (np.arange(1, 1001) - 1) / 999 * (0.02 - 1e-4)  # DDPM, section 4
    np.testing.assert_allclose(ab[1:], [np.prod(1 - beta[:n]) for n in range(1, 1001)], rtol=1e-9)
    # The same process in continuous time: alpha_bar = exp(-integral of beta) (arXiv 2011.13456, eq. 29).
    continuous = np.exp(-1e-4 * t - (0.02 - 1e-4) * t**2 / 2000)
    np.testing.assert_allclose(np.log(ab[100:]), np.log(continuous[100:]), rtol=0.02)
    np.testing.assert_allclose(np.log(linear_schedule(4000)[4::4]), np.log(ab[1:]), rtol=0.08)  # T is a resolution


@pytest.mark.parametrize("tau", [0.5, 1.0])
def test_the_sigmoid_schedule_equals_its_closed_form(tau: float) -> None:
    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    u = np.arange(998) / 1000  # before the last step, whose beta is clipped
    first, last = sigmoid(-3 / tau), sigmoid(3 / tau)
    expected = (last - sigmoid((6 * u - 3) / tau)) / (last - first)
    np.testing.assert_allclose(sigmoid_schedule(1000, tau)[:998], expected, rtol=1e-8)


@pytest.mark.parametrize("b", [0.5, 1.0])
def test_the_laplace_schedule_equals_its_closed_form(b: float) -> None:
    ab, u = laplace_schedule(1000, b), np.arange(1, 1000) / 1000
    log_snr = np.log(ab[1:1000] / (1 - ab[1:1000]))
    np.testing.assert_allclose(log_snr, -b * np.sign(0.5 - u) * np.log(1 - 2 * np.abs(u - 0.5)), atol=1e-9)
    # Laplace's distribution function at the log SNR of step t is 1 - t / T.
    distribution = np.where(log_snr < 0, np.exp(log_snr / b) / 2, 1 - np.exp(-log_snr / b) / 2)
    np.testing.assert_allclose(distribution[1:-1], 1 - u[1:-1], atol=1e-9)


@pytest.mark.parametrize("kind", ["cosine", "linear", "sigmoid", "laplace"])
@pytest.mark.parametrize("steps", [1, 2, 50, 1000])
def test_every_schedule_falls_from_one_to_little(kind: str, steps: int) -> None:
    ab = noise_schedule(kind, steps)  # type: ignore[arg-type]
    assert ab.shape == (steps + 1,)
    assert ab[0] == 1.0
    assert (np.diff(ab) < 0).all()
    assert ab[-1] > 0
    if steps >= 50:
        assert ab[-1] < 2e-4  # the linear schedule leaves most, 4e-5 at T = 1000
    np.testing.assert_array_equal(noise_schedule("cosine", steps), cosine_schedule(steps))


def test_a_signal_to_noise_ratio_has_its_step() -> None:
    assert signal_to_noise(0.5) == 0
    assert signal_to_noise(np.array([1.0, 10 / 11])).tolist() == [np.inf, pytest.approx(10)]
    assert signal_to_noise(AB[950]) == pytest.approx(-22.1, abs=0.05)
    for t in (1, 500, 950, 1000):
        assert step_at_snr(AB, signal_to_noise(AB[t])) == t
    assert step_at_snr(AB, 1000.0) == 1


@pytest.mark.parametrize("t", STARTS)
def test_diffusion_inverts_in_float32(t: int) -> None:
    random = np.random.default_rng(t)
    x0, eps = random.standard_normal((2, 80, 50), dtype=np.float32)
    x_t = diffuse(x0, eps, float(AB[t]))
    assert x_t.dtype == np.float32
    np.testing.assert_allclose(eps_from_x0(x_t, x0, float(AB[t])), eps, atol=1e-5)


def test_initial_states() -> None:
    x0, eps = np.random.default_rng(0).standard_normal((2, 80, 8))
    np.testing.assert_array_equal(initial_state("diffused", x0, eps, AB[950]), diffuse(x0, eps, AB[950]))
    np.testing.assert_array_equal(initial_state("diffused", x0, eps, AB[0]), x0)
    np.testing.assert_array_equal(initial_state("clean", x0, eps, AB[950]), x0)
    np.testing.assert_array_equal(initial_state("noise", x0, eps, AB[950]), eps)
    with pytest.raises(ValueError, match="diffused, clean, noise"):
        initial_state("dirty", x0, eps, AB[950])  # type: ignore[arg-type]


def test_one_step_is_the_x0_estimate() -> None:
    x_t, eps = np.random.default_rng(0).standard_normal((2, 80, 20))
    ab = float(AB[950])
    x0 = (x_t - np.sqrt(1 - ab) * eps) / np.sqrt(ab)
    np.testing.assert_allclose(reverse_step(x_t, eps, 0.0, ab, 1.0), x0, rtol=1e-9)


@pytest.mark.parametrize("steps", [1, 2, 6, 30])
def test_sampler_with_a_perfect_oracle_returns_x0(steps: int) -> None:
    random = np.random.default_rng(1)
    x0, start = random.standard_normal((2, 80, 20))

    def oracle(x_t: np.ndarray, t: int) -> np.ndarray:
        return x0

    x = diffuse(x0, start, float(AB[950]))
    out = sample(oracle, x, subsequence(steps, 950), AB, lambda k: random.standard_normal((80, 20)))
    np.testing.assert_allclose(out, x0, atol=1e-9)


def test_every_step_of_the_sampler_is_a_reverse_step() -> None:
    """With an estimate that depends on x_t, against the steps written out."""
    x, noise = np.random.default_rng(3).standard_normal((2, 80, 20))
    levels = subsequence(3, 950)
    out = sample(lambda x_t, t: x_t * t / 1000, x, levels, AB, lambda k: k * noise)
    for number, k in enumerate((3, 2, 1), 1):
        t, previous = levels[k - 1], levels[k - 2] if k > 1 else 0
        eps = eps_from_x0(x, x * t / 1000, float(AB[t]))
        x = reverse_step(x, eps, number * noise if k > 1 else 0.0, float(AB[t]), float(AB[previous]))
    np.testing.assert_allclose(out, x, atol=1e-9)


def test_subsequence() -> None:
    assert subsequence(1, 950) == [950]
    assert subsequence(950, 950) == list(range(1, 951))
    assert subsequence(6, 950)[-1] == 950
    with pytest.raises(ValueError, match="between 1 and 950"):
        subsequence(0, 950)


def test_reverse_step_keeps_unit_variance() -> None:
    # x_t of x0 = 0 is pure noise; stepping with the true eps and fresh noise must land on x_{t-1}'s variance.
    random = np.random.default_rng(2)
    t, s = 800, 600
    eps, z = random.standard_normal((2, 200_000))
    x_t = diffuse(np.zeros(200_000), eps, float(AB[t]))
    x_s = reverse_step(x_t, eps, z, float(AB[t]), float(AB[s]))
    assert x_s.std() == pytest.approx(math.sqrt(1 - AB[s]), rel=0.01)


@pytest.mark.parametrize(("start", "frames"), [(0, 1), (63, 2), (64, 64), (100, 300), (-40, 80)])
def test_noise_belongs_to_frames(start: int, frames: int) -> None:
    whole = frame_noise(7, -128, 1024)
    np.testing.assert_array_equal(frame_noise(7, start, frames), whole[:, start + 128 : start + 128 + frames])


def test_noise_is_normal_and_its_draws_differ() -> None:
    a, b, c = frame_noise(0, 0, 2048), frame_noise(1, 0, 2048), frame_noise(0, 0, 2048, stream=1)
    for x in (a, b, c):
        assert abs(x.mean()) < 0.01
        assert abs(x.std() - 1) < 0.01
    for x, y in ((a, b), (a, c)):
        assert abs((x * y).mean()) < 0.01


def test_torch_and_numpy_agree() -> None:
    torch = pytest.importorskip("torch")
    x0, eps = np.random.default_rng(0).standard_normal((2, 3, 80, 8), dtype=np.float32)
    ab = np.array([AB[10], AB[500], AB[950]], np.float32)[:, None, None]
    there = diffuse(torch.from_numpy(x0), torch.from_numpy(eps), torch.from_numpy(ab))
    np.testing.assert_allclose(there.numpy(), diffuse(x0, eps, ab), atol=1e-6)
