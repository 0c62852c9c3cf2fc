"""A stream bundle: the networks that convert while a speaker speaks. They take the voices of a full bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnxruntime

from .. import graphs
from ..bundle import reader
from ..errors import InputError
from ..files import shown
from ..mel import Array
from ..networks import Networks
from ..voice import Voice
from .config import StreamConfig, parse_stream_config

DEFAULT = Path(__file__).parents[1] / "bundles" / "stream"


@dataclass(frozen=True, eq=False)
class StreamVoice:
    """What the networks read of a voice, computed once.

    Attributes:
        film: gains and biases of the converter's blocks.
        memory: keys and values of its attention.
        pitch: median F0 in Hz.
        converter: fingerprint of that converter.
    """

    film: Array
    memory: Array
    pitch: float
    converter: str


class StreamBundle(Networks):
    """An opened and verified stream bundle.

    Args:
        config: its settings.
        read: returns the bytes of one of its files by name, or raises InputError.
        threads: CPU threads of each network; one is the fastest for single frames.
    """

    def __init__(self, config: StreamConfig, read: Callable[[str], bytes], threads: int = 1) -> None:
        super().__init__(config.networks, read, threads)
        self.config = config

    @classmethod
    def open(cls, path: str | Path | None = None, threads: int = 1) -> StreamBundle:
        """Open a stream bundle, a folder or a zip; None opens the one that comes with the package.

        It runs no code of the bundle, and reads nothing outside it.

        Raises:
            InputError: missing, damaged, incomplete, too large, of another kind or of a newer format.
        """
        path = DEFAULT if path is None else Path(path).absolute()
        read = reader(path)
        try:
            bundle = cls(parse_stream_config(read("config.json")), read, threads)
            bundle.check_graphs()
        except InputError as error:
            raise InputError(f"{shown(path)}: {error}") from error
        return bundle

    def shapes(self, name: str) -> tuple[graphs.Shapes, graphs.Shapes]:
        """Names and shapes of a network's inputs and outputs."""
        return self.config.shapes(name)

    def session_options(self, name: str, graph: bytes) -> onnxruntime.SessionOptions:
        """How ONNX Runtime runs a network."""
        options = graphs.session_options(self.threads, graph)
        options.enable_cpu_mem_arena = True  # the activations of a few frames are small
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return options

    def empty(self, name: str) -> Array:
        """A network's state before the first frame."""
        return np.zeros(self.config.networks[name].state, np.float32)

    @cached_property
    def converter_fingerprint(self) -> str:
        """Identifies the converter and what it reads of a voice: an adapter for streams fits no other one."""
        checksums = self.config.networks["converter"].sha256 + self.config.networks["voice"].sha256
        return hashlib.sha256(checksums.encode()).hexdigest()[:16]

    def voice(self, voice: Voice) -> StreamVoice:
        """What the networks read of a voice that the full bundle made.

        An adapter for this bundle's converter adds to its gains and biases; one for another converter does nothing.

        Raises:
            InputError: another bundle made it, or it is damaged.
        """
        if voice.encoder != self.config.encoder:
            raise InputError("the voice was made with another bundle; make it again with 'fastvoicegrad voice make'")
        voice.check()
        film, memory = self.run(
            "voice", speaker=voice.embedding[None], keys=voice.keys[None], reference=voice.mel[None]
        )
        adapter = voice.adapter.stream if voice.adapter else None
        if adapter and (adapter.converter, adapter.values.size) == (self.converter_fingerprint, film.size):
            film = film + adapter.values.reshape(film.shape).astype(np.float32)
        return StreamVoice(film, memory, voice.pitch, self.converter_fingerprint)

    def warm_up(self) -> None:
        """Load every network: the first frames of a stream then take no longer than the others."""
        for name in self.config.networks:
            self.session(name)
