from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fastvoicegrad.mel import log_mel  # noqa: E402
from fastvoicegrad.training.data.perturb import (  # noqa: E402
    PerturbConfig,
    mask,
    narrow_band,
    perturb,
    read_at,
    reverberate,
    stretch_matrix,
    time_stretch_places,
    voice_matrix,
)
from tests.conftest import vowels  # noqa: E402


def test_neutral_settings_change_nothing() -> None:
    np.testing.assert_allclose(voice_matrix(1.0, 1.0), np.eye(80), atol=1e-9)
    mel = torch.randn(3, 80, 20)
    config = PerturbConfig(formant=1.0, pitch=1.0, equaliser=0.0, gain=0.0, noise=0.0)
    torch.testing.assert_close(perturb(mel, np.random.default_rng(0), config), mel)


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_stretching_moves_a_peak_by_its_factor(factor: float) -> None:
    from fastvoicegrad.training.data.perturb import _centres

    frame = np.exp(-0.5 * ((_centres() - 2000) / 150) ** 2)
    stretched = stretch_matrix(factor) @ frame
    assert abs(_centres()[stretched.argmax()] / 2000 - factor) < 0.06


def test_pitch_can_move_without_the_formants() -> None:
    # The stretched voice is nearer to the same formants with the other pitch.
    low, high = log_mel(vowels(2.0, pitch=140.0)), log_mel(vowels(2.0, pitch=175.0))
    ours = voice_matrix(1.0, 1.25) @ low
    bins = slice(0, 24)  # where harmonics are resolved
    assert np.abs(ours - high)[bins].mean() < 0.95 * np.abs(low - high)[bins].mean()


def test_every_item_gets_its_own_voice_from_the_seed() -> None:
    mel = torch.randn(1, 80, 20).repeat(2, 1, 1)
    a, b = (perturb(mel, np.random.default_rng(5), PerturbConfig()) for _ in range(2))
    assert torch.equal(a, b)
    assert not torch.allclose(a[0], a[1])


def test_masks_set_the_mean_and_leave_the_rest() -> None:
    mel = torch.randn(4, 80, 60)
    config = PerturbConfig(masks=2, band=10, span=8)
    masked = mask(mel, np.random.default_rng(0), config)
    changed = masked != mel
    assert 0 < changed.float().mean() < 2 * (10 / 80 + 8 / 60)
    means = mel.mean((1, 2), keepdim=True).expand_as(mel)
    torch.testing.assert_close(masked[changed], means[changed])


def test_a_ramp_read_faster_is_steeper() -> None:
    places = time_stretch_places(np.random.default_rng(0), 5, 120, 1.25)
    assert places.shape == (5, 96)
    ramp = torch.arange(120.0).expand(5, 120)
    torch.testing.assert_close(read_at(ramp[:, None], places)[:, 0], places)
    torch.testing.assert_close(read_at(ramp, places), places.round())
    steps = places.diff(dim=1).mean(1)
    assert ((steps > 0.8) & (steps < 1.25)).all()
    assert len(set(steps.tolist())) == 5


def test_reverberation_adds_a_decaying_tail_of_the_drawn_power() -> None:
    mel = torch.full((4, 80, 400), -11.0)
    mel[:, :, 10] = 0.0  # an impulse
    power = (2 * reverberate(mel, np.random.default_rng(0), 1.0)).exp()
    torch.testing.assert_close(power[:, :, :10], (2 * mel[:, :, :10]).exp())
    tail = power[:, 0, 11:]
    assert ((tail.sum(1) > 10**-1.2) & (tail.sum(1) < 10**0.3)).all()
    assert (tail.diff(dim=1)[:, :5] < 0).all()
    torch.testing.assert_close(reverberate(mel, np.random.default_rng(0), 0.0), mel)


def test_narrow_band_speech_has_nothing_above_its_cutoff() -> None:
    mel = torch.zeros(50, 80, 6)
    narrow = narrow_band(mel, np.random.default_rng(0), 0.5)
    floor = float(np.log(1e-5))
    cut = (narrow[:, -1] == floor).all(1)
    assert 0.3 < cut.float().mean() < 0.7
    assert (narrow[~cut] == 0).all()
    assert (narrow[:, 30] == 0).all()  # below 2.5 kHz
    assert (narrow.diff(dim=1) <= 0).all()
