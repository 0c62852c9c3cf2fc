"""A bundle: everything that converts, in one folder or one .zip.

``config.json`` describes the networks; their ``.onnx`` files stand beside it, with checksums. A bundle holds no code of
its own. It is the only thing that passes from training to the run time.
"""

from __future__ import annotations

import hashlib
import math
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from threading import Thread

import numpy as np
import onnxruntime

from . import graphs
from .archives import TooLargeError, is_file, read_from_folder, read_from_zip
from .bundle_config import BundleConfig, Network, parse_config, write_config
from .errors import InputError
from .files import shown
from .mel import Array
from .memory import release_memory
from .networks import Networks
from .threads import available_cores, default_threads
from .voice import Voice

__all__ = ["DEFAULT", "Bundle", "BundleConfig", "Network", "write_config"]
DEFAULT = Path(__file__).parent / "bundles" / "default"
GIVE = "give the folder or .zip that 'fastvoicegrad dev export' wrote"
LOADERS = 2  # threads that load networks: the main one often waits for them
LARGEST_CONFIG, LARGEST_GRAPH = 1 << 20, 1 << 28  # bytes


class Bundle(Networks):
    """An opened and verified bundle.

    Args:
        config: its settings.
        read: returns the bytes of one of its files by name, or raises InputError.
        threads: CPU threads of each network, the cores at most; None: see `default_threads`.
        trusted: true for the bundle of this package: only the checksums of its graphs are checked.
    """

    def __init__(
        self, config: BundleConfig, read: Callable[[str], bytes], threads: int | None = None, trusted: bool = False
    ) -> None:
        threads = default_threads() if threads is None else min(threads, available_cores())
        super().__init__(config.networks, read, threads, trusted)
        self.config = config
        self.alpha_bar = config.alpha_bar
        self.mel_mean = np.array(config.mel_mean, np.float32)[:, None]
        self.mel_std = np.array(config.mel_std, np.float32)[:, None]

    @classmethod
    def open(cls, path: str | Path | None = None, threads: int | None = None) -> Bundle:
        """Open a bundle folder or zip; None opens the default bundle.

        It runs no code of the bundle, and reads nothing outside it.

        Raises:
            InputError: missing, damaged, incomplete, too large, or of a newer format.
        """
        path = DEFAULT if path is None else Path(path).absolute()
        read = reader(path)
        try:
            bundle = cls(parse_config(read("config.json")), read, threads, trusted=path == DEFAULT)
            bundle.check_graphs()
        except InputError as error:
            raise InputError(f"{shown(path)}: {error}") from error
        return bundle

    def load_ahead(self, *names: str) -> None:
        """Begin to load networks in this order, two at a time, in threads beside what comes next.

        `session` waits for one that is under way.
        """
        missing = iter([name for name in names if name not in self._sessions])
        for _ in range(LOADERS if self.threads > 1 else 0):
            with suppress(RuntimeError):  # no more threads: each network is loaded at its first use
                Thread(target=self._load_quietly, args=(missing,)).start()

    def _load_quietly(self, names: Iterator[str]) -> None:
        with suppress(InputError, MemoryError):  # the first use raises it again
            for name in names:
                self.session(name)

    def shapes(self, name: str) -> tuple[graphs.Shapes, graphs.Shapes]:
        """Names and shapes of a network's inputs and outputs."""
        config = self.config
        inputs = graphs.inputs_of(name, config.retrieval, config.harmonics, config.adapter > 0)
        return inputs, graphs.OUTPUTS[name]

    def session_options(self, name: str, graph: bytes) -> onnxruntime.SessionOptions:
        """How ONNX Runtime runs a network."""
        # Windows for the speaker encoder are short. Two threads run one only 1.6 times as fast, so each takes one.
        return graphs.session_options(1 if name == "speaker" else self.threads, graph)

    def _loaded(self, name: str) -> onnxruntime.InferenceSession:
        session = super()._loaded(name)
        release_memory()
        return session

    def encode(self, mel: Array) -> tuple[Array, Array]:
        """Content embedding (C, T) and F0 in Hz (T,) of log-mel frames (80, T)."""
        return self.content(mel), self.pitch(mel)

    def estimates(self, x_t: Array, t: int, content: Array, pitch: Array, voices: Sequence[Voice]) -> list[Array]:
        """The converter's estimates of x0 (80, T), normalised, from x_t at step t, one in each voice."""
        return [self._estimate(x_t, t, content, pitch, voice) for voice in voices]

    def _estimate(self, x_t: Array, t: int, content: Array, pitch: Array, voice: Voice) -> Array:
        conditions = {"keys": voice.keys[None], "reference": voice.mel[None]} if self.config.retrieval else {}
        if self.config.harmonics:
            conditions["pitch"] = pitch[None]
        if self.config.adapter:
            zeros = np.zeros(self.config.adapter, np.float32)
            conditions["adapter"] = (voice.adapter.values if voice.adapter else zeros)[None]
        return self.run(
            "converter",
            x=x_t[None].astype(np.float32),
            step=np.array([t], np.int64),
            alpha_bar=np.array([self.alpha_bar[t]], np.float32),
            speaker=voice.embedding[None],
            content=content[None],
            **conditions,
        )[0][0]

    def content(self, mel: Array) -> Array:
        """Content embedding (C, T) of log-mel frames (80, T)."""
        return self.run("content", mel=mel[None])[0][0]

    def pitch(self, mel: Array) -> Array:
        """F0 in Hz (T,) of log-mel frames (80, T), 0 where unvoiced."""
        return self.run("pitch", mel=mel[None])[0][0]

    def speaker(self, mel: Array) -> Array:
        """Speaker embedding (S,) of log-mel frames (80, T)."""
        return self.run("speaker", mel=mel[None])[0][0]

    def pitches(self, pieces: Sequence[Array]) -> list[Array]:
        """F0 in Hz (T,) of each piece (80, T), 0 where unvoiced."""
        return self._of_each(self.pitch, pieces)

    def speakers(self, windows: Sequence[Array]) -> Array:
        """Speaker embeddings (n, S) of n windows (80, T), at least one."""
        return np.stack(self._of_each(self.speaker, windows))

    def _of_each(self, network: Callable[[Array], Array], mels: Sequence[Array]) -> list[Array]:
        """What a network makes of each mel, several at once."""
        if self.threads > 1 and len(mels) > 1:
            with suppress(RuntimeError), ThreadPoolExecutor(self.threads) as pool:  # there may be no more threads
                outputs = list(pool.map(network, mels))
                release_memory()  # each thread keeps its own
                return outputs
        return [network(mel) for mel in mels]

    @property
    def fingerprint(self) -> str:
        """Identifies the encoders that make a voice: a voice fits only bundles with equal ones."""
        return self.config.encoder or self.encoders

    @cached_property
    def encoders(self) -> str:
        """Digest of the files of these encoders."""
        networks = self.config.networks
        checksums = (networks[name].sha256 for name in ("speaker", "content", "pitch"))
        return hashlib.sha256("".join(checksums).encode()).hexdigest()[:16]

    @property
    def converter_fingerprint(self) -> str:
        """Identifies the converter: an adapter fits no other one."""
        return self.config.converter or self.config.networks["converter"].sha256[:16]

    def context(self, steps: int = 1) -> tuple[int, int]:
        """Source frames (left, right) that a sample depends on after `steps` of the sampler, in whole strides."""
        encoders = [self.config.networks[name] for name in ("content", "pitch")]
        left, right = self._decoder_context(steps)
        return self._in_strides(left + max(n.left for n in encoders), right + max(n.right for n in encoders))

    def decoder_context(self, steps: int = 1) -> tuple[int, int]:
        """The same of the frames that enter the converter, beside their content and pitch."""
        return self._in_strides(*self._decoder_context(steps))

    def vocoder_context(self) -> tuple[int, int]:
        """The same of the frames that enter the vocoder."""
        vocoder = self.config.networks["vocoder"]
        return self._in_strides(vocoder.left, vocoder.right)

    def _decoder_context(self, steps: int) -> tuple[int, int]:
        chain = [*[self.config.networks["converter"]] * steps, self.config.networks["vocoder"]]
        neighbour = int(self.config.postfilter.smoothing > 0)
        return sum(n.left for n in chain) + neighbour, sum(n.right for n in chain) + neighbour

    def _in_strides(self, *frames: int) -> tuple[int, int]:
        left, right = (-(-count // self.stride) * self.stride for count in frames)
        return left, right

    @cached_property
    def stride(self) -> int:
        """Number of frames of which every window's length must be a multiple."""
        return math.lcm(*(n.stride for n in self.config.networks.values()))

    def check_voice(self, voice: Voice) -> None:
        """Raises InputError where a voice was made with other encoders, or is none."""
        if voice.encoder != self.fingerprint:
            again = "adapt it" if voice.adapter else "make it"
            command = "adapt" if voice.adapter else "voice make"
            raise InputError(f"the voice was made with another bundle; {again} again with 'fastvoicegrad {command}'")
        voice.check()
        self._check_adapter(voice)

    def check_sizes(self, voice: Voice) -> None:
        """Raises InputError where a voice's arrays are not what the converter reads; it is loaded for that."""
        shapes = {value.name: value.shape for value in self.session("converter").get_inputs()}
        if (len(voice.embedding), len(voice.keys)) != (shapes["speaker"][1], shapes["content"][1]):
            raise InputError("the voice does not fit the bundle; make it again with 'fastvoicegrad voice make'")

    def _check_adapter(self, voice: Voice) -> None:
        if voice.adapter is None:
            return
        if not self.config.adapter:
            raise InputError("this bundle takes no adapted voices; use the bundle that the voice was adapted for")
        if (voice.adapter.converter, len(voice.adapter.values)) != (self.converter_fingerprint, self.config.adapter):
            raise InputError("the voice was adapted for another bundle; adapt it again with 'fastvoicegrad adapt'")


def reader(path: Path) -> Callable[[str], bytes]:
    """What reads the files of a bundle: from a folder or from a .zip."""
    try:
        if path.is_dir():
            return partial(_read, read_from_folder, path)
        if is_file(path) and zipfile.is_zipfile(path):
            return partial(_read, read_from_zip, path)
        exists = path.exists()
    except (OSError, ValueError, RuntimeError) as error:  # too long a name, a loop of links
        raise InputError(f"{shown(path)}: no such bundle; {GIVE}") from error
    if exists:
        raise InputError(f"{shown(path)} is not a bundle; {GIVE}")
    raise InputError(f"{shown(path)}: no such bundle; {GIVE}")


def _read(read: Callable[[Path, str, int], bytes], path: Path, name: str) -> bytes:
    try:
        return read(path, name, LARGEST_CONFIG if name == "config.json" else LARGEST_GRAPH)
    except FileNotFoundError as error:
        advice = GIVE if name == "config.json" else "copy the bundle again"
        raise InputError(f"{name} is missing; {advice}") from error
    except TooLargeError as error:
        raise InputError(f"{name} is too large for a bundle; copy the bundle again") from error
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{name} cannot be read; copy the bundle again") from error
