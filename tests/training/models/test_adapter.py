"""An adapter as an input of the U-Net. That ONNX gives the same is in test_export.py."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from fastvoicegrad.training.models.unet import ADAPTER_RANK, UNet, UNetConfig  # noqa: E402
from tests.tiny import TINY_UNET  # noqa: E402

PLAIN = replace(TINY_UNET, film_dim=0, attention=None, retrieval=False, harmonics=False)


def converted(unet: UNet, adapter: torch.Tensor | None) -> torch.Tensor:
    torch.manual_seed(1)
    content, keys, mel = torch.randn(2, 144, 32), torch.randn(2, 144, 20), torch.randn(2, 80, 20) - 5
    conditions = unet.conditions(content, keys, mel, torch.full((2, 32), 150.0), adapter)
    made: torch.Tensor = unet(
        torch.randn(2, 80, 32), torch.tensor([950, 950]), torch.randn(2, 192), content, conditions
    )
    return made


@pytest.mark.parametrize("config", [TINY_UNET, PLAIN])
@torch.inference_mode()
def test_zeros_and_the_start_of_training_are_no_adapter(config: UNetConfig) -> None:
    unet = UNet(config).eval()
    plain = converted(unet, None)
    for adapter in (torch.zeros(1, unet.adapter_size), unet.initial_adapter()):
        torch.testing.assert_close(converted(unet, adapter), plain, atol=1e-6, rtol=0)


@pytest.mark.parametrize("config", [TINY_UNET, PLAIN])
def test_every_value_but_the_products_counts_from_the_start(config: UNetConfig) -> None:
    """Only "down" has no gradient there, as "up" is zero."""
    unet = UNet(config).eval()
    adapter = unet.initial_adapter().requires_grad_()
    converted(unet, adapter).square().sum().backward()
    assert adapter.grad is not None
    still = int((adapter.grad == 0).sum())
    layers = [layer for layer in unet.modules() if hasattr(layer, "adapter_shapes")]
    assert still == sum(ADAPTER_RANK * layer.inputs for layer in layers)
    assert int((adapter != 0).sum()) == still


@torch.inference_mode()
def test_an_adapter_can_be_weakened_to_nothing() -> None:
    unet = UNet(TINY_UNET).eval()
    adapter = 0.1 * torch.randn(1, unet.adapter_size)
    plain = converted(unet, None)
    torch.testing.assert_close(converted(unet, unet.weakened(adapter, 0.0)), plain, atol=1e-6, rtol=0)
    assert torch.equal(unet.weakened(adapter, 1.0), adapter)
    changes = [(converted(unet, unet.weakened(adapter, share)) - plain).abs().mean() for share in (0.5, 1.0)]
    assert 0 < changes[0] < changes[1]


@torch.inference_mode()
def test_each_item_may_have_an_adapter_of_its_own() -> None:
    unet = UNet(TINY_UNET).eval()
    adapters = 0.1 * torch.randn(2, unet.adapter_size)
    both = converted(unet, adapters)
    for item in (0, 1):
        alone = converted(unet, adapters[item : item + 1])
        torch.testing.assert_close(both[item], alone[item], atol=1e-5, rtol=0)


def test_the_places_cover_an_adapter_once() -> None:
    unet = UNet(TINY_UNET)
    layers = [layer.offsets for layer in unet.modules() if hasattr(layer, "adapter_shapes")]
    places = [unet.speaker_offsets, unet.token_offsets, *layers, unet.output_offsets]
    assert [place.start for place in places] == [0, *(place.stop for place in places[:-1])]
    assert places[-1].stop == unet.adapter_size
