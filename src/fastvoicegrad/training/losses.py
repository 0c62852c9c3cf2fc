"""Every loss, one readable definition each (PyTorch). None of them knows a network."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..mel import MAGNITUDE_EPSILON, MEL, MelConfig, filterbank

Weighting = Literal["sqrt_alpha_bar", "alpha_bar", "const"]


def adversarial_discriminator(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Least squares: E[(D(x) - 1)^2 + D(x_phi)^2], summed over sub-discriminators (section 3, L_adv(D))."""
    return torch.stack([(r - 1).square().mean() + f.square().mean() for r, f in zip(real, fake, strict=True)]).sum()


def adversarial_generator(fake: Sequence[Tensor]) -> Tensor:
    """Least squares: E[(D(x_phi) - 1)^2] (section 3, L_adv(phi))."""
    return torch.stack([(f - 1).square().mean() for f in fake]).sum()


def feature_matching(real: Sequence[Sequence[Tensor]], fake: Sequence[Sequence[Tensor]]) -> Tensor:
    """Sum over the discriminators' layers of mean |D_l(x) - D_l(x_phi)| (section 3, L_FM)."""
    return torch.stack(
        [(r.detach() - f).abs().mean() for rs, fs in zip(real, fake, strict=True) for r, f in zip(rs, fs, strict=True)]
    ).sum()


def score_distillation(
    student_x0: Tensor, teacher_x0: Tensor, alpha_bar: Tensor, weighting: Weighting = "sqrt_alpha_bar"
) -> Tensor:
    """E[c(t) |x_phi - x_theta|_1], the teacher's estimate held fixed (section 3, L_dist).

    Args:
        student_x0: (B, 80, T), x_phi.
        teacher_x0: (B, 80, T), the teacher's x0 of the student's output diffused to t.
        alpha_bar: (B,) at the drawn t.
        weighting: c(t).
    """
    c = {"sqrt_alpha_bar": alpha_bar.sqrt(), "alpha_bar": alpha_bar, "const": torch.ones_like(alpha_bar)}[weighting]
    return (c * (student_x0 - teacher_x0.detach()).abs().mean((1, 2))).mean()


def speaker_similarity_loss(heard: Tensor, target: Tensor, source: Tensor, same: float = 0.7) -> Tensor:
    """A verifier's opinion of a conversion: like the target, and, the "inverse" term of ADCD (arXiv 2508.17868),
    not like the source.

    Args:
        heard, target, source: unit embeddings (B, S) of the conversion and of the two voices.
        same: cosine of two embeddings above which source and target count as one voice.
    """
    away = (heard * source).sum(1).clamp(min=0) * ((target * source).sum(1) < same)
    return (1 - (heard * target).sum(1) + away).mean()


def content_consistency_loss(heard: Tensor, said: Tensor) -> Tensor:
    """1 - cosine, mean over frames, of the content (B, C, T) heard in a conversion and that of its source, both
    brought to zero mean and unit variance by the latter's statistics."""
    mean, std = said.mean((0, 2), keepdim=True), said.std((0, 2), keepdim=True).clamp(min=1e-5)
    return (1 - F.cosine_similarity((heard - mean) / std, (said - mean) / std, dim=1)).mean()


def recogniser_loss(heard: Sequence[Tensor], said: Sequence[Tensor], allowed: Sequence[float] = ()) -> Tensor:
    """1 - cosine of what a recogniser hears, (B, T, D) per layer, in the student's speech and in that which says the
    same: mean over frames and, of what is more than `allowed` in a layer, over items and layers."""
    apart = [(1 - F.cosine_similarity(h, s, dim=2)).mean(1) for h, s in zip(heard, said, strict=True)]
    limits = allowed or [0.0] * len(apart)
    return torch.stack([F.relu(a - limit).mean() for a, limit in zip(apart, limits, strict=True)]).mean()


class LogMel(nn.Module):
    """The front-end of `fastvoicegrad.mel`, differentiable: (B, N) samples -> (B, 80, N // 256)."""

    filters: Tensor
    window: Tensor

    def __init__(self, config: MelConfig = MEL) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("filters", torch.from_numpy(filterbank(config)), False)
        self.register_buffer("window", torch.hann_window(config.n_fft), False)

    def forward(self, wave: Tensor) -> Tensor:
        padded = F.pad(wave[:, None], (self.config.padding,) * 2, "reflect")[:, 0]
        spectrum = torch.stft(
            padded,
            self.config.n_fft,
            self.config.hop_length,
            window=self.window,
            center=False,
            return_complex=True,
        )
        magnitude = (spectrum.real.square() + spectrum.imag.square() + MAGNITUDE_EPSILON).sqrt()
        return (self.filters @ magnitude).clamp(min=self.config.floor).log()


@lru_cache(maxsize=16)
def _window(size: int, device: torch.device) -> Tensor:
    return torch.hann_window(size, device=device)


def _magnitude(wave: Tensor, n_fft: int) -> Tensor:
    spectrum = torch.stft(wave, n_fft, n_fft // 4, window=_window(n_fft, wave.device), return_complex=True)
    return (spectrum.real.square() + spectrum.imag.square() + 1e-7).sqrt()


def multi_resolution_stft(real: Tensor, fake: Tensor, sizes: Sequence[int] = (256, 512, 2048)) -> Tensor:
    """Spectral convergence plus log-magnitude L1, mean over FFT sizes (Parallel WaveGAN, arXiv 1910.11480)."""
    losses = []
    for size in sizes:
        r, f = _magnitude(real, size), _magnitude(fake, size)
        convergence = (r - f).norm() / r.norm().clamp(min=1e-5)
        losses.append(convergence + (r.log() - f.log()).abs().mean())
    return torch.stack(losses).mean()


def frechet_distance(real: Tensor, fake: Tensor) -> Tensor:
    """|m - m'|^2 + Tr(S + S' - 2 (S S')^(1/2)) of two sets of features (N, C) with means m and covariances S (arXiv
    1706.08500), in units of Tr(S): 0 for sets that are alike, 1 for features that are all the real ones' mean. A
    score, not a loss."""
    s, t = real.T.cov(), fake.T.cov()
    # The trace of (S S')^(1/2) is the sum of the roots of the eigenvalues of S^(1/2) S' S^(1/2).
    values, vectors = torch.linalg.eigh(s)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    shared = torch.linalg.eigvalsh(root @ t @ root).clamp(min=0).sqrt().sum()
    distance = (real.mean(0) - fake.mean(0)).square().sum() + s.trace() + t.trace() - 2 * shared
    return distance / s.trace()


def weighted_sum(losses: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """The total of named losses; a loss without a weight is an error, a weight of 0 switches its loss off.

    Raises:
        KeyError: a loss has no weight.
    """
    return torch.stack([weights[name] * value for name, value in losses.items()]).sum()
