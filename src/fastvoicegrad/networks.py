"""The networks of a bundle: each is read, checked and loaded at its first use, and runs with checked shapes."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import Protocol

import numpy as np
import onnxruntime

from . import graphs
from .errors import InputError
from .mel import Array


class NetworkFile(Protocol):
    """What a bundle's settings hold of each network: the name of its graph and the checksum of that file."""

    @property
    def file(self) -> str: ...
    @property
    def sha256(self) -> str: ...


class Networks(ABC):
    """Networks that run in ONNX Runtime. Several threads may use them; they can be pickled.

    Args:
        files: the networks' files by the networks' names.
        read: returns the bytes of a file by its name, or raises InputError.
        threads: CPU threads of each network.
        trusted: whether the checksums alone are checked.
    Raises:
        InputError: no thread.
    """

    def __init__(
        self, files: Mapping[str, NetworkFile], read: Callable[[str], bytes], threads: int, trusted: bool = False
    ) -> None:
        if threads < 1:
            raise InputError(f"threads must be 1 or more, got {threads}; leave it out for as many as fit")
        self.files, self.read, self.threads, self.trusted = files, read, threads, trusted
        self._graphs: dict[str, bytes] = {}  # that `check_graphs` has read, until their first use
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        self._locks: dict[str, Lock] = {}  # held while a network is loaded

    @abstractmethod
    def shapes(self, name: str) -> tuple[graphs.Shapes, graphs.Shapes]:
        """Names and shapes of a network's inputs and outputs."""

    @abstractmethod
    def session_options(self, name: str, graph: bytes) -> onnxruntime.SessionOptions:
        """How ONNX Runtime runs a network."""

    def __getstate__(self) -> dict[str, object]:
        """For pickling: sessions are made again where the networks arrive."""
        return self.__dict__ | {"_sessions": {}, "_graphs": {}, "_locks": {}}

    def check_graphs(self) -> None:
        """Read and check every network's file; see `graph`."""
        self._graphs = {name: self.graph(name) for name in self.files}

    def graph(self, name: str) -> bytes:
        """A network's ONNX file, checked.

        Raises:
            InputError: its checksum is wrong, or it holds what no network needs (see `graphs.check_graph`).
        """
        network = self.files[name]
        data = self.read(network.file)
        if hashlib.sha256(data).hexdigest() != network.sha256:
            raise InputError(f"{network.file} ({name}) is damaged; copy the bundle again")
        if not self.trusted:
            with blamed_on(name):
                graphs.check_graph(data)
        return data

    def session(self, name: str) -> onnxruntime.InferenceSession:
        """A network, loaded at its first use.

        Raises:
            InputError: it is damaged, or not the network that the bundle names.
        """
        with self._locks.setdefault(name, Lock()):
            if name not in self._sessions:
                self._sessions[name] = self._loaded(name)
        return self._sessions[name]

    def _loaded(self, name: str) -> onnxruntime.InferenceSession:
        data = self._graphs.pop(name, None) or self.graph(name)
        options = self.session_options(name, data)
        with blamed_on(name):
            session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
            graphs.check_session(session, *self.shapes(name))
        return session

    def run(self, name: str, **inputs: np.ndarray) -> list[Array]:
        """Outputs of one network in the order of its graph.

        Raises:
            InputError: it cannot be loaded or run, or it gives other shapes than it should, or no finite numbers.
        """
        session = self.session(name)
        expected_inputs, expected_outputs = self.shapes(name)
        with blamed_on(name):
            sizes = graphs.letters(inputs, expected_inputs)
            outputs: list[Array] = session.run(None, inputs)
            graphs.check_outputs(outputs, expected_outputs, sizes)
        return outputs


@contextmanager
def blamed_on(name: str) -> Iterator[None]:
    """Turns whatever goes wrong with a network into one line. ONNX Runtime has many kinds of exceptions."""
    try:
        yield
    except MemoryError as error:
        raise InputError(f"there is too little memory for the network '{name}'; close other programs") from error
    except Exception as error:
        reason = "".join(c for c in " ".join(str(error).split()) if c.isprintable())[:200] or type(error).__name__
        raise InputError(f"the network '{name}' cannot be used ({reason}); copy the bundle again") from error
