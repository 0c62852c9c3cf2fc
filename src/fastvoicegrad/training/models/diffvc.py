"""DiffVC (arXiv 2109.13821), a baseline: an average-voice encoder and a score network, a two-dimensional U-Net.

The U-Net is Grad-TTS's (arXiv 2105.06337): residual blocks with group normalisation, linear attention, two down- and
two up-samplings of the time-frequency plane. It reads X_t, the average voice and a condition of the target.
That is the speaker embedding and the target's own mel, diffused to t without noise ("wodyn" in the paper).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..sde import SdeConfig, Solver, sample
from .diffvc_encoder import PUBLISHED as PUBLISHED_ENCODER
from .diffvc_encoder import AverageVoiceConfig, AverageVoiceEncoder
from .unet import StepEmbedding

TIME_SCALE = 1000.0  # of t in the sines of its embedding
GROUPS = 8


@dataclass(frozen=True)
class ScoreConfig:
    width: int = 32  # channels at the full rate
    multiples: tuple[int, ...] = (1, 2, 4)  # of the channels, at each rate
    condition: int = 32  # channels of the target's condition
    speaker_dim: int = 192
    heads: int = 4
    head_dim: int = 16


@dataclass(frozen=True)
class DiffVcConfig:
    encoder: AverageVoiceConfig = field(default_factory=AverageVoiceConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)
    sde: SdeConfig = field(default_factory=SdeConfig)


PUBLISHED = DiffVcConfig(PUBLISHED_ENCODER, ScoreConfig(width=256, condition=128, head_dim=32))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each with group normalisation and Mish; t enters between them."""

    def __init__(self, inputs: int, outputs: int, time_dim: int) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Mish(), nn.Linear(time_dim, outputs))
        self.first, self.second = (
            nn.Sequential(nn.Conv2d(n, outputs, 3, padding=1), nn.GroupNorm(GROUPS, outputs), nn.Mish())
            for n in (inputs, outputs)
        )
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        y: Tensor = self.second(self.first(x) + self.time(time)[:, :, None, None])
        return y + self.skip(x)


class LinearAttention(nn.Module):
    """Attention over all points of the plane at a cost linear in them (arXiv 1812.01243), added with a gain from 0."""

    def __init__(self, channels: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Conv2d(channels, 3 * heads * head_dim, 1, bias=False)
        self.out = nn.Conv2d(heads * head_dim, channels, 1)
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.project(x).flatten(2).unflatten(1, (3, self.heads, -1)).unbind(1)
        memory = key.softmax(3) @ value.transpose(2, 3)
        attended = (memory.transpose(2, 3) @ query).flatten(1, 2).unflatten(2, x.shape[2:])
        return x + self.gain * self.out(attended)


class Level(nn.Module):
    """Two residual blocks and attention at one rate."""

    def __init__(self, config: ScoreConfig, inputs: int, outputs: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(n, outputs, config.width) for n in (inputs, outputs))
        self.attention = LinearAttention(outputs, config.heads, config.head_dim)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, time)
        y: Tensor = self.attention(x)
        return y


class TargetCondition(nn.Module):
    """The target's mel at time t, its speaker embedding and t -> (B, C)."""

    def __init__(self, config: ScoreConfig) -> None:
        super().__init__()
        base = config.condition // 4
        widths = (1, base, base, 2 * base, 2 * base, 4 * base, 4 * base)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, 2 * b, 3, padding=1), nn.InstanceNorm2d(2 * b, affine=True), nn.GLU(1))
            for a, b in pairwise(widths)
        )
        self.times = nn.ModuleList(nn.Sequential(nn.Mish(), nn.Linear(config.width, n)) for n in (base, 2 * base))
        self.out = nn.Conv2d(4 * base, config.condition, 1)
        joint = config.width + config.condition + config.speaker_dim
        self.mix = nn.Sequential(
            nn.Linear(joint, 4 * config.condition), nn.Mish(), nn.Linear(4 * config.condition, config.condition)
        )

    def forward(self, reference: Tensor, speaker: Tensor, time: Tensor) -> Tensor:
        x = reference[:, None]
        for number, layer in enumerate(self.layers):
            x = layer(x)
            if number in (1, 3):
                x = x + self.times[number // 2](time)[:, :, None, None]
        pooled = self.out(x).mean((2, 3))
        scaled = speaker * speaker.shape[1] ** 0.5  # unit variance per channel
        mixed: Tensor = self.mix(torch.cat([time, pooled, scaled], 1))
        return mixed


class ScoreNetwork(nn.Module):
    """(X_t, mean, t, speaker, target's mel at t) -> the score. Mels are normalised, (B, 80, T), T a multiple of 4."""

    def __init__(self, config: ScoreConfig) -> None:
        super().__init__()
        self.config = config
        self.time = StepEmbedding(config.width)
        self.condition = TargetCondition(config)
        widths = [config.width * multiple for multiple in config.multiples]
        downwards, upwards = list(pairwise([2 + config.condition, *widths])), list(pairwise(reversed(widths)))
        self.down = nn.ModuleList(Level(config, inputs, outputs) for inputs, outputs in downwards)
        self.shrink = nn.ModuleList(nn.Conv2d(outputs, outputs, 3, 2, 1) for _, outputs in downwards[:-1])
        self.middle = Level(config, widths[-1], widths[-1])
        self.up = nn.ModuleList(Level(config, 2 * inputs, outputs) for inputs, outputs in upwards)
        self.grow = nn.ModuleList(nn.ConvTranspose2d(outputs, outputs, 4, 2, 1) for _, outputs in upwards)
        self.out = nn.Sequential(
            nn.Conv2d(config.width, config.width, 3, padding=1),
            nn.GroupNorm(GROUPS, config.width),
            nn.Mish(),
            nn.Conv2d(config.width, 1, 1),
        )

    def forward(self, x: Tensor, mean: Tensor, t: Tensor, speaker: Tensor, reference: Tensor) -> Tensor:
        time = self.time(TIME_SCALE * t)
        condition = self.condition(reference, speaker, time)[:, :, None, None].expand(-1, -1, *x.shape[1:])
        plane = torch.cat([torch.stack([mean, x], 1), condition], 1)
        skips = []
        for level, shrink in zip(self.down, [*self.shrink, nn.Identity()], strict=True):
            skips.append(level(plane, time))
            plane = shrink(skips[-1])
        plane = self.middle(plane, time)
        for level, grow in zip(self.up, self.grow, strict=True):
            plane = grow(level(torch.cat([plane, skips.pop()], 1), time))
        score: Tensor = self.out(plane)[:, 0]
        return score


class DiffVc(nn.Module):
    """Encoder and score network of one checkpoint. `forward` estimates the score."""

    stride = 4  # the number of frames must be a multiple of it

    def __init__(self, config: DiffVcConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = AverageVoiceEncoder(config.encoder).requires_grad_(False).eval()
        self.score = ScoreNetwork(config.score)

    def forward(self, x: Tensor, mean: Tensor, t: Tensor, speaker: Tensor, target: tuple[Tensor, Tensor]) -> Tensor:
        """The score at X_t.

        Args:
            x: X_t, (B, 80, T).
            mean: the average voice, (B, 80, T).
            t: (B,).
            speaker: (B, S).
            target: mel and average voice of the target's recording, (B, 80, N) each.
        """
        reference, _ = self.config.sde.marginal(*target, t[:, None, None])
        score: Tensor = self.score(x, mean, t, speaker, reference)
        return score

    def train(self, mode: bool = True) -> DiffVc:
        """The encoder stays in evaluation mode: it is trained before."""
        super().train(mode)
        self.encoder.eval()
        return self

    @torch.no_grad()
    def average(self, x: Tensor) -> Tensor:
        """The average voice of normalised mels (B, 80, T)."""
        mean: Tensor = self.encoder(x)
        return mean

    @torch.inference_mode()
    def convert(
        self,
        mel: Tensor,
        speaker: Tensor,
        reference: Tensor,
        noise: Tensor,
        steps: int,
        solver: Solver = "maximum-likelihood",
    ) -> Tensor:
        """Convert a mel. It starts from the source, diffused to t = 1, as the authors' code does.

        Args:
            mel: of the source, (80, T), natural log, T a multiple of 4.
            speaker: (S,).
            reference: mel of the target, (80, N), natural log.
            noise: (steps + 1, 80, T), standard normal.
            steps: of the solver.
        Returns:
            (80, T), natural log.
        """
        norm = self.encoder.norm
        x0, target = norm(mel[None]), norm(reference[None])
        mean, target_mean = self.average(x0), self.average(target)
        x = self.config.sde.diffuse(x0, mean, noise[:1], 1.0)

        def score(x_t: Tensor, t: float) -> Tensor:
            result: Tensor = self(x_t, mean, torch.tensor([t]), speaker[None], (target, target_mean))
            return result

        x = sample(self.config.sde, score, x, mean, steps, lambda k: noise[k : k + 1], solver)
        converted: Tensor = norm.undo(x)[0]
        return converted
