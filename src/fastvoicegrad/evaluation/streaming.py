"""A stream bundle as a system: the pair's source runs through it as a stream, in the middle of a session.

In its first seconds a stream has only rough estimates of the speaker's level and median pitch. So the source
runs through it twice, and the second time counts.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from .. import audio
from ..stream.bundle import StreamBundle
from ..stream.converter import StreamingConverter
from .cache import digest
from .pairs import Pair
from .systems import Conversion


class StreamConversion(Conversion):
    """A stream bundle; the full bundle that taught it makes the voices.

    Args:
        stream: folder or zip.
        bundle: the full one; None is the default bundle.
    """

    def __init__(self, stream: str, bundle: str | None) -> None:
        super().__init__(bundle)
        self.stream = stream
        self.key = digest(self.key, "stream, second time", repr(StreamBundle.open(stream).config))

    @cached_property
    def networks(self) -> StreamBundle:
        return StreamBundle.open(self.stream)

    def __call__(self, pair: Pair) -> np.ndarray:
        stream, wave = StreamingConverter(self.networks, self.voice(pair), self.rate), audio.read(pair.source.path)
        stream.push(wave)
        return np.concatenate([stream.push(wave), stream.flush()])[stream.latency :]
