"""The networks that stream: whole sequences and single frames give the same, and nothing looks too far ahead."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fastvoicegrad import InputError  # noqa: E402
from fastvoicegrad.stream import rendering  # noqa: E402
from fastvoicegrad.training.models.attention import AttentionConfig  # noqa: E402
from fastvoicegrad.training.models.stream import (  # noqa: E402
    StreamContent,
    StreamContentConfig,
    StreamConverter,
    StreamConverterConfig,
    StreamPitch,
    StreamPitchConfig,
)
from fastvoicegrad.training.models.stream_layers import MemoryAttention, spread  # noqa: E402
from fastvoicegrad.training.models.stream_renderer import StreamRenderer, StreamRendererConfig  # noqa: E402

FRAMES, BATCH = 40, 2
SPLITS = ([1] * FRAMES, [2] * 20, [1, 7, 2, 13, 17], [39, 1])
Step = Callable[..., tuple["torch.Tensor", "torch.Tensor"]]


def content(lookahead: int = 2) -> StreamContent:
    return StreamContent(StreamContentConfig(width=16, layers=4, lookahead=lookahead))


def converter() -> tuple[StreamConverter, tuple[torch.Tensor, torch.Tensor]]:
    attention = AttentionConfig(width=16, heads=2, layers=1, tokens=2)
    made = StreamConverter(StreamConverterConfig(width=16, layers=4, attention=attention, attend_after=(1, 2)))
    voice = made.voice(torch.randn(BATCH, 192), torch.randn(BATCH, 144, 20), torch.randn(BATCH, 80, 20))
    return made, voice


def pitches() -> torch.Tensor:
    return torch.rand(BATCH, FRAMES) * 200 + 80 * (torch.rand(BATCH, FRAMES) > 0.3)


def steps(kind: str) -> tuple[Step, list[torch.Tensor]]:
    """A network as (inputs by frame, state) -> (output, windows), and its inputs."""
    mel = torch.randn(BATCH, FRAMES, 80) - 5
    if kind == "content":
        return content(), [mel]
    if kind == "pitch":
        tracker = StreamPitch(StreamPitchConfig(width=16, layers=3, classes=24))

        def pitch(mel: torch.Tensor, state: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
            logits, voicing, windows = tracker(mel, state)
            return torch.cat([logits.transpose(1, 2), voicing[:, :, None]], 2), windows

        return pitch, [mel]
    if kind == "converter":
        network, voice = converter()
        return lambda c, p, state: network(c, p, *voice, state), [torch.randn(BATCH, FRAMES, 144), pitches()]
    renderer = StreamRenderer(StreamRendererConfig(width=16, layers=3))

    def filters(mel: torch.Tensor, pitch: torch.Tensor, state: torch.Tensor | None) -> tuple:  # type: ignore[type-arg]
        outputs, windows = renderer(mel, pitch, state)
        return torch.cat(outputs, 2), windows

    return filters, [mel, pitches()]


def in_parts(step: Step, inputs: Sequence[torch.Tensor], split: Sequence[int]) -> torch.Tensor:
    state, outputs = None, []
    for parts in zip(*(x.split(list(split), 1) for x in inputs), strict=True):
        output, windows = step(*parts, state)
        state = windows[:, output.shape[1] :]
        outputs.append(output)
    return torch.cat(outputs, 1)


@pytest.mark.parametrize("kind", ["content", "pitch", "converter", "renderer"])
@torch.inference_mode()
def test_parts_give_what_the_whole_gives(kind: str) -> None:
    torch.manual_seed(0)
    step, inputs = steps(kind)
    whole, _ = step(*inputs, None)
    for split in SPLITS:
        torch.testing.assert_close(in_parts(step, inputs, split), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("lookahead", [0, 1, 2, 4, 8])
def test_an_output_waits_for_the_look_ahead_and_no_longer(lookahead: int) -> None:
    encoder = content(lookahead)
    mel = torch.randn(1, FRAMES, 80, requires_grad=True)
    encoder(mel)[0][0, 20].sum().backward()
    assert mel.grad is not None
    touched = mel.grad[0].abs().sum(1).nonzero()[:, 0]
    assert touched.max() == 20  # output 20 belongs to frame 20 - lookahead
    spike = torch.zeros(1, FRAMES, 80)
    spike[0, 10] = 50.0
    change = (encoder(spike)[0] - encoder(torch.zeros_like(spike))[0])[0].abs().sum(1)
    assert change.argmax() >= 10
    assert change[:10].max() == 0


def test_the_look_ahead_lies_in_the_first_layers() -> None:
    assert spread(2, 4, 3) == [1, 1, 0, 0]
    assert spread(8, 4, 3) == [2, 2, 2, 2]
    with pytest.raises(ValueError, match="0 to 12 frames ahead, not 13"):
        spread(13, 4, 3)


@torch.inference_mode()
def test_the_memory_holds_keys_and_values_of_all_heads() -> None:
    """Attention to the entries themselves is attention to their keys and values."""
    layer = MemoryAttention(AttentionConfig(width=16, heads=4), 24)
    x, memory = torch.randn(BATCH, 5, 24), torch.randn(BATCH, 20, 16)
    query, key, value = (
        one.unflatten(2, (4, -1)).transpose(1, 2)
        for one in (layer.query(layer.norm(x)), *layer.memory(memory).chunk(2, 2))
    )
    attended = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    expected = x + layer.out(attended.transpose(1, 2).flatten(2))
    torch.testing.assert_close(layer(x, memory), expected, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_the_pitch_is_decoded_as_in_the_tracker() -> None:
    tracker = StreamPitch(StreamPitchConfig(width=16, layers=3))
    pitch = torch.tensor([[60.0, 123.4, 432.1]])
    torch.testing.assert_close(tracker.decode(tracker.classes_of(pitch).log()), pitch, rtol=1e-3, atol=0)


@torch.inference_mode()
def test_numpy_renders_what_pytorch_renders() -> None:
    torch.manual_seed(1)
    renderer = StreamRenderer(StreamRendererConfig(width=16, layers=2))
    pitch = (pitches()[:1] / 0.125).round() * 0.125
    filters, _ = renderer(torch.randn(1, FRAMES, 80) - 5, pitch)
    noise = rendering.noise(7, 0, FRAMES)
    expected = renderer.render(filters, pitch, torch.from_numpy(noise)[None])[0].numpy()
    for split in SPLITS:
        state, parts = rendering.silence(), []
        edges = np.cumsum([0, *split])
        for a, b in itertools.pairwise(edges):
            inputs = [x[0, a:b].numpy() for x in filters]
            part, state = rendering.render(inputs, pitch[0, a:b].numpy(), noise[a:b], [b - a], state)
            parts.append(part.ravel())
        assert np.abs(np.concatenate(parts) - expected).max() < 1e-4 * max(1.0, np.abs(expected).max())


def test_gradients_reach_the_renderer_through_its_sound() -> None:
    renderer = StreamRenderer(StreamRendererConfig(width=16, layers=2))
    pitch = pitches()
    filters, _ = renderer(torch.randn(BATCH, FRAMES, 80) - 5, pitch)
    renderer.render(filters, pitch, torch.randn(BATCH, FRAMES, 256), torch.rand(BATCH, 1)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in renderer.parameters())


def test_a_sound_starts_in_its_own_hop() -> None:
    """A filter of one hop changes nothing before that hop."""
    renderer = StreamRenderer(StreamRendererConfig(width=16, layers=2))
    pitch, noise = torch.full((1, FRAMES), 120.0), torch.randn(1, FRAMES, 256)
    zeros = torch.zeros(1, FRAMES, rendering.BINS)
    changed = zeros.clone()
    changed[0, 20] = 1.0
    first = renderer.render((zeros, zeros, zeros), pitch, noise)
    second = renderer.render((changed, zeros, zeros), pitch, noise)
    difference = (first - second)[0].abs()
    assert difference[: 20 * 256].max() < 1e-5 * first.abs().max()
    assert difference[20 * 256 : 21 * 256].max() > 1e-2


@pytest.mark.parametrize("lookahead", [-1, 13])
def test_a_look_ahead_that_does_not_fit_is_one_line(lookahead: int) -> None:
    with pytest.raises(InputError, match=f"4 layers look 0 to 12 frames ahead, not {lookahead}; change lookahead, or"):
        content(lookahead)


@pytest.mark.parametrize("places", [(0, 4), (-1, 0), (1, 1)])
def test_attentions_stand_behind_blocks_of_their_own(places: tuple[int, ...]) -> None:
    """Others would be trained for nothing."""
    with pytest.raises(InputError, match="attend_after is .* and the blocks are 0 to 3; name each once at most"):
        StreamConverterConfig(layers=4, attend_after=places)
    for fitting in ((), (3, 0), (0, 1, 2, 3)):
        StreamConverterConfig(layers=4, attend_after=fitting)
