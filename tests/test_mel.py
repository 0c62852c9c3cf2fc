from __future__ import annotations

import numpy as np
import pytest

from fastvoicegrad.mel import (
    MEL,
    bands_of_bins,
    bins_from_bands,
    filterbank,
    hz_to_mel,
    log_mel,
    log_mel_of_padded,
    log_of_bands,
    lowpass,
    lowpass_projection,
    mel_to_hz,
)


def test_scale_inverts() -> None:
    hz = np.linspace(0, 8000, 97)
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(hz)), hz, atol=1e-9)
    assert hz_to_mel(1000.0) == pytest.approx(15.0)  # Slaney's corner


def test_filters_have_unit_area() -> None:
    bin_width = MEL.sample_rate / MEL.n_fft
    area = filterbank().sum(axis=1) * bin_width
    # Wide filters are sampled finely enough for their area to be seen.
    np.testing.assert_allclose(area[40:], 1.0, atol=0.02)


def test_every_bin_below_the_top_belongs_to_bands() -> None:
    shares, top = bands_of_bins().sum(axis=1), int(MEL.fmax / MEL.sample_rate * MEL.n_fft)
    np.testing.assert_allclose(shares[:top], 1.0, atol=1e-6)
    assert not shares[top + 1 :].any()


def test_an_envelope_keeps_slow_cosines_and_all_are_everything() -> None:
    few, bands = lowpass_projection(30), (np.arange(80) + 0.5) / 80
    slow, fast = np.cos(np.pi * 29 * bands), np.cos(np.pi * 30 * bands)
    np.testing.assert_allclose(few @ slow, slow, atol=1e-5)
    np.testing.assert_allclose(few @ fast, 0.0, atol=1e-5)
    np.testing.assert_allclose(lowpass_projection(80), np.eye(80), atol=1e-6)


@pytest.mark.parametrize("samples", [1024, 1025, 5000, 22050])
def test_frames_are_whole_hops(speech: np.ndarray, samples: int) -> None:
    assert log_mel(speech[:samples]).shape == (80, samples // 256)


def test_tone_is_loudest_at_its_bin() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(22050) / 22050).astype(np.float32)
    centres = mel_to_hz(np.linspace(hz_to_mel(0.0), hz_to_mel(8000.0), 82)[1:-1])
    assert abs(centres[log_mel(tone)[:, 40].argmax()] - 1000) < 40


def test_silence_is_the_floor() -> None:
    # sqrt(1e-9) leaks through the filters; it stays far below any sound.
    assert log_mel(np.zeros(4096, np.float32)).max() < -9


def test_padding_is_context(speech: np.ndarray) -> None:
    whole = log_mel(speech)
    part = log_mel_of_padded(speech[256 * 10 - MEL.padding : 256 * 30 + MEL.padding])
    np.testing.assert_allclose(part, whole[:, 10:30], atol=1e-5)


def test_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="fewer than one frame"):
        log_mel(np.zeros(100, np.float32))


def test_torch_front_end_is_the_same(speech: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    from fastvoicegrad.training.losses import LogMel

    ours = LogMel()(torch.from_numpy(speech)[None])[0].numpy()
    np.testing.assert_allclose(ours, log_mel(speech), atol=2e-4)


def test_sums_over_intervals_equal_the_matrix_products() -> None:
    random = np.random.default_rng(0)
    magnitude = np.abs(random.standard_normal((50, 513))).astype(np.float32)
    np.testing.assert_allclose(log_of_bands(magnitude), np.log(filterbank() @ magnitude.T), atol=1e-5)
    bands = random.standard_normal((80, 50)).astype(np.float32)
    np.testing.assert_allclose(bins_from_bands(bands), (bands_of_bins() @ bands).T, atol=1e-6)
    for cosines in (1, 3, 30, 80):
        np.testing.assert_allclose(lowpass(bands, cosines), lowpass_projection(cosines) @ bands, atol=1e-5)
