"""What the post-filters leave and what they change."""

import numpy as np

from fastvoicegrad.postfilter import LEAST_FACTOR, MOST_FACTOR, NO_SUMS, PostFilter, match_variance, sharpen, smooth


def loud(seed: int, frames: int, deviation: float) -> np.ndarray:
    """A mel (80, frames) that counts as speech throughout, its deviation in each band known."""
    return (deviation * np.random.default_rng(seed).standard_normal((80, frames)) - 3.0).astype(np.float32)


def test_smoothing_keeps_what_is_even() -> None:
    mel = np.linspace(-9, 1, 80, dtype=np.float32)[:, None] + np.arange(20, dtype=np.float32)
    np.testing.assert_allclose(smooth(mel, 0.17)[:, 1:-1], mel[:, 1:-1], atol=1e-5)
    rough = np.where(np.arange(20) % 2, 1.0, -1.0).astype(np.float32) * np.ones((80, 1), np.float32)
    np.testing.assert_allclose(smooth(rough, 0.25)[:, 1:-1], 0.0, atol=1e-6)
    np.testing.assert_array_equal(smooth(rough, 0.0), rough)


def test_sharpening_keeps_the_tilt() -> None:
    tilt = np.cos(np.pi * (np.arange(80) + 0.5) / 80)[:, None].astype(np.float32) * np.ones((1, 3), np.float32) - 4
    fine = np.cos(np.pi * 9 * (np.arange(80) + 0.5) / 80)[:, None].astype(np.float32)
    sharp = sharpen(tilt + fine, 1.5)
    change = sharp - (tilt + 1.5 * fine)
    np.testing.assert_allclose(change, np.broadcast_to(change[:1], change.shape), atol=1e-5)
    np.testing.assert_allclose(np.exp(2 * sharp).sum(0), np.exp(2 * (tilt + fine)).sum(0), rtol=1e-4)


def test_variation_ends_at_the_voices_own() -> None:
    voice = loud(0, 2000, 0.5)
    for deviation in (0.44, 0.57):
        mel = loud(1, 4000, deviation)
        out, _ = match_variance(mel, voice, slice(0, 4000))
        assert np.abs(mel[:, 2000:].std(1) - voice.std(1)).min() > 0.03
        np.testing.assert_allclose(out[:, 2000:].std(1), voice.std(1), rtol=0.06)


def test_variation_is_bounded_and_leaves_silence() -> None:
    voice, mel = loud(0, 500, 1.0), loud(1, 500, 0.05)
    out, _ = match_variance(mel, voice, slice(0, 500))
    ratio = out[:, 400:].std(1) / mel[:, 400:].std(1)
    assert ratio.max() < MOST_FACTOR + 0.05
    assert ratio.min() > LEAST_FACTOR
    silence = np.full((80, 50), -11.0, np.float32)
    np.testing.assert_allclose(match_variance(silence, voice, slice(0, 50))[0], silence, atol=1e-3)


def test_pieces_equal_the_whole() -> None:
    """Whatever frames of context lie around those that are kept."""
    postfilter, voice, mel = PostFilter(0.0, 1.2, True), loud(0, 300, 0.7), loud(1, 300, 0.4)
    whole, sums = postfilter(mel, voice, slice(0, 300), NO_SUMS)
    before = NO_SUMS
    for first, last in ((0, 100), (100, 130), (130, 300)):
        start, stop = max(0, first - 40), min(300, last + 25)
        piece, before = postfilter(mel[:, start:stop], voice, slice(first - start, last - start), before)
        np.testing.assert_allclose(piece, whole[:, start:stop], atol=1e-5)
    for mine, theirs in zip(before, sums, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-7)
