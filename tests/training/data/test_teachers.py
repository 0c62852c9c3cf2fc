from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from fastvoicegrad.mel import MEL, MelConfig, filterbank, log_mel  # noqa: E402
from fastvoicegrad.training.data.teachers import TEACHER_RATE, MelFeatures, to_teacher_rate  # noqa: E402
from tests.conftest import vowels  # noqa: E402

FILTERS = torch.from_numpy(filterbank(MelConfig(sample_rate=TEACHER_RATE, n_fft=400)))


def recogniser_mel(wave: torch.Tensor) -> torch.Tensor:
    """Log energies of windows of 25 ms every 10 ms, the first centred on the first sample."""
    spectrum = torch.stft(wave, 400, 160, window=torch.hann_window(400), return_complex=True)
    return (FILTERS @ spectrum.abs().square()).clamp(min=1e-10).log().T


def test_a_teachers_features_follow_from_the_mel() -> None:
    features = MelFeatures([vowels(3.0, 90.0 + 12 * i, seed=i) for i in range(16)], recogniser_mel, first=0.0)
    wave = vowels(2.0, 151.0, seed=40)
    mel = torch.from_numpy(log_mel(wave))[None].requires_grad_()
    estimate = features(mel)[0]
    real = recogniser_mel(torch.from_numpy(to_teacher_rate(wave, MEL.sample_rate)))[: len(estimate)]
    assert len(estimate) >= 199  # of 2 s
    middle = slice(5, -5)
    error = (estimate - real)[middle].square().mean().sqrt() / real[middle].std()
    late = (estimate[1:] - real[:-1])[middle].square().mean().sqrt() / real[middle].std()
    assert error < 0.2
    assert late > 2 * error  # a shift of 10 ms is clearly worse
    estimate.sum().backward()
    assert mel.grad is not None
    assert mel.grad.abs().sum() > 0


def test_features_take_mels_of_mixed_precision() -> None:
    features = MelFeatures([vowels(3.0, 90.0 + 12 * i, seed=i) for i in range(16)], recogniser_mel, first=0.0)
    mel = torch.from_numpy(log_mel(vowels(2.0, 151.0, seed=40)))[None]
    with torch.autocast("cpu", torch.bfloat16):
        estimate = features(mel.bfloat16())
    assert (estimate - features(mel)).abs().mean() < 0.05
