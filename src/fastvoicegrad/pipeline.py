"""The conversion itself: blocks of samples in, converted blocks out (FastVoiceGrad, arXiv 2409.02245, section 3).

Each window of mel frames takes one way:

    mel -> content, pitch -> diffuse to S_K -> one reverse step -> post-filter -> formants -> vocoder -> samples

Every window includes the neighbouring frames that its result depends on. All noise is a function of the frame number in
the whole recording, and `State` passes from window to window. But for rounding, the size of a chunk
changes the memory that is needed, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from .audio.loudness import HopTap, match_loudness
from .bundle import Bundle
from .diffusion import frame_noise, guided, initial_state, sample, subsequence
from .formants import move_formants
from .frames import Window, mel_frames, windows
from .mel import MEL, Array, lowpass
from .pauses import PauseFiller
from .postfilter import NO_SUMS, Sums
from .settings import ConversionSettings
from .timing import Timing
from .vocoder import vocode
from .voice import Voice

CHUNK = 2048  # frames (24 s) that are converted at once, beside their context: more would take more memory


@dataclass(frozen=True)
class State:
    """What passes from window to window: the pulse train's phase in turns, the post-filter's running sums.

    `pitch` is the source's F0 in the frames that are done last, in Hz, 0 where unvoiced.
    """

    phase: float = 0.0
    sums: Sums = NO_SUMS
    pitch: Array = field(default_factory=lambda: np.zeros(0, np.float32))


@dataclass(frozen=True)
class Request:
    """What a conversion asks for.

    Attributes:
        target: the voice.
        source: the source speaker, for the height of the melody and for guidance; None where there is no speech.
        embedding: what the converter reads in place of the target's own, see `feedback`; None: the target's.
    """

    target: Voice
    source: Voice | None
    settings: ConversionSettings
    embedding: Array | None = None

    @property
    def pitch_ratio(self) -> float:
        """By which the source's F0 is multiplied: the melody stays the source's, its height becomes the target's."""
        moved = self.source is not None and not self.settings.keep_pitch
        ratio = self.target.pitch / self.source.pitch if moved and self.source else 1.0
        return float(ratio * 2.0 ** (self.settings.semitones / 12))

    def check_for(self, bundle: Bundle) -> None:
        """Raises InputError: more steps than the bundle allows, a voice of another bundle, or an invalid setting."""
        self.settings.check_for(bundle)
        bundle.check_voice(self.target)
        bundle.check_sizes(self.target)


def convert_blocks(
    bundle: Bundle,
    blocks: Iterable[Array],
    request: Request,
    *,
    gain: float,
    background: float = 0.0,
    chunk: int = CHUNK,
    timing: Timing | None = None,
) -> Iterator[Array]:
    """Convert a signal that arrives in blocks; the result comes in blocks of its own sizes.

    Args:
        blocks: samples at 22,050 Hz, mono.
        gain: brings the speech in the blocks to the level that the networks are trained on.
        background: RMS of what lies behind the speech in the blocks; other pauses than "converted" need it.
        chunk: frames that are converted at once.
    Raises:
        InputError: see `Request.check_for`.
    """
    request.check_for(bundle)
    filler = PauseFiller(request.settings.pauses, blocks, gain, background)
    tap = HopTap(filler)
    converted = _converted(bundle, tap, filler, request, gain, chunk, timing)
    return filler.filled(match_loudness(converted, tap))


def _converted(
    bundle: Bundle,
    blocks: Iterable[Array],
    filler: PauseFiller,
    request: Request,
    gain: float,
    chunk: int,
    timing: Timing | None,
) -> Iterator[Array]:
    """`convert_blocks` without what follows it: loudness and pauses."""
    timing, state = timing or Timing(), State()
    frames = mel_frames(blocks, gain, bundle.stride)
    for window in windows(frames, chunk, *bundle.context(request.settings.steps), bundle.stride):
        wave, state = convert_window(bundle, window, request, state, timing)
        filler.add_pitch(state.pitch)
        yield wave / np.float32(gain)


def convert_window(
    bundle: Bundle, window: Window, request: Request, state: State, timing: Timing
) -> tuple[Array, State]:
    """Samples of a window's new frames, and the state after them."""
    with timing.stage("encoders"):
        content, source_pitch = bundle.encode(window.mel)
    pitch, kept_pitch = source_pitch * np.float32(request.pitch_ratio), source_pitch[window.keep]
    # What lies further away than a network depends on was context of the networks before it.
    inner = window.around(*bundle.decoder_context(request.settings.steps))
    window, content, pitch = window.part(inner), content[:, inner], pitch[inner]
    with timing.stage("converter"):
        mel = convert_mel(bundle, window, content, pitch, request)
        mel, sums = bundle.config.postfilter(mel, request.target.mel, window.keep, state.sums)
        mel = move_formants(mel, pitch, request.settings.formant)
    with timing.stage("vocoder"):
        inner = window.around(*bundle.vocoder_context())
        window, mel, pitch = window.part(inner), mel[:, inner], pitch[inner]
        known = pitch if bundle.config.harmonics else None
        wave, phase = vocode(bundle, mel, window.start, window.keep, state.phase, request.settings.seed, known)
    return wave, State(phase, sums, kept_pitch)


def convert_mel(bundle: Bundle, window: Window, content: Array, pitch: Array, request: Request) -> Array:
    """The K-step sampler on a window (80, T): its mel in the target's voice.

    With guidance the converter runs twice, with the target's and with the source's voice. Their difference is what
    changes with the voice; it is amplified. Leakage of the source's voice is equal in both, so the difference does not
    contain it.
    """
    config, target = bundle.config, request.target
    if request.embedding is not None:
        target = replace(target, embedding=request.embedding)
    sources = [request.source] if config.guidance and request.source is not None else []

    def noise(stream: int) -> Array:
        drawn = frame_noise(request.settings.seed, window.start, window.mel.shape[1], MEL.n_mels, stream)
        return np.float32(config.temperature) * drawn

    def predict_x0(x_t: Array, t: int) -> Array:
        x0, *others = bundle.estimates(x_t, t, content, pitch, [target, *sources])
        for source_x0 in others:
            x0 = guided(x0, source_x0, config.guidance, lambda x: lowpass(x, config.guidance_cosines))
        return x0

    x0 = (window.mel - bundle.mel_mean) / bundle.mel_std
    x = initial_state(config.initial, x0, noise(0), float(bundle.alpha_bar[config.start]))
    x = sample(predict_x0, x, subsequence(request.settings.steps, config.start), bundle.alpha_bar, noise)
    return (x * bundle.mel_std + bundle.mel_mean).astype(np.float32)
