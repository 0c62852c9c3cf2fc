"""Start a content encoder from Whisper's encoder: its blocks, for this project's mel and for sound of any length.

Three things differ from Whisper (arXiv 2212.04356), and each gets the nearest start:

- The mel: a linear map to Whisper's own log-mel is fitted and folded into the first convolution. A frame of this
  project is 16 % longer, so speech seems that much faster.
- The place: every frame gets the embedding of one place.
- The attention: what places add to the logits becomes a bias for each distance, the mean over recordings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from ..mel import MEL, log_mel
from .data.teachers import to_teacher_rate, whisper_encoder, whisper_frames
from .models.content import ContentEncoder, WhisperStem
from .models.local_attention import SPAN, LocalTransformerBlock

PLACE = 250  # of the 1,500 places of Whisper's frames, whose embedding all frames get
NAMES = {
    "attention_norm": "attn_ln",
    "attention.query": "attn.query",
    "attention.key": "attn.key",
    "attention.value": "attn.value",
    "attention.out": "attn.out",
    "norm": "mlp_ln",
    "expand": "mlp.0",
    "reduce": "mlp.2",
}
WHISPER_HOP, WHISPER_FRAME = 0.01, 0.02  # s, of its log-mel and of its blocks


@torch.no_grad()
def start_from_whisper(encoder: ContentEncoder, weights: str, waves: Sequence[np.ndarray]) -> None:
    """Give an encoder with `heads` Whisper's first convolutions and blocks, in place. The bottleneck stays as it is.

    Args:
        encoder: of Whisper's width and number of heads, its `norm` fitted.
        weights: as of `whisper_encoder`.
        waves: some dozen recordings (N,) at 22,050 Hz, for the map and the biases.
    Raises:
        InputError: Whisper or its weights are missing, or its size is another one.
    """
    teacher = whisper_encoder(weights)
    import whisper

    theirs = (teacher.conv1.out_channels, teacher.blocks[0].attn.n_head)
    if (encoder.config.width, encoder.config.heads) != theirs:
        raise InputError("this Whisper has another size; set model.width={} and model.heads={}".format(*theirs))
    if encoder.config.layers > len(teacher.blocks):
        raise InputError(f"this Whisper has {len(teacher.blocks)} blocks; set model.layers to that or fewer")
    mels = [torch.from_numpy(log_mel(wave)) for wave in waves]
    own = [whisper.log_mel_spectrogram(torch.from_numpy(to_teacher_rate(w, MEL.sample_rate))) for w in waves]
    _copy_stem(cast(WhisperStem, encoder.stem), teacher, mel_map([encoder.norm(m) for m in mels], own))
    for block, of in zip(encoder.blocks, teacher.blocks, strict=False):
        for name, origin in NAMES.items():
            block.get_submodule(name).load_state_dict(of.get_submodule(origin).state_dict())
    _copy_biases(encoder, teacher, [m[None, :, : m.shape[1] // 2 * 2] for m in mels], own)


def mel_map(mels: Sequence[Tensor], own: Sequence[Tensor]) -> Tensor:
    """(3, 80, 81): Whisper's log-mel from three frames of another mel and a constant, by least squares.

    Args:
        mels: (80, T) each.
        own: Whisper's log-mel (80, T') of the same recordings.
    """
    inputs, outputs = [], []
    for mel, target in zip(mels, own, strict=True):
        place = (torch.arange(mel.shape[1]) + 0.5) * MEL.hop_length / MEL.sample_rate / WHISPER_HOP
        low = place.long().clamp(max=target.shape[1] - 2)
        outputs.append(torch.lerp(target[:, low], target[:, low + 1], (place - low).clamp(0, 1)).T)
        x = F.pad(mel, (1, 1)).T
        inputs.append(torch.cat([x[:-2], x[1:-1], x[2:], torch.ones_like(x[2:, :1])], 1))
    x, y = torch.cat(inputs), torch.cat(outputs)
    solved = torch.linalg.solve(x.T @ x + 0.1 * torch.eye(x.shape[1]), x.T @ y)  # (241, 80)
    maps = solved[:-1].unflatten(0, (3, -1)).transpose(1, 2)
    return torch.cat([maps, solved[-1].expand(3, -1)[..., None] / 3], 2)


def _copy_stem(stem: WhisperStem, teacher: Any, maps: Tensor) -> None:
    """Whisper's two convolutions, the first after the map `maps` of `mel_map`, and the embedding of `PLACE`."""
    taps, bias = teacher.conv1.weight, teacher.conv1.bias.clone()
    weight = torch.zeros_like(stem.first.weight)
    for i in range(taps.shape[2]):
        for j, mapped in enumerate(maps):
            weight[:, :, i + j] += taps[:, :, i] @ mapped[:, :-1]
            bias += taps[:, :, i] @ mapped[:, -1]
    stem.first.load_state_dict({"weight": weight, "bias": bias})
    stem.second.load_state_dict(teacher.conv2.state_dict())
    place, every = teacher.positional_embedding[PLACE], torch.eye(len(stem.last.weight))[..., None]
    stem.last.load_state_dict({"weight": every, "bias": place})


def _copy_biases(encoder: ContentEncoder, teacher: Any, mels: Sequence[Tensor], own: Sequence[Tensor]) -> None:
    """Mean logits of Whisper at each distance, minus the encoder's own without a bias, block by block."""
    stretch = 2 * MEL.hop_length / MEL.sample_rate / WHISPER_FRAME  # Whisper's frames in one of the encoder's
    theirs = [whisper_frames(teacher, mel[None, :, : mel.shape[1] // 2 * 2]) for mel in own]
    ours = [encoder.stem(encoder.norm(mel)).transpose(1, 2) for mel in mels]
    distances = torch.arange(-SPAN, SPAN + 1)
    for module, of in zip(encoder.blocks, teacher.blocks, strict=False):
        block = cast(LocalTransformerBlock, module)
        given = [_logits(block.attention, block.attention_norm(x), block.attention.heads) for x in ours]
        wanted = [_logits(of.attn, of.attn_ln(x), block.attention.heads) for x in theirs]
        rounded = (distances * stretch).round().long()
        level = _by_distance(wanted, rounded) - _by_distance(given, distances)
        block.attention.level.copy_(level - level.mean(1, keepdim=True))
        ours, theirs = [block(x) for x in ours], [of(x) for x in theirs]


def _logits(attention: Any, x: Tensor, heads: int) -> Tensor:
    """q k / sqrt(d) of all pairs of frames, (heads, T, T), of x (1, T, C)."""
    q, k = (f(x)[0].unflatten(1, (heads, -1)).transpose(0, 1) for f in (attention.query, attention.key))
    return q @ k.transpose(1, 2) / q.shape[2] ** 0.5


def _by_distance(logits: Sequence[Tensor], distances: Tensor) -> Tensor:
    """Means of the diagonals at these distances, (heads, distances); 0 where no recording is that long."""
    means = []
    for distance in distances.tolist():
        diagonals = [m.diagonal(distance, 1, 2) for m in logits if m.shape[1] > abs(distance)]
        means.append(torch.cat(diagonals, 1).mean(1) if diagonals else logits[0].new_zeros(len(logits[0])))
    return torch.stack(means, 1)
