"""Content encoder: words and melody without the voice. Mel in, bottleneck out.

The paper reads the 144-dim bottleneck of a Conformer phoneme recogniser. This is a small ConvNeXt stack with little
look-ahead. It learns k-means units of a speech recogniser's encoder (soft units, arXiv 2111.02392), and the melody
relative to the speaker's median pitch. Only its input is perturbed (NANSY, arXiv 2110.14513).

With `heads` it has Whisper's own blocks instead, so that its weights can start from Whisper's (see whisper.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from .blocks import ChannelNorm, ConvNeXtBlock, MelNorm
from .local_attention import LocalTransformerBlock


@dataclass(frozen=True)
class ContentConfig:
    width: int = 256
    layers: int = 10
    kernel: int = 7
    lookahead: int = 4  # in encoder frames of two mel frames: 93 ms; each layer adds one at most
    dim: int = 144  # of the bottleneck
    units: int = 512  # classes of the content teacher
    features: int = 0  # principal components of the content teacher's features, as a second target
    n_mels: int = 80
    heads: int = 0  # of attention: transformer blocks instead of ConvNeXt ones; `kernel` and `lookahead` do not count


class WhisperStem(nn.Module):
    """(B, 80, T) normalised log-mel -> (B, C, T / 2), as Whisper's encoder begins.

    The first convolution is longer by two frames: it includes a map to Whisper's own mel. The last one makes room for
    what Whisper adds to all frames, its embedding of the position.
    """

    def __init__(self, n_mels: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(n_mels, width, 5, padding=2)
        self.second = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.last = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.gelu(self.second(F.gelu(self.first(x)))))


class OverTime(nn.Sequential):
    """Blocks of (B, T, C) for (B, C, T)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class ContentEncoder(nn.Module):
    """(B, 80, T) log-mel -> (B, 144, T) content embedding. T must be even: the stack runs at half the rate."""

    stride = 2

    def __init__(self, config: ContentConfig) -> None:
        super().__init__()
        self.config = config
        self.norm = MelNorm(config.n_mels)
        self.stem: nn.Module
        self.stem_norm: nn.Module
        self.blocks: nn.Sequential
        if config.heads:
            self.stem, self.stem_norm = WhisperStem(config.n_mels, config.width), nn.Identity()
            self.blocks = OverTime(*(LocalTransformerBlock(config.width, config.heads) for _ in range(config.layers)))
        else:
            self.stem = nn.Conv1d(config.n_mels, config.width, kernel_size=4, stride=2)  # two frames of the past
            self.stem_norm = ChannelNorm(config.width)
            self.blocks = nn.Sequential(
                *(
                    ConvNeXtBlock(config.width, config.kernel, int(i < config.lookahead), layers=config.layers)
                    for i in range(config.layers)
                )
            )
        self.bottleneck = nn.Sequential(ChannelNorm(config.width), nn.Conv1d(config.width, config.dim * 2, 1))

    def forward(self, mel: Tensor) -> Tensor:
        """(B, 80, T) log-mel -> (B, 144, T)."""
        x = self.norm(mel) if self.config.heads else F.pad(self.norm(mel), (2, 0))
        x = self.blocks(self.stem_norm(self.stem(x)))
        x = self.bottleneck(x)  # (B, 2 * dim, T / 2): the two halves are the two frames of a pair
        batch, _, half = x.shape
        return x.reshape(batch, 2, self.config.dim, half).permute(0, 2, 3, 1).reshape(batch, -1, half * 2)


class ContentHeads(nn.Module):
    """Linear readouts of the bottleneck that training needs: the bottleneck has to keep these.

    | output       | shape         | meaning                                                              |
    |--------------|---------------|----------------------------------------------------------------------|
    | units_logits | (B, units, T) | of the content teacher's units                                       |
    | prosody      | (B, 3, T)     | voicing logit; log F0 and log energy relative to those of the whole  |
    | features     | (B, D, T)     | the content teacher's features, where the configuration has them     |
    """

    def __init__(self, config: ContentConfig) -> None:
        super().__init__()
        self.units = nn.Conv1d(config.dim, config.units, 1)
        self.prosody = nn.Conv1d(config.dim, 3, 1)
        self.features = nn.Conv1d(config.dim, config.features, 1) if config.features else None

    def forward(self, content: Tensor) -> dict[str, Tensor]:
        outputs = {"units_logits": self.units(content), "prosody": self.prosody(content)}
        return outputs if self.features is None else outputs | {"features": self.features(content)}


class ContentModel(nn.Module):
    """Encoder and heads in one module, so that both are trained, averaged and saved together."""

    def __init__(self, config: ContentConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ContentEncoder(config)
        self.heads = ContentHeads(config)

    def forward(self, mel: Tensor) -> dict[str, Tensor]:
        """(B, 80, T) log-mel -> "content" (B, C, T) and the outputs of `ContentHeads`."""
        content = self.encoder(mel)
        return {"content": content, **self.heads(content)}
