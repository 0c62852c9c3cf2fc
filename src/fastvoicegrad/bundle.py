"""A bundle: everything that converts, in one folder (or one .zip), and nothing that executes.

``config.json`` says what the networks are, their ``.onnx`` files stand beside it, checksums included. The
bundle is the only thing that crosses the wall between training and running.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnxruntime
from threadpoolctl import ThreadpoolController

from .diffusion import InitialState, cosine_schedule
from .errors import InputError
from .mel import MEL, Array, MelConfig
from .postfilter import PostFilter

FORMAT, OLDEST = 4, 3  # 3: a pitch network; 4: settings that may be missing
NETWORKS = ("content", "speaker", "pitch", "converter", "vocoder")
DEFAULT = Path(__file__).parent / "bundles" / "default"


@dataclass(frozen=True)
class Network:
    """One network of a bundle: how far its output looks around in mel frames, and its file's checksum."""

    file: str
    sha256: str
    left: int
    right: int
    stride: int  # the input's frames must be a multiple of this


@dataclass(frozen=True)
class BundleConfig:
    """What ``config.json`` holds, but for free-text fields, which are in `notes`."""

    name: str
    networks: dict[str, Network]
    mel: MelConfig
    mel_mean: tuple[float, ...]  # per bin, of the diffusion model's normalisation
    mel_std: tuple[float, ...]
    steps: int  # of the schedule
    offset: float
    max_beta: float
    start: int  # S_K: where conversion starts
    max_steps: int  # 1 for a distilled student
    notes: dict[str, Any]  # licence, training data, metrics
    retrieval: bool = False  # whether the converter looks the voice's own frames up
    harmonics: bool = False  # whether it is told the pitch
    initial: InitialState = "diffused"  # what conversion starts from
    temperature: float = 1.0  # deviation of all its noise; with less, estimates are less rough
    guidance: float = 0.0  # how far it goes beyond what it says of the voice, away from the source's own
    guidance_cosines: int = MEL.n_mels  # of that difference, the slowest over the bands; all: as it is
    postfilter: PostFilter = field(default_factory=PostFilter)
    corrections: int = 0  # times that the vocoder's rendering is brought to its mel


class Bundle:
    """An opened and verified bundle."""

    def __init__(self, config: BundleConfig, read: Callable[[str], bytes], threads: int | None = None) -> None:
        self.config = config
        self.read = read  # a file of the bundle
        self.threads = threads or _cores()
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        self.alpha_bar = cosine_schedule(config.steps, config.offset, config.max_beta)
        self.mel_mean = np.array(config.mel_mean, np.float32)[:, None]
        self.mel_std = np.array(config.mel_std, np.float32)[:, None]

    @classmethod
    def open(cls, path: str | Path | None = None, threads: int | None = None) -> Bundle:
        """Open a bundle folder or zip; None opens the default bundle.

        Args:
            threads: CPU threads per network; None uses all cores.
        Raises:
            InputError: missing, damaged, incomplete, or of a newer format.
        """
        path = DEFAULT if path is None else Path(path)
        read = _reader(path)
        try:
            raw = json.loads(read("config.json"))
        except (KeyError, FileNotFoundError) as error:
            raise InputError(f"{path} is not a bundle: it has no config.json") from error
        except ValueError as error:
            raise InputError(f"{path}: config.json is damaged; copy the bundle again") from error
        config = _parse(path, raw)
        for name, network in config.networks.items():
            try:
                data = read(network.file)
            except (KeyError, OSError) as error:
                raise InputError(f"{path}: {network.file} is missing; copy the bundle again") from error
            if hashlib.sha256(data).hexdigest() != network.sha256:
                raise InputError(f"{path}: {network.file} ({name}) is damaged; copy the bundle again")
        return cls(config, read, threads)

    def session(self, name: str) -> onnxruntime.InferenceSession:
        """A network, loaded at its first use."""
        if name not in self._sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = self.threads
            options.log_severity_level = 3
            # Else each network's threads would go on spinning beside whatever comes next.
            options.add_session_config_entry("session.force_spinning_stop", "1")
            self._sessions[name] = onnxruntime.InferenceSession(
                self.graph(name), options, providers=["CPUExecutionProvider"]
            )
        return self._sessions[name]

    def graph(self, name: str) -> bytes:
        """A network's ONNX file."""
        return self.read(self.config.networks[name].file)

    def run(self, name: str, **inputs: np.ndarray) -> list[Array]:
        """Outputs of one network in the order of its graph."""
        outputs: list[Array] = self.session(name).run(None, inputs)
        return outputs

    def alone(self) -> AbstractContextManager[Any]:
        """Keeps NumPy's matrix products, all of them small, to one thread: more would spin for a while after each, on
        the cores that the networks need."""
        limits: AbstractContextManager[Any] = ThreadpoolController().limit(limits=1, user_api="blas")
        return limits

    @cached_property
    def fingerprint(self) -> str:
        """Of the encoders that make a voice: it belongs to them."""
        made_by = (self.config.networks[name].sha256 for name in ("speaker", "content", "pitch"))
        return hashlib.sha256("".join(made_by).encode()).hexdigest()[:16]

    def context(self, steps: int = 1) -> tuple[int, int]:
        """Frames (left, right) that a sample depends on after `steps` of the sampler, in whole strides."""
        stride, networks = self.stride, self.config.networks
        heard = [networks["content"], networks["pitch"]]
        chain = [*[networks["converter"]] * steps, networks["vocoder"]]
        neighbour = int(self.config.postfilter.smoothing > 0)
        left = max(n.left for n in heard) + sum(n.left for n in chain) + neighbour
        right = max(n.right for n in heard) + sum(n.right for n in chain) + neighbour
        return -(-left // stride) * stride, -(-right // stride) * stride

    @property
    def stride(self) -> int:
        return max(n.stride for n in self.config.networks.values())


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _reader(path: Path) -> Callable[[str], bytes]:
    if path.is_dir():
        return lambda name: (path / Path(name).name).read_bytes()
    if path.is_file() and zipfile.is_zipfile(path):

        def read(name: str) -> bytes:
            with zipfile.ZipFile(path) as archive:
                return archive.read(name)

        return read
    if path.exists():
        raise InputError(f"{path} is not a bundle; give the folder or .zip that 'fastvoicegrad export' wrote")
    raise InputError(f"{path}: no such bundle")


def _parse(path: Path, raw: Any) -> BundleConfig:
    if not isinstance(raw, dict) or not isinstance(raw.get("format"), int):
        raise InputError(f"{path} is not a bundle: config.json has no format number")
    if raw["format"] > FORMAT:
        raise InputError(
            f"{path} has format {raw['format']}, this version reads up to {FORMAT}; run 'pip install -U fastvoicegrad'"
        )
    if raw["format"] < OLDEST:
        raise InputError(f"{path} has format {raw['format']}, this version reads {OLDEST} on; export the bundle again")
    try:
        fields = {k: v for k, v in raw.items() if k != "format"}
        fields["networks"] = {name: Network(**raw["networks"][name]) for name in NETWORKS}
        fields["mel"] = MelConfig(**raw["mel"])
        fields["postfilter"] = PostFilter(**raw.get("postfilter", {}))
        fields["mel_mean"], fields["mel_std"] = tuple(raw["mel_mean"]), tuple(raw["mel_std"])
        config = BundleConfig(**fields)
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: config.json is incomplete ({error}); copy the bundle again") from error
    if config.initial not in get_args(InitialState):
        raise InputError(f"{path} starts from '{config.initial}', which this version does not know; export it again")
    if config.mel != MEL:
        raise InputError(f"{path} was made for another mel front-end; export it again with this version")
    return config


def write_config(folder: Path, config: BundleConfig) -> None:
    """Write ``config.json``; the networks' files must be there already."""
    (folder / "config.json").write_text(json.dumps({"format": FORMAT} | asdict(config), indent=1) + "\n")
