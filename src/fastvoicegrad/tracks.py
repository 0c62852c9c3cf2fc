"""What is read of a source before its conversion, and what becomes of the converted blocks after it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from . import audio
from .audio.level import TARGET_LEVEL, LevelMeter
from .audio.loudness import below_full_scale
from .errors import InputError
from .mel import MEL, Array
from .speech import SpeechSampler
from .watermark import RATE as WATERMARK_RATE
from .watermark import check_watermark, marked

SHORTEST = MEL.n_fft / MEL.sample_rate  # seconds: one frame

Progress = Callable[[float], None]  # called with the seconds of source that are done
Blocks = Callable[[], Iterator[Array]]  # starts the blocks of a track at 22,050 Hz


class SilentError(InputError):
    """A source has no sound."""


@dataclass(frozen=True)
class Source:
    """A track after its first pass: blocks that can be read again, gain, level of the background, samples of it all."""

    blocks: Blocks
    gain: float
    background: float
    sampler: SpeechSampler


def first_pass(blocks: Blocks, label: str, seconds: Callable[[], float]) -> Source:
    """Read a source once: for its levels, and for a sample of its speech.

    Raises:
        InputError: silent, or shorter than one frame.
    """
    meter, sampler = LevelMeter(), SpeechSampler()
    for block in blocks():
        meter.add(block)
        sampler.add(block)
    if seconds() < SHORTEST:
        raise InputError(f"{label} is shorter than one frame ({SHORTEST:.3f} s); give a longer one")
    if meter.level == 0.0:
        raise SilentError(f"{label} is silent; give a recording with speech")
    return Source(blocks, TARGET_LEVEL / meter.level, meter.background, sampler)


def first_passes(tracks: Sequence[tuple[Blocks, Callable[[], float]]], label: str) -> list[Source | None]:
    """`first_pass` of each track, with its length in seconds; None: it is silent, and another one is not.

    Raises:
        InputError: all are silent, or they are shorter than one frame.
    """
    sources = list[Source | None]()
    for number, (blocks, seconds) in enumerate(tracks, 1):
        try:
            sources.append(first_pass(blocks, label, seconds))
        except SilentError:
            if number == len(tracks) and not any(sources):
                raise
            sources.append(None)
    return sources


@dataclass(frozen=True)
class Delivery:
    """What a result is delivered as.

    Attributes:
        rate: in Hz.
        loudness: integrated, in LUFS; None: the source's over time.
        watermark: whether it carries one.
    Raises:
        InputError: a loudness that is not reached, or the watermark's weights are missing.
    """

    rate: int
    loudness: float | None = None
    watermark: bool = False

    def __post_init__(self) -> None:
        if self.loudness is not None:
            audio.check_loudness(self.loudness)
        if self.watermark:
            check_watermark()

    def __call__(self, blocks: Iterator[Array], samples: int) -> Iterator[Array]:
        """Converted blocks at 22,050 Hz -> blocks at `rate`, `samples` in all."""
        rate = MEL.sample_rate
        if self.loudness is not None:
            blocks = audio.at_loudness(blocks, self.loudness)
        if self.watermark:
            blocks, rate = marked(audio.resampled(blocks, rate, WATERMARK_RATE)), WATERMARK_RATE
        return audio.fit_length(below_full_scale(audio.resampled(blocks, rate, self.rate)), samples)


def results(
    sources: Sequence[Source | None],
    convert: Callable[[Source, list[str]], Iterator[Array]],
    samples: int,
    found: list[str],
) -> Iterator[Array]:
    """Blocks ``(N, tracks)`` of all results side by side; a silent track stays silent.

    Args:
        convert: gives the result of a track, `samples` in all, and adds to a list what was found about it.
        found: gets all findings before the first block, each once; with several tracks they have the channels'
            numbers.
    """
    notes = [list[str]() for _ in sources]
    tracks = [
        convert(source, own) if source else audio.fit_length([], samples)
        for source, own in zip(sources, notes, strict=True)
    ]
    for block in audio.side_by_side(tracks):
        found.extend(note for note in _joined(notes) if note not in found)
        yield block


def _joined(notes: Sequence[Sequence[str]]) -> list[str]:
    """The notes of all tracks, equal ones once."""
    numbers: dict[str, list[str]] = {}
    for number, own in enumerate(notes, 1):
        for note in dict.fromkeys(own):
            numbers.setdefault(note, []).append(str(number))
    if len(notes) == 1:
        return list(numbers)
    return [f"channel{'s' if len(of) > 1 else ''} {', '.join(of)}: {note}" for note, of in numbers.items()]


class Advance:
    """Reports how much of several tracks is done.

    Args:
        seconds: length of each track.
        tracks: their number.
    """

    def __init__(self, report: Progress | None, seconds: float, tracks: int) -> None:
        self._report, self._seconds, self._rate = report, seconds, MEL.sample_rate * max(tracks, 1)
        self._done = 0

    def of(self, blocks: Iterable[Array]) -> Iterator[Array]:
        """The same blocks of one of the tracks, at 22,050 Hz."""
        for block in blocks:
            self._done += len(block)
            if self._report:
                self._report(min(self._done / self._rate, self._seconds))
            yield block
