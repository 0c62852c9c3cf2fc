from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from fastvoicegrad.training.models.content import ContentConfig, ContentEncoder  # noqa: E402
from fastvoicegrad.training.models.local_attention import SPAN, LocalAttention  # noqa: E402
from fastvoicegrad.training.onnx_graphs import receptive_field  # noqa: E402


def attention() -> LocalAttention:
    torch.manual_seed(0)
    layer = LocalAttention(24, 2)
    torch.nn.init.normal_(layer.level)
    return layer.requires_grad_(False)


def dense(layer: LocalAttention, x: torch.Tensor) -> torch.Tensor:
    """The layer by its definition: one matrix of all pairs of frames."""
    q, k, v = (f(x).unflatten(2, (2, -1)).transpose(1, 2) for f in (layer.query, layer.key, layer.value))
    distance = torch.arange(x.shape[1]) - torch.arange(x.shape[1])[:, None]
    bias = layer.level[:, (distance + SPAN).clamp(0, 2 * SPAN)].where(distance.abs() <= SPAN, -torch.inf)
    weights = (q @ k.transpose(2, 3) / q.shape[3] ** 0.5 + bias).softmax(3)
    return layer.out((weights @ v).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("frames", [1, SPAN - 1, SPAN, SPAN + 1, 3 * SPAN, 100])
def test_blocks_equal_the_matrix_of_all_pairs(frames: int) -> None:
    x = torch.randn(3, frames, 24)
    torch.testing.assert_close(attention()(x), dense(attention(), x))


def test_bias_of_distances_comes_back_from_its_table() -> None:
    layer, other = attention(), LocalAttention(24, 2).requires_grad_(False)
    other.take_bias(layer.bias())
    assert torch.equal(other.level, layer.level)


def test_part_of_a_recording_equals_the_whole() -> None:
    """Where a block of queries begins does not count."""
    torch.manual_seed(0)
    encoder = ContentEncoder(ContentConfig(width=24, layers=2, heads=2)).eval().requires_grad_(False)
    for block in encoder.blocks:
        torch.nn.init.normal_(block.attention.level)
    mel = torch.randn(1, 80, 700)
    left, right = 2 * 2 * SPAN + 4, 2 * 2 * SPAN + 3
    whole, part = encoder(mel), encoder(mel[:, :, 150:650])
    torch.testing.assert_close(part[:, :, left:-right], whole[:, :, 150 + left : 650 - right], atol=1e-5, rtol=1e-4)


def test_look_ahead_is_that_of_all_blocks() -> None:
    encoder = ContentEncoder(ContentConfig(width=24, layers=2, heads=2)).eval()
    assert receptive_field(encoder, 80, ContentEncoder.stride) == (2 * 2 * SPAN + 4, 2 * 2 * SPAN + 3)
