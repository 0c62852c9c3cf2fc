"""Every loss, one definition each, with its equation (PyTorch). None of them depends on a network.

"Section" is of FastVoiceGrad (arXiv 2409.02245) where no other source is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..mel import MAGNITUDE_EPSILON, MEL, MelConfig, filterbank

Weighting = Literal["sqrt_alpha_bar", "alpha_bar", "const"]
MatchedLayers = Literal["all", "early", "late"]


def adversarial_discriminator(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """L_adv(D) = E[(D(x) - 1)^2 + D(x_phi)^2], summed over sub-discriminators (section 3; least squares)."""
    return torch.stack([(r - 1).square().mean() + f.square().mean() for r, f in zip(real, fake, strict=True)]).sum()


def adversarial_generator(fake: Sequence[Tensor]) -> Tensor:
    """L_adv(phi) = E[(D(x_phi) - 1)^2], summed over sub-discriminators (section 3; least squares)."""
    return torch.stack([(f - 1).square().mean() for f in fake]).sum()


def feature_matching(
    real: Sequence[Sequence[Tensor]], fake: Sequence[Sequence[Tensor]], layers: MatchedLayers = "all"
) -> Tensor:
    """L_FM = sum over the discriminators' layers l of E[|D_l(x) - D_l(x_phi)|] (section 3).

    Args:
        layers: "all" as in the paper, or the "early" or "late" half of each discriminator; a middle one counts as late.
    """
    distances = []
    for pair in zip(real, fake, strict=True):
        half = len(pair[0]) // 2
        chosen = {"all": slice(None), "early": slice(half), "late": slice(half, None)}[layers]
        distances += [(r.detach() - f).abs().mean() for r, f in zip(*(side[chosen] for side in pair), strict=True)]
    return torch.stack(distances).sum()


def score_distillation(
    student_x0: Tensor, teacher_x0: Tensor, alpha_bar: Tensor, weighting: Weighting = "sqrt_alpha_bar"
) -> Tensor:
    """L_dist = E[c(t) |x_phi - x_theta|_1], without a gradient to the teacher (section 3).

    Args:
        student_x0: (B, 80, T), x_phi.
        teacher_x0: (B, 80, T), x_theta: the teacher's x0 from the student's output diffused to t.
        alpha_bar: (B,) at the drawn t.
        weighting: c(t).
    """
    c = {"sqrt_alpha_bar": alpha_bar.sqrt(), "alpha_bar": alpha_bar, "const": torch.ones_like(alpha_bar)}[weighting]
    return (c * (student_x0 - teacher_x0.detach()).abs().mean((1, 2))).mean()


def speaker_similarity_loss(embedding: Tensor, target: Tensor, source: Tensor, same: float = 0.7) -> Tensor:
    """E[1 - cos(e, e_target) + max(0, cos(e, e_source))]: like the target and unlike the source.

    The second term is the "inverse" loss of ADCD (arXiv 2508.17868). It is left out where source and target count as
    one voice.

    Args:
        embedding, target, source: a verifier's unit embeddings (B, S) of the conversion and of the two voices.
        same: cosine of two embeddings above which they count as one voice.
    """
    source_similarity = (embedding * source).sum(1).clamp(min=0) * ((target * source).sum(1) < same)
    return (1 - (embedding * target).sum(1) + source_similarity).mean()


def second_similarity_loss(embedding: Tensor, target: Tensor, source: Tensor) -> Tensor:
    """E[1 - cos(e, e_target) + max(0, cos(e, e_source) - cos(e_target, e_source))].

    For embeddings whose cosines are never near 0, as GE2E's: the source may be as near as it is to the target.

    Args:
        embedding, target, source: unit embeddings (B, S) of the conversion and of the two voices.
    """
    beyond = (embedding * source).sum(1) - (target * source).sum(1)
    return (1 - (embedding * target).sum(1) + beyond.clamp(min=0)).mean()


def content_consistency_loss(content: Tensor, target: Tensor) -> Tensor:
    """E[1 - cos(c, c*)] over frames, with c and c* standardised by the statistics of c*.

    Args:
        content: (B, C, T), encoded from a conversion.
        target: (B, C, T), encoded from its source.
    """
    mean, std = target.mean((0, 2), keepdim=True), target.std((0, 2), keepdim=True).clamp(min=1e-5)
    return (1 - F.cosine_similarity((content - mean) / std, (target - mean) / std, dim=1)).mean()


def recogniser_loss(layers: Sequence[Tensor], target: Sequence[Tensor], margins: Sequence[float] = ()) -> Tensor:
    """Mean over layers l and items of max(0, E_t[1 - cos(r_l, r*_l)] - m_l): a feature loss on a recogniser's layers.

    Args:
        layers: outputs (B, T, D) of each layer for the student's speech.
        target: the same for real speech of the same content.
        margins: m_l, distances that count as none; () is 0 for every layer.
    """
    distances = [(1 - F.cosine_similarity(x, y, dim=2)).mean(1) for x, y in zip(layers, target, strict=True)]
    limits = margins or [0.0] * len(distances)
    return torch.stack([F.relu(d - limit).mean() for d, limit in zip(distances, limits, strict=True)]).mean()


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
    with torch.inference_mode(False):  # a validation may ask first, and training could not use its tensor
        return torch.hann_window(size, device=device)


def _magnitude(wave: Tensor, n_fft: int) -> Tensor:
    spectrum = torch.stft(wave, n_fft, n_fft // 4, window=_window(n_fft, wave.device), return_complex=True)
    return (spectrum.real.square() + spectrum.imag.square() + 1e-7).sqrt()


def multi_resolution_stft(real: Tensor, fake: Tensor, sizes: Sequence[int] = (256, 512, 2048)) -> Tensor:
    """Mean over FFT sizes of |S - S'|_F / |S|_F + E[|log S - log S'|] (Parallel WaveGAN, arXiv 1910.11480, eq. 3-5)."""
    losses = []
    for size in sizes:
        r, f = _magnitude(real, size), _magnitude(fake, size)
        convergence = (r - f).norm() / r.norm().clamp(min=1e-5)
        losses.append(convergence + (r.log() - f.log()).abs().mean())
    return torch.stack(losses).mean()


def phase_distance(real: Tensor, fake: Tensor, sizes: Sequence[int] = (512, 1024)) -> Tensor:
    """Mean over FFT sizes of E[w (1 - cos(arg S - arg S'))] / E[w], w = sqrt(|S S'|).

    1 is chance. The weights pass no gradient, so the loss moves phases alone.

    Args:
        real, fake: samples (B, N) whose pulses lie at the same times.
    """
    losses = []
    for size in sizes:
        window = _window(size, real.device)
        s, t = (torch.stft(x, size, size // 4, window=window, return_complex=True) for x in (real, fake))
        product = s.abs() * t.abs()
        weight = product.sqrt().detach()
        cosine = (s.real * t.real + s.imag * t.imag) / (product + 1e-5)
        losses.append((weight * (1 - cosine)).sum() / weight.sum())
    return torch.stack(losses).mean()


def frechet_distance(real: Tensor, fake: Tensor) -> Tensor:
    """(|m - m'|^2 + Tr(S + S' - 2 (S S')^(1/2))) / Tr(S), a validation score (arXiv 1706.08500).

    It is 0 for equal distributions, and 1 for features that all are the real ones' mean.

    Args:
        real, fake: features (N, C) with means m, m' and covariances S, S'.
    """
    s, t = real.T.cov(), fake.T.cov()
    # The trace of (S S')^(1/2) is the sum of the roots of the eigenvalues of S^(1/2) S' S^(1/2).
    values, vectors = torch.linalg.eigh(s)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    shared = torch.linalg.eigvalsh(root @ t @ root).clamp(min=0).sqrt().sum()
    distance = (real.mean(0) - fake.mean(0)).square().sum() + s.trace() + t.trace() - 2 * shared
    return distance / s.trace()


def weighted_sum(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """L = sum of w_name L_name. A loss without a weight is an error; a weight of 0 switches a loss off.

    Raises:
        KeyError: a loss has no weight.
    """
    return torch.stack([weights[name] * value for name, value in losses.items()]).sum()
