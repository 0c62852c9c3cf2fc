from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch.nn import functional as F  # noqa: E402

from fastvoicegrad import InputError  # noqa: E402
from fastvoicegrad.mel import hz_to_mel, mel_to_hz  # noqa: E402
from fastvoicegrad.training.losses import adversarial_discriminator, phase_distance  # noqa: E402
from fastvoicegrad.training.models.attention import AttentionConfig, ReferenceAttention  # noqa: E402
from fastvoicegrad.training.models.content import ContentConfig, ContentEncoder, ContentHeads  # noqa: E402
from fastvoicegrad.training.models.discriminators import (  # noqa: E402
    FeatureDiscriminator,
    WaveDiscriminator,
    WaveDiscriminatorConfig,
)
from fastvoicegrad.training.models.harmonics import Harmonics  # noqa: E402
from fastvoicegrad.training.models.pitch import PitchConfig, PitchTracker, pitch_losses  # noqa: E402
from fastvoicegrad.training.models.retrieval import Retrieval  # noqa: E402
from fastvoicegrad.training.models.speaker import SpeakerConfig, SpeakerEncoder  # noqa: E402
from fastvoicegrad.training.models.unet import Conditions, Denoiser, LayerCondition, UNet, UNetConfig  # noqa: E402
from fastvoicegrad.training.models.vocoder import HiFiGAN, SpectralVocoder, VocoderConfig, pulse_train  # noqa: E402
from fastvoicegrad.training.onnx_graphs import fold_weight_norm, receptive_field  # noqa: E402


def tiny_unet(prediction: str = "v") -> UNet:
    return UNet(UNetConfig(channels=(8, 8, 8), prediction=prediction)).eval()  # type: ignore[arg-type]


def test_the_papers_unet_has_its_twelve_layers_and_size() -> None:
    model = UNet(UNetConfig())
    convolutions = [m for m in model.modules() if isinstance(m, (torch.nn.Conv1d, torch.nn.ConvTranspose1d))]
    assert len(convolutions) - 1 == 12  # but for the content's projection
    assert 35e6 < sum(p.numel() for p in model.parameters()) < 65e6


@pytest.mark.parametrize("frames", [4, 64, 100])
def test_unet_keeps_the_shape(frames: int) -> None:
    out = tiny_unet()(
        torch.randn(2, 80, frames), torch.tensor([1, 950]), torch.randn(2, 192), torch.randn(2, 144, frames)
    )
    assert out.shape == (2, 80, frames)


def test_conditions_as_biases_equal_concatenation() -> None:
    # The same layer with the condition as constant channels, away from the zero-padded ends.
    layer = tiny_unet().conv3
    x, content, condition = torch.randn(1, 8, 40), torch.randn(1, 32, 40), torch.randn(1, 320)
    kernel = torch.randn(16, 320, 9)
    layer.bias.weight.data = kernel.sum(2)
    ours = layer(x, content, LayerCondition(condition, None))
    constant = condition[:, :, None].expand(-1, -1, 40)
    full = torch.cat([layer.conv.weight, kernel], 1)
    theirs = torch.nn.functional.conv1d(torch.cat([x, content, constant], 1), full, layer.conv.bias, padding=4)
    expected = torch.nn.functional.glu(theirs, 1)
    torch.testing.assert_close(ours[..., 4:-4], expected[..., 4:-4], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
def test_denoiser_is_consistent(prediction: str) -> None:
    x_t, ab = torch.randn(2, 80, 16), torch.tensor([0.5, 0.006])
    x0, eps = Denoiser(tiny_unet(prediction))(
        x_t, torch.tensor([500, 950]), ab, torch.randn(2, 192), torch.randn(2, 144, 16)
    )
    again = ab.sqrt()[:, None, None] * x0 + (1 - ab).sqrt()[:, None, None] * eps
    torch.testing.assert_close(again, x_t, atol=1e-4, rtol=1e-4)


def test_retrieval_returns_the_frames_of_known_content() -> None:
    """With its own keys as content it returns the values; the order of the memory has no effect."""
    retrieval = Retrieval(144, temperature=0.02)
    retrieval.fit(torch.randn(500, 144))
    keys, values = torch.randn(2, 144, 30), torch.randn(2, 80, 30)
    torch.testing.assert_close(retrieval(keys, keys, values), values, atol=1e-3, rtol=0)
    content, order = torch.randn(2, 144, 11), torch.randperm(30)
    torch.testing.assert_close(
        retrieval(content, keys[..., order], values[..., order]), retrieval(content, keys, values)
    )
    assert retrieval(content, keys, values).abs().amax() <= values.abs().amax()  # a weighted mean


def test_hints_reach_the_output() -> None:
    torch.manual_seed(0)
    model = UNet(UNetConfig(channels=(8, 8, 8), retrieval=True, harmonics=True)).eval()
    inputs = torch.randn(1, 80, 16), torch.tensor([950]), torch.randn(1, 192), torch.randn(1, 144, 16)
    voice = torch.randn(1, 144, 9), torch.randn(1, 80, 9)
    conditions = [model.conditions(inputs[3], *voice, torch.full((1, 16), pitch)) for pitch in (0.0, 120.0, 121.0)]
    assert all(c.hints is not None and c.hints.shape == (1, 160, 16) for c in conditions)
    out = [model(*inputs, c) for c in conditions]
    assert (out[1] - out[0]).abs().mean() > 3 * (out[2] - out[1]).abs().mean() > 0
    assert tiny_unet().conditions(inputs[3], *voice, None) == Conditions()


@pytest.mark.parametrize("film", [0, 12])
def test_attention_reads_the_reference_in_any_order_and_length(film: int) -> None:
    torch.manual_seed(0)
    attention = AttentionConfig(width=8, heads=2, layers=1, tokens=3)
    model = UNet(UNetConfig(channels=(8, 8, 8), attention=attention, film_dim=film)).eval()
    x, step, speaker, content = (
        torch.randn(1, 80, 16),
        torch.tensor([950]),
        torch.randn(1, 192),
        torch.randn(1, 144, 16),
    )

    def converted(*reference: torch.Tensor) -> torch.Tensor:
        return model(x, step, speaker, content, model.conditions(content, *reference, None))

    for length in (1, 2, 9):
        assert converted(torch.randn(1, 144, length), torch.randn(1, 80, length)).shape == x.shape
    one, other = ((torch.randn(1, 144, 300), torch.randn(1, 80, 300)) for _ in range(2))
    assert not torch.allclose(converted(*one), converted(*other))
    turned = converted(*(part.roll(100, 2) for part in one))
    moved = (turned - converted(*one)).abs().mean()  # only where two windows meet
    assert moved < 0.4 * (converted(*other) - converted(*one)).abs().mean()


def test_attention_is_a_weighted_mean_of_values() -> None:
    torch.manual_seed(0)
    attention = ReferenceAttention(AttentionConfig(width=8, heads=2), 6).eval()
    with torch.no_grad():
        attention.query.weight.zero_()
        attention.query.bias.zero_()  # all scores are equal
        attention.out.bias.zero_()
    x, memory = torch.randn(2, 6, 5), torch.randn(2, 8, 7)
    expected = attention.out(attention.value(memory).mean(2, keepdim=True))
    torch.testing.assert_close(attention(x, memory) - x, expected.expand_as(x))


def test_harmonic_features_peak_at_the_harmonics() -> None:
    centres = mel_to_hz(np.linspace(hz_to_mel(0), hz_to_mel(8000), 82)[1:-1])
    features = Harmonics()(torch.tensor([[250.0, 0.0, 400.0]]))[0].numpy()
    for frame, pitch in ((0, 250.0), (2, 400.0)):
        for number in (2, 3, 4):
            peak, gap = (
                features[np.abs(centres - f).argmin(), frame] for f in (number * pitch, (number + 0.5) * pitch)
            )
            assert peak > gap + 0.5
    assert not features[:, 1].any()


def test_classes_of_a_pitch_are_decoded_to_it() -> None:
    tracker = PitchTracker(PitchConfig(width=8, layers=1))
    pitch = torch.tensor([[55.0, 101.3, 220.0, 440.0, 580.0]])
    logits = tracker.classes_of(pitch).clamp(min=1e-20).log()
    assert logits.shape == (1, 176, 5)
    cents = 1200 * (tracker.decode(logits) / pitch).log2().abs()
    assert cents.max() < 3
    right = pitch_losses(tracker, logits, torch.full_like(pitch, 9.0), pitch)
    wrong = pitch_losses(tracker, logits.roll(20, 1), torch.full_like(pitch, -9.0), pitch)
    assert right["pitch"] < wrong["pitch"]
    assert right["voicing"] < 0.01 < wrong["voicing"]
    unvoiced = pitch_losses(tracker, logits.roll(20, 1), torch.full_like(pitch, -9.0), torch.zeros_like(pitch))
    assert unvoiced["pitch"] == 0
    assert unvoiced["voicing"] < 0.01


def test_pitch_and_content_have_the_same_look_ahead() -> None:
    tracker = PitchTracker(PitchConfig(width=16)).eval()
    assert receptive_field(lambda mel: tracker(mel)[0], 80, 1) == (2 + 5 * 6, 2 + 6)
    assert receptive_field(ContentEncoder(ContentConfig(width=16)).eval(), 80, ContentEncoder.stride)[1] >= 2 + 6


def test_the_look_ahead_of_content_is_its_setting() -> None:
    config = ContentConfig(width=16, layers=6, lookahead=3)
    left, right = receptive_field(ContentEncoder(config).eval(), 80, ContentEncoder.stride)
    assert right == 2 * config.lookahead + 1  # the pair's second frame, and the look-ahead in pairs
    assert left >= 2 * config.layers * 5


def test_content_heads() -> None:
    config = ContentConfig(width=16, layers=2, units=10, features=7)
    content = ContentEncoder(config)(torch.randn(2, 80, 30))
    assert content.shape == (2, 144, 30)
    shapes = {name: tuple(x.shape) for name, x in ContentHeads(config)(content).items()}
    assert shapes == {"units_logits": (2, 10, 30), "prosody": (2, 3, 30), "features": (2, 7, 30)}


@pytest.mark.parametrize("frames", [16, 100, 333])
def test_speaker_embeddings_have_unit_length(frames: int) -> None:
    out = SpeakerEncoder(SpeakerConfig(width=4, entrance=8, growth=4, layers=(1, 1)))(torch.randn(3, 80, frames))
    torch.testing.assert_close(out.norm(dim=1), torch.ones(3))


def test_vocoder_renders_whole_hops() -> None:
    model = SpectralVocoder(VocoderConfig(width=16, layers=3))
    assert model(torch.randn(2, 80, 20)).shape == (2, 5120)
    assert model.features(torch.randn(2, 80, 20)).shape == (2, model.feature_channels, 20)


def test_vocoders_stft_inverts() -> None:
    wave = torch.randn(2, 256 * 50) * 0.1
    model = SpectralVocoder(VocoderConfig(width=16, layers=2))
    torch.testing.assert_close(model.inverse_stft(model.stft(wave)), wave, atol=1e-5, rtol=1e-4)


def test_flat_filters_return_the_sources() -> None:
    model = SpectralVocoder(VocoderConfig(width=16, layers=2))
    pitch, zero, silent = torch.full((1, 20), 200.0), torch.zeros(1, 513, 20), torch.full((1, 513, 20), -30.0)
    mel, noise = torch.zeros(1, 80, 20), torch.randn(1, 5120)
    close = {"atol": 1e-4, "rtol": 1e-3}
    torch.testing.assert_close(model.render(mel, (pitch, zero, zero, silent), noise), pulse_train(pitch, 256), **close)
    torch.testing.assert_close(model.render(mel, (pitch, silent, zero, zero), noise), noise, **close)


def test_the_filter_of_minimum_phase_is_the_causal_one() -> None:
    """Of all filters with the magnitude of 1 - 0.9 / z, minimum phase chooses this one."""
    model = SpectralVocoder(VocoderConfig(width=16, layers=2))
    expected = torch.zeros(1024)
    expected[:2] = torch.tensor([1.0, -0.9])
    with torch.no_grad():
        model.head.weight[:513] = 0
        model.head.bias[:513] = torch.fft.rfft(expected).abs().log()  # type: ignore[index]
    model.take_minimum_phase()
    _, magnitude, phase, _ = model.filters(torch.randn(1, 80, 8))
    response = torch.fft.irfft(torch.polar(magnitude.exp(), phase), dim=1)
    torch.testing.assert_close(response, expected[None, :, None].expand_as(response), atol=1e-4, rtol=0)


def test_pulses_are_laid_where_those_of_a_recording_are() -> None:
    """A tracker's pitch is smoother than the voice, and nothing tells where its pulses begin."""
    torch.manual_seed(0)
    model = SpectralVocoder(VocoderConfig(width=16, layers=2))
    tracked = torch.tensor([[140.0], [220.0]]).expand(2, 40)
    pitch = tracked * (1 + 0.01 * torch.sin(torch.arange(40.0) / 3))
    wave = pulse_train(pitch, 256, torch.tensor([[0.3], [0.8]]))
    voiced = torch.ones_like(tracked, dtype=torch.bool)
    voiced[1, 15:25] = False
    noise = 0.05 * torch.randn_like(wave)
    wave = wave.where(voiced.repeat_interleave(256, 1), noise)
    flat = torch.zeros(2, 513, 40)
    filters = tracked, flat, flat, flat - 30
    mel, silence = torch.zeros(2, 80, 40), torch.zeros(2, 40 * 256)
    laid = model.render(mel, filters, silence, model.aligned(filters, voiced, wave))
    steady = voiced.float()[:, None]
    steady = (-F.max_pool1d(-steady, 9, 1, 4))[:, 0].repeat_interleave(256, 1)  # far from the ends of voiced parts
    steady[:, : 4 * 256] = steady[:, -4 * 256 :] = 0

    def alike(x: torch.Tensor) -> float:
        return float(F.cosine_similarity(x * steady, wave * steady, dim=1).min())

    assert alike(laid) > 0.95
    assert alike(model.render(mel, filters, silence)) < 0.5
    assert phase_distance(wave, laid) < 0.2 * phase_distance(wave, model.render(mel, filters, silence))


def test_hifigan_is_v1() -> None:
    model = HiFiGAN()
    fold_weight_norm(model)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(13.93e6, rel=0.01)
    assert {"conv_pre", "ups", "resblocks", "conv_post"} == {name for name, _ in model.named_children()}


def test_hifigan_shapes_and_published_format(tmp_path) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    model = HiFiGAN().eval()
    old_names = {
        key.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for key, value in model.state_dict().items()
    }
    torch.save({"generator": old_names}, tmp_path / "generator")
    mel = torch.randn(1, 80, 8)
    with torch.no_grad():
        assert model(mel).shape == (1, 2048)
        assert model.features(mel).shape == (1, 256, 64)
        torch.testing.assert_close(HiFiGAN.from_checkpoint(tmp_path / "generator")(mel), model(mel))


@pytest.mark.parametrize("held", [{"model": {}}, {"generator": {}}, {"generator": [1]}, [1], None])
def test_another_file_than_hifigans_is_refused(tmp_path: Path, held: object) -> None:
    if held is not None:
        torch.save(held, tmp_path / "weights.pt")
    with pytest.raises(InputError, match=r"weights\.pt does not hold HiFi-GAN V1's generator; name the published"):
        HiFiGAN.from_checkpoint(tmp_path / "weights.pt")


def test_discriminators_return_scores_and_features() -> None:
    config = WaveDiscriminatorConfig(period_channels=(2, 4), resolution_channels=2)
    scores, features = WaveDiscriminator(config)(torch.randn(2, 8192))
    assert len(scores) == len(features) == 8
    scores, features = FeatureDiscriminator(16, 8)(torch.randn(2, 16, 64))
    assert [f[-1].shape[-1] for f in features] == [64, 16]


def test_a_narrow_discriminator_learns_to_separate_pulses_from_noise() -> None:
    torch.manual_seed(0)
    settings = WaveDiscriminatorConfig((), (), ((512, 128, 512),), 4, spectrum="log")
    discriminator = WaveDiscriminator(settings)
    optimizer = torch.optim.AdamW(discriminator.parameters(), 3e-3, betas=(0.8, 0.99))
    for step in range(80):
        pulses = pulse_train(torch.full((4, 16), 150.0 + step), 256, torch.rand(4, 1)) * 0.05
        noise = torch.randn(4, 4096) * pulses.std()
        loss = adversarial_discriminator(discriminator(noise)[0], discriminator(pulses)[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1  # chance: 0.5


def test_folding_weight_norm_changes_nothing() -> None:
    model = tiny_unet()
    inputs = torch.randn(1, 80, 16), torch.tensor([950]), torch.randn(1, 192), torch.randn(1, 144, 16)
    before = model(*inputs)
    fold_weight_norm(model)
    assert not any("parametrizations" in name for name, _ in model.named_parameters())
    torch.testing.assert_close(model(*inputs), before)


def test_receptive_field_of_a_known_network() -> None:
    net = torch.nn.Sequential(torch.nn.Conv1d(4, 4, 5, padding=2), torch.nn.Conv1d(4, 4, 7, padding=9, dilation=3))
    assert receptive_field(net, 4, 1) == (11, 11)
