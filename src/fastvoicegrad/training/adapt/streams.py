"""An adapter for streams: offsets to the gains and biases of a stream's converter (FiLM, arXiv 1709.07871).

The adapted full converter teaches it with shipped speech, as it taught the stream's converter. The voice's own clips
teach it too. A stream's converter has fewer weights and no look-ahead, so its own offsets are fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from ...converter import VoiceConverter
from ...mel import MEL, Array, log_mel
from ...stream.bundle import StreamBundle
from ...stream.frontend import beyond, stream_mel
from ...voice import Voice
from ...voice_file import Adapter
from ..data.stream_crops import on_time, scored
from ..models.stream import StreamConverter
from .features import FrozenFeatures, Style
from .recordings import Clip, Recordings
from .shipped import Source
from .speakers import mean_embedding

STEPS, LEARNING_RATE, COOLDOWN = 150, 0.02, 0.4  # the rate falls to zero over the last share of the steps
BATCH, FRAMES = 8, 96  # crops, and frames of each
FEATURES_WEIGHT, SPEAKER_WEIGHT = 2.0, 2.0  # of features and of speaker embeddings, against 1 of the mel
MOST_CLIPS = 60  # of the voice


@dataclass(frozen=True)
class Lesson:
    """What a stream reads of one recording, and what it should make of it.

    Attributes:
        content: (T, C).
        pitch: (T,) of the result in Hz, 0 where unvoiced.
        mel: log-mel (T, 80).
    """

    content: Tensor
    pitch: Tensor
    mel: Tensor


@dataclass(frozen=True)
class StreamNetworks:
    """Frozen networks that fit an adapter.

    Attributes:
        bundle: whose streams are adapted.
        converter: its converter.
        speaker: the speaker encoder of log-mels; it also decides.
        features: of the full bundle.
    """

    bundle: StreamBundle
    converter: StreamConverter
    speaker: nn.Module
    features: FrozenFeatures


def stream_adapter(
    networks: StreamNetworks,
    converter: VoiceConverter,
    recordings: Recordings,
    adapted: Voice,
    sources: Sequence[Source],
) -> Adapter | None:
    """An adapter for the streams of one voice; None where it brings clips that are held back no nearer to the voice.

    Args:
        adapted: the voice with the full converter's adapter.
    """
    streams, network = networks.bundle, networks.converter
    encode, features = networks.speaker, networks.features
    plain = streams.voice(replace(adapted, adapter=None))
    film, memory = torch.from_numpy(plain.film), torch.from_numpy(plain.memory)
    lessons = [_conversion(streams, converter, source, adapted) for source in sources]
    lessons += [_own(streams, clip) for clip in recordings.train[:MOST_CLIPS]]
    lessons = [lesson for lesson in lessons if len(lesson.mel) > FRAMES]
    target = mean_embedding(encode, recordings.train)
    style = features.style([lesson.mel.T.numpy() for lesson in lessons])
    offsets = nn.Parameter(torch.zeros_like(film))
    optimiser = torch.optim.Adam([offsets], LEARNING_RATE)
    rate = LambdaLR(optimiser, lambda step: min(1.0, (STEPS - step) / (COOLDOWN * STEPS)))
    random, hidden = np.random.default_rng(0), not Console().is_terminal
    for _ in track(range(STEPS), "adapting streams", transient=True, disable=hidden):
        content, pitch, mel = _drawn(lessons, random)
        made = _converted(network, content, pitch, film + offsets, memory)
        loss = _distance(made, mel[:, :, scored(FRAMES, 0)], features, style)
        loss = loss + SPEAKER_WEIGHT * (1 - (encode(made) @ target).mean())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rate.step()

    values = offsets.detach().half().float()
    held = [_own(streams, clip) for clip in recordings.held]

    @torch.inference_mode()
    def likeness(film: Tensor) -> float:
        made = [_converted(network, x.content[None], x.pitch[None], film, memory) for x in held]
        return float(torch.stack([encode(mel)[0] @ target for mel in made]).mean())

    if not gains(likeness(film), likeness(film + values)):
        return None
    return Adapter(values.numpy().ravel(), streams.converter_fingerprint)


def gains(before: float, after: float) -> bool:
    """Whether a likeness is worth an adapter."""
    return after > before


def _conversion(streams: StreamBundle, converter: VoiceConverter, source: Source, adapted: Voice) -> Lesson:
    """A shipped recording, as the adapted full converter converts it."""
    mel = log_mel(converter.convert(source.clip.wave, MEL.sample_rate, adapted))
    return _lesson(streams, source.clip.wave, mel, adapted.pitch / source.voice.pitch)


def _own(streams: StreamBundle, clip: Clip) -> Lesson:
    """A clip of the voice, to become itself."""
    return _lesson(streams, clip.wave, clip.mel, 1.0)


def _lesson(streams: StreamBundle, wave: Array, mel: Array, pitch_ratio: float) -> Lesson:
    """Content and pitch of samples (256 T,) as the stream computes them, without the frames that lack look-ahead."""
    silence = np.zeros(beyond(streams.config.window), np.float32)
    frames = stream_mel(np.concatenate([silence, wave, silence]), streams.config.window)[None]
    late = [streams.run(name, mel=frames, state=streams.empty(name))[0] for name in ("content", "pitch")]
    content, pitch = (on_time(torch.from_numpy(x), streams.config.lookahead)[0] for x in late)
    return Lesson(content, pitch * pitch_ratio, torch.from_numpy(mel.T[: len(content)].copy()))


def _drawn(lessons: Sequence[Lesson], random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Crops: content (B, T, C), pitch (B, T), log-mel (B, 80, T)."""
    chosen = [lessons[number] for number in random.integers(len(lessons), size=BATCH)]
    starts = [int(random.integers(len(lesson.mel) - FRAMES)) for lesson in chosen]
    spans = [slice(start, start + FRAMES) for start in starts]
    content, pitch, mel = (
        torch.stack([getattr(lesson, name)[span] for lesson, span in zip(chosen, spans, strict=True)])
        for name in ("content", "pitch", "mel")
    )
    return content, pitch, mel.transpose(1, 2)


def _converted(network: StreamConverter, content: Tensor, pitch: Tensor, film: Tensor, memory: Tensor) -> Tensor:
    """Log-mel (B, 80, T) of what losses count: the first frames lack their past."""
    count = len(content)
    mel, _ = network(content, pitch, film.expand(count, -1, -1), memory.expand(count, -1, -1))
    return mel.transpose(1, 2)[:, :, scored(content.shape[1], 0)]


def _distance(made: Tensor, mel: Tensor, features: FrozenFeatures, style: Style) -> Tensor:
    """E|x - x*| of mels (B, 80, T) and of frozen networks' features."""
    return (made - mel).abs().mean() + FEATURES_WEIGHT * features.distance(features(made), mel, style)
