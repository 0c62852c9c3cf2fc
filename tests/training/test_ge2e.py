"""GE2E with random weights: its front-end is librosa's, windows are means, and mels give nearly what samples give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fastvoicegrad.errors import InputError  # noqa: E402
from fastvoicegrad.mel import log_mel  # noqa: E402
from fastvoicegrad.training.data.teachers import to_teacher_rate  # noqa: E402
from fastvoicegrad.training.ge2e import STEP, WINDOW, Ge2e, MelGe2e, mel_power  # noqa: E402
from tests.conftest import RATE, vowels  # noqa: E402


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    parts = {"lstm": torch.nn.LSTM(40, 256, 3), "linear": torch.nn.Linear(256, 256)}
    state = {f"{part}.{name}": value for part, of in parts.items() for name, value in of.state_dict().items()}
    path = tmp_path_factory.mktemp("ge2e") / "pretrained.pt"
    torch.save({"model_state": state | {"similarity_weight": torch.zeros(1)}}, path)
    return path


def test_the_front_end_is_librosas() -> None:
    librosa = pytest.importorskip("librosa")
    wave = vowels(1.0, rate=16000)
    expected = librosa.feature.melspectrogram(y=wave, sr=16000, n_fft=400, hop_length=160, n_mels=40).T
    np.testing.assert_allclose(mel_power(torch.from_numpy(wave)).numpy(), expected, atol=1e-5)


@torch.inference_mode()
def test_an_embedding_is_the_mean_of_its_windows(weights: Path) -> None:
    encoder, power = Ge2e(str(weights)), mel_power(torch.from_numpy(vowels(3.0, rate=16000)))[None]
    starts = range(0, power.shape[1] - WINDOW + 1, STEP)
    parts = torch.cat([encoder(power[:, start : start + WINDOW]) for start in starts])
    expected = torch.nn.functional.normalize(parts.mean(0, keepdim=True), dim=1)
    torch.testing.assert_close(encoder(power), expected)


@torch.inference_mode()
def test_less_than_a_window_is_filled_with_silence(weights: Path) -> None:
    encoder, power = Ge2e(str(weights)), torch.rand(1, 90, 40)
    torch.testing.assert_close(encoder(power), encoder(torch.nn.functional.pad(power, (0, 0, 0, WINDOW - 90))))


def test_a_mel_gives_nearly_the_power_of_its_sound_and_a_gradient(weights: Path) -> None:
    waves = [vowels(1.5, pitch, seed=seed) for seed, pitch in enumerate((90.0, 120.0, 150.0, 180.0, 210.0, 240.0))]
    encoder, wave = MelGe2e(str(weights), waves), vowels(2.0, 165.0, seed=9)
    mel = torch.from_numpy(log_mel(wave))[None].requires_grad_()
    found = encoder.features(mel)[0].detach().numpy()
    expected = mel_power(torch.from_numpy(to_teacher_rate(wave, RATE))).log().numpy()[: len(found)]
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.97
    assert abs(np.mean(found - expected)) < 0.1
    encoder(mel).sum().backward()
    assert mel.grad is not None
    assert mel.grad.abs().sum() > 0


def test_other_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pretrained.pt").write_bytes(b"nothing")
    with pytest.raises(InputError, match="Resemblyzer"):
        Ge2e(str(tmp_path / "pretrained.pt"))
