"""Bitrates of MP3 and Opus, as the compression levels by which libsndfile takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MP3, OPUS = "MPEG_LAYER_III", "OPUS"  # libsndfile's names
OPUS_RANGE = (6, 256)  # kbit/s of each channel
OPUS_SURROUND = 64  # kbit/s of each of three channels and more, where libopus by itself keeps 4 kHz alone
TAG = 156  # bytes of the tag in the first frame of an MP3 that holds the exact length


@dataclass(frozen=True)
class _Mp3:
    """MP3 from a rate in Hz on: its bitrates in kbit/s, samples of a frame, bytes of a frame before the tag."""

    least_rate: int
    bitrates: tuple[int, ...]
    frame: int
    before_tag: tuple[int, int]  # mono, stereo


MP3_KINDS = (
    _Mp3(32000, (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320), 1152, (21, 36)),
    _Mp3(16000, (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160), 576, (13, 21)),
    _Mp3(0, (8, 16, 24, 32, 40, 48, 56, 64), 576, (13, 21)),
)


def _mp3(rate: int) -> _Mp3:
    return next(kind for kind in MP3_KINDS if rate >= kind.least_rate)


def bitrate_range(subtype: str, rate: int, channels: int = 1) -> tuple[int, int] | None:
    """The lowest and the highest bitrate in kbit/s of files with an exact length; None: the format has no fixed ones.

    Args:
        subtype: in libsndfile's words.
        rate: in Hz.
    """
    if subtype == OPUS:
        return OPUS_RANGE[0] * channels, OPUS_RANGE[1] * channels
    if subtype != MP3:
        return None
    kind = _mp3(rate)
    needed = TAG + kind.before_tag[channels > 1]
    fitting = [bitrate for bitrate in kind.bitrates if kind.frame * 125 * bitrate // rate >= needed]
    return fitting[0], fitting[-1]


def encoder_options(subtype: str, rate: int, channels: int, bitrate: int | None) -> dict[str, Any]:
    """Arguments of `soundfile.SoundFile` that make an encoder use the nearest of its bitrates; None: its own choice."""
    if subtype == OPUS and bitrate is None and channels > 2:
        bitrate = OPUS_SURROUND * channels
    if bitrate is None or subtype not in (MP3, OPUS):
        return {}
    if subtype == OPUS:
        low, high = OPUS_RANGE
        return {"compression_level": (high - bitrate / channels) / (high - low)}
    low, high = _mp3(rate).bitrates[0], _mp3(rate).bitrates[-1]
    # libsndfile rounds down, and LAME takes the nearest bitrate.
    return {"compression_level": max(high - bitrate - 1, 0) / (high - low), "bitrate_mode": "CONSTANT"}
