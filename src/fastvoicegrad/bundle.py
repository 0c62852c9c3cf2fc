"""A bundle: everything that converts, in one folder or one .zip.

``config.json`` describes the networks; their ``.onnx`` files stand beside it, with checksums. A bundle holds no code of
its own. It is the only thing that passes from training to the run time.
"""

from __future__ import annotations

import hashlib
import math
import zipfile
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import onnxruntime

from .bundle_config import BundleConfig, Network, parse_config, write_config
from .diffusion import cosine_schedule
from .errors import InputError
from .mel import Array
from .threads import default_threads

__all__ = ["DEFAULT", "Bundle", "BundleConfig", "Network", "write_config"]
DEFAULT = Path(__file__).parent / "bundles" / "default"


class Bundle:
    """An opened and verified bundle.

    Args:
        config: its settings.
        read: returns the bytes of one of its files by name.
        threads: CPU threads of each network; None: see `default_threads`.
    """

    def __init__(self, config: BundleConfig, read: Callable[[str], bytes], threads: int | None = None) -> None:
        self.config = config
        self.read = read
        self.threads = threads or default_threads()
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        self.alpha_bar = cosine_schedule(config.steps, config.offset, config.max_beta)
        self.mel_mean = np.array(config.mel_mean, np.float32)[:, None]
        self.mel_std = np.array(config.mel_std, np.float32)[:, None]

    @classmethod
    def open(cls, path: str | Path | None = None, threads: int | None = None) -> Bundle:
        """Open a bundle folder or zip; None opens the default bundle.

        Raises:
            InputError: missing, damaged, incomplete, or of a newer format.
        """
        path = DEFAULT if path is None else Path(path).absolute()
        read = _reader(path)
        try:
            data = read("config.json")
        except (KeyError, OSError) as error:
            raise InputError(f"{path} is not a bundle: it has no config.json") from error
        config = parse_config(path, data)
        bundle = cls(config, read, threads)
        for name, network in config.networks.items():
            try:
                bundle.graph(name)
            except (KeyError, OSError) as error:
                raise InputError(f"{path}: {network.file} is missing; copy the bundle again") from error
            except InputError as error:
                raise InputError(f"{path}: {error}") from error
        return bundle

    def __getstate__(self) -> dict[str, object]:
        """For pickling: sessions are made again where the bundle arrives."""
        return self.__dict__ | {"_sessions": {}}

    def session(self, name: str) -> onnxruntime.InferenceSession:
        """A network, loaded at its first use."""
        if name not in self._sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = self.threads
            options.log_severity_level = 3
            # Else each network's threads would busy-wait beside whatever comes next.
            options.add_session_config_entry("session.force_spinning_stop", "1")
            self._sessions[name] = onnxruntime.InferenceSession(
                self.graph(name), options, providers=["CPUExecutionProvider"]
            )
        return self._sessions[name]

    def graph(self, name: str) -> bytes:
        """A network's ONNX file.

        Raises:
            InputError: its checksum is wrong.
        """
        network = self.config.networks[name]
        data = self.read(network.file)
        if hashlib.sha256(data).hexdigest() != network.sha256:
            raise InputError(f"{network.file} ({name}) is damaged; copy the bundle again")
        return data

    def run(self, name: str, **inputs: np.ndarray) -> list[Array]:
        """Outputs of one network in the order of its graph."""
        outputs: list[Array] = self.session(name).run(None, inputs)
        return outputs

    def content(self, mel: Array) -> Array:
        """Content embedding (C, T) of log-mel frames (80, T)."""
        return self.run("content", mel=mel[None])[0][0]

    def pitch(self, mel: Array) -> Array:
        """F0 in Hz (T,) of log-mel frames (80, T), 0 where unvoiced."""
        return self.run("pitch", mel=mel[None])[0][0]

    def speaker(self, mel: Array) -> Array:
        """Speaker embedding (S,) of log-mel frames (80, T)."""
        return self.run("speaker", mel=mel[None])[0][0]

    @cached_property
    def fingerprint(self) -> str:
        """Identifies the encoders that make a voice: a voice fits only bundles with the same ones."""
        networks = self.config.networks
        checksums = (networks[name].sha256 for name in ("speaker", "content", "pitch"))
        return hashlib.sha256("".join(checksums).encode()).hexdigest()[:16]

    def context(self, steps: int = 1) -> tuple[int, int]:
        """Frames (left, right) that a sample depends on after `steps` of the sampler, in whole strides."""
        stride, networks = self.stride, self.config.networks
        encoders = [networks["content"], networks["pitch"]]
        chain = [*[networks["converter"]] * steps, networks["vocoder"]]
        neighbour = int(self.config.postfilter.smoothing > 0)
        left = max(n.left for n in encoders) + sum(n.left for n in chain) + neighbour
        right = max(n.right for n in encoders) + sum(n.right for n in chain) + neighbour
        return -(-left // stride) * stride, -(-right // stride) * stride

    @cached_property
    def stride(self) -> int:
        """Number of frames of which every window's length must be a multiple."""
        return math.lcm(*(n.stride for n in self.config.networks.values()))


def _reader(path: Path) -> Callable[[str], bytes]:
    if path.is_dir():
        return partial(_read_from_folder, path)
    if path.is_file() and zipfile.is_zipfile(path):
        return partial(_read_from_zip, path)
    if path.exists():
        raise InputError(f"{path} is not a bundle; give the folder or .zip that 'fastvoicegrad dev export' wrote")
    raise InputError(f"{path}: no such bundle")


def _read_from_folder(path: Path, name: str) -> bytes:
    return (path / Path(name).name).read_bytes()


def _read_from_zip(path: Path, name: str) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(name)
