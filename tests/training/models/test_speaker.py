"""The speaker encoder equals the published CAM++ behind its front-end."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

from fastvoicegrad.training.legacy import with_thresholds  # noqa: E402
from fastvoicegrad.training.models.speaker import (  # noqa: E402
    SEGMENT,
    DenseLayer,
    SpeakerConfig,
    SpeakerEncoder,
    Threshold,
    context_of,
    level,
    resampled,
)


@pytest.mark.parametrize("frames", [40, 260, 600])
def test_published_weights_give_the_published_network(frames: int) -> None:
    published = pytest.importorskip("speakerlab.models.campplus.DTDNN").CAMPPlus(80, 192).eval()
    torch.manual_seed(0)
    for module in published.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                module.weight.data.uniform_(0.5, 1.5)
                module.bias.data.normal_(0, 0.1)
    encoder = SpeakerEncoder(SpeakerConfig())
    encoder.fill(published.state_dict())
    mel = torch.randn(2, 80, frames)
    with torch.inference_mode():
        features = encoder.front(resampled(mel)).transpose(1, 2)
        wanted = F.normalize(published(features - features.mean(1, keepdim=True)), dim=1)
        torch.testing.assert_close(encoder(mel), wanted, atol=1e-3, rtol=1e-3)


def test_other_weights_are_refused() -> None:
    small = SpeakerEncoder(SpeakerConfig(width=4, entrance=8, growth=4, layers=(1, 1)))
    with pytest.raises(ValueError, match="fewer layers"):
        small.fill({})
    with pytest.raises(ValueError, match="more layers"):
        small.fill(dict(_as_published(small)) | {"extra.weight": torch.zeros(1)})


def _as_published(encoder: SpeakerEncoder) -> list[tuple[str, torch.Tensor]]:
    """The weights of all layers, under numbered names."""
    layers = [
        m for m in encoder.modules() if m is not encoder.front and not list(m.children()) and list(m.parameters())
    ]
    named = []
    for i, layer in enumerate(layers):
        if isinstance(layer, Threshold):  # published as a batch normalisation
            ones = torch.ones(len(layer.level))
            named += [(f"{i}.running_mean", 0 * ones), (f"{i}.running_var", ones)]
        else:
            named += [(f"{i}.{kind}", value) for kind, value in layer.named_parameters()]
    return named


def test_the_context_is_the_mean_over_time_and_over_the_segment() -> None:
    x = torch.randn(1, 3, SEGMENT + 20)
    context = context_of(x)
    means = x @ context.averages
    assert context.segment.tolist() == [0] * SEGMENT + [1] * 20
    torch.testing.assert_close(means[:, :, 0], x.mean(2) + x[:, :, :SEGMENT].mean(2))
    torch.testing.assert_close(means[:, :, 1], x.mean(2) + x[:, :, SEGMENT:].mean(2))


def test_a_threshold_is_a_normalisation_and_relu_up_to_a_linear_map() -> None:
    x, gain, offset = torch.randn(2, 5, 7), torch.rand(5) + 0.1, torch.randn(5)
    threshold = Threshold(5)
    with torch.no_grad():
        threshold.level.copy_(level(gain, offset))
        ours = gain[:, None] * threshold(x) + offset[:, None]
    torch.testing.assert_close(ours, F.relu(gain[:, None] * x + offset[:, None]))


def test_weights_of_0_16_0_become_thresholds() -> None:
    """There a layer was ReLU(gain x + offset), a convolution, and ReLU(gain x + offset)."""
    torch.manual_seed(0)
    layer, x = DenseLayer(6, 4, 1), torch.randn(2, 6, 9)
    old = {f"before.{kind}": torch.rand(6, 1) + 0.1 for kind in ("weight", "bias")}
    old |= {f"between.{kind}": torch.randn(16, 1) for kind in ("weight", "bias")}
    old["reduce.weight"] = torch.randn(16, 6, 1)
    new = with_thresholds({f"0.{name}": weight for name, weight in old.items()})
    assert set(new) == {"0.before.level", "0.reduce.weight", "0.reduce.bias"}
    with torch.no_grad():
        layer.before.level.copy_(new["0.before.level"])
        layer.reduce.weight.copy_(new["0.reduce.weight"])
        layer.reduce.bias.copy_(new["0.reduce.bias"])
        expected = F.relu(x * old["before.weight"] + old["before.bias"])
        expected = F.conv1d(expected, old["reduce.weight"]) * old["between.weight"] + old["between.bias"]
        torch.testing.assert_close(layer.reduce(layer.before(x)), expected, atol=1e-5, rtol=1e-5)


def test_balanced_weights_give_the_same_embedding() -> None:
    torch.manual_seed(0)
    encoder = SpeakerEncoder(SpeakerConfig(width=4, entrance=8, growth=4, layers=(2, 3)))
    with torch.no_grad():
        for parameter in encoder.parameters():
            sizes = torch.logspace(-2, 0, len(parameter))
            parameter.copy_(torch.randn_like(parameter) * sizes.view(-1, *[1] * (parameter.ndim - 1)))
        mel = torch.randn(2, 80, 100)
        expected = encoder(mel)
        encoder.balance()
        torch.testing.assert_close(encoder(mel), expected, atol=1e-4, rtol=1e-3)
        (layer, *_), _ = encoder.blocks[0]
        columns = layer.reduce.weight[:, :8, 0] / layer.reduce.weight.square().mean((1, 2)).sqrt()[:, None]
        assert columns.square().mean(0).max() < 30 * columns.square().mean(0).min()  # 10,000 before


def test_the_mel_is_resampled_to_100_frames_a_second() -> None:
    """A second has 86.13 frames here. A ramp over time stays a ramp, whose first frame is centred on 5 ms."""
    mel = torch.arange(861.0).expand(1, 80, -1)
    out = resampled(mel)
    assert out.shape[2] == 999
    step = 22050 / 256 / 100
    torch.testing.assert_close(out[0, 0, 10:900], (torch.arange(10, 900) + 0.5) * step - 0.5, atol=1e-3, rtol=1e-4)
