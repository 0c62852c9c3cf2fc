"""What a bundle's ``config.json`` holds, checked by type and range before anything uses it."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .diffusion import InitialState, ScheduleKind, noise_schedule
from .errors import InputError
from .mel import MEL, MelConfig
from .postfilter import PostFilter

# 3: a pitch network; 4: settings that may be missing; 5: the version, plain names; 6: adapters; 7: `encoder`, weights
# behind DequantizeLinear; 8: speaker feedback; 9: `converter`; 10: `relaxation`
FORMAT, OLDEST = 10, 3
NETWORKS = ("content", "speaker", "pitch", "converter", "vocoder")
RENAMED = {"draft": "retrieval"}  # settings of formats 3 and 4, and their names today
RENAMED_POSTFILTER = {"varied": "match_variance"}

MOST_ADAPTER = 1_000_000  # values: 2 MB in a voice file
MOST_STRIDE = 64  # frames of which every window is a multiple
LEAST_SIGNAL, LEAST_NOISE = 1e-12, 1e-8  # shares of power: the sampler divides by their roots

Frames = Annotated[int, msgspec.Meta(ge=0, le=640)]
Fingerprint = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{16})?$")]
PerBand = Annotated[tuple[float, ...], msgspec.Meta(min_length=MEL.n_mels, max_length=MEL.n_mels)]


@dataclass(frozen=True)
class Network:
    """One network of a bundle.

    Attributes:
        file: name of the graph in the bundle.
        sha256: checksum of that file.
        left, right: receptive field in mel frames, to each side of a frame.
        stride: the number of input frames must be a multiple of it.
    """

    file: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]+\.onnx$")]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
    left: Frames
    right: Frames
    stride: Annotated[int, msgspec.Meta(ge=1, le=MOST_STRIDE)]


@dataclass(frozen=True)
class BundleConfig:
    """Settings of a bundle; free text is in `notes`."""

    name: Annotated[str, msgspec.Meta(max_length=200)]
    networks: dict[str, Network]
    mel: MelConfig
    mel_mean: PerBand  # of the diffusion model's normalisation, per band
    mel_std: PerBand
    steps: Annotated[int, msgspec.Meta(ge=1, le=10_000)]  # T of the noise schedule
    offset: Annotated[float, msgspec.Meta(ge=0, le=1)]
    max_beta: Annotated[float, msgspec.Meta(gt=0, lt=1)]
    start: Annotated[int, msgspec.Meta(ge=1)]  # S_K: the step at which conversion starts
    max_steps: Annotated[int, msgspec.Meta(ge=1)]  # 1 for a distilled student
    notes: dict[str, Any]  # licence, training data, metrics
    version: Annotated[str, msgspec.Meta(max_length=50)] = ""  # of the release that the bundle belongs to
    retrieval: bool = False  # the converter reads a mel retrieved from the reference's frames
    harmonics: bool = False  # the converter reads the harmonic features of the pitch
    schedule: ScheduleKind = "cosine"  # of the noise
    schedule_scale: Annotated[float, msgspec.Meta(ge=0.1, le=10)] = 1.0  # tau of "sigmoid", b of "laplace"
    adapter: Annotated[int, msgspec.Meta(ge=0, le=MOST_ADAPTER)] = 0  # values of an adapter; 0: no adapted voices
    initial: InitialState = "diffused"  # the initial state x_{S_K}
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] = 1.0  # standard deviation of the sampler's noise
    guidance: Annotated[float, msgspec.Meta(ge=0, le=10)] = 0.0  # w in x0 + w (x0_target - x0_source)
    guidance_cosines: Annotated[int, msgspec.Meta(ge=1, le=MEL.n_mels)] = MEL.n_mels  # components of that term kept
    feedback: Annotated[float, msgspec.Meta(ge=0, le=2)] = 0.0  # w in s + w (s - E(G(x, s))), see feedback.py
    postfilter: PostFilter = field(default_factory=PostFilter)
    corrections: Annotated[int, msgspec.Meta(ge=0, le=8)] = 0  # iterations of mel matching after the vocoder
    relaxation: Annotated[float, msgspec.Meta(ge=0.1, le=2)] = 1.0  # factor on what each iteration corrects
    # Fingerprint of an older bundle, whose voices fit: its encoders give nearly the same embeddings. "": none.
    encoder: Fingerprint = ""
    converter: Fingerprint = ""  # the same of adapted voices

    @property
    def alpha_bar(self) -> NDArray[np.float64]:
        """alpha_bar_t of the steps 0 to T, (T + 1,)."""
        return noise_schedule(
            self.schedule, self.steps, offset=self.offset, scale=self.schedule_scale, max_beta=self.max_beta
        )


def parse_config(data: bytes) -> BundleConfig:
    """The checked settings in a bundle's ``config.json``.

    Raises:
        InputError: damaged, incomplete, out of range, or of a format that this version does not read.
    """
    try:
        raw = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError("config.json is damaged; copy the bundle again") from error
    if isinstance(raw, dict) and raw.get("kind") == "stream":
        raise InputError("this is a bundle for streams; use it with 'fastvoicegrad live'")
    if not isinstance(raw, dict) or type(raw.get("format")) is not int or abs(raw["format"]) > 10**6:
        raise InputError("this is no bundle: config.json has no format number")
    _check_format(raw["format"])
    try:
        config = msgspec.convert(_current_names(raw), BundleConfig)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InputError(f"config.json cannot be used ({_one_line(error)}); copy the bundle again") from error
    return _checked(config)


def _check_format(number: int) -> None:
    if number > FORMAT:
        raise InputError(
            f"the bundle has format {number}, this version reads up to {FORMAT}; run 'pip install -U fastvoicegrad'"
        )
    if number < OLDEST:
        raise InputError(f"the bundle has format {number}, this version reads {OLDEST} on; export the bundle again")


def _current_names(raw: dict[str, Any]) -> dict[str, Any]:
    """Settings under today's names; one that this version does not know is an error."""
    fields = {RENAMED.get(name, name): value for name, value in raw.items() if name != "format"}
    if isinstance(postfilter := fields.get("postfilter"), dict):
        fields["postfilter"] = {RENAMED_POSTFILTER.get(name, name): value for name, value in postfilter.items()}
    unknown = set(fields) - {f.name for f in dataclasses.fields(BundleConfig)}
    if unknown:
        raise msgspec.ValidationError(f"unknown setting '{sorted(unknown)[0]}'")
    return fields


def _checked(config: BundleConfig) -> BundleConfig:
    """What types cannot express."""
    if set(config.networks) != set(NETWORKS):
        raise InputError(f"config.json must name the networks {', '.join(NETWORKS)}; copy the bundle again")
    if math.lcm(*(network.stride for network in config.networks.values())) > MOST_STRIDE:
        raise InputError("the networks' strides do not fit together; copy the bundle again")
    if config.mel != MEL:
        raise InputError("the bundle was made for another mel front-end; export it again with this version")
    if not (config.start <= config.steps and config.max_steps <= config.start):
        raise InputError(f"start and max_steps do not fit {config.steps} steps; copy the bundle again")
    numbers = (*config.mel_mean, *config.mel_std)
    if not all(map(math.isfinite, numbers)) or min(config.mel_std) < 1e-3 or max(map(abs, numbers)) > 30:
        raise InputError("mel_mean and mel_std are out of range; copy the bundle again")
    alpha_bar = config.alpha_bar
    if not (alpha_bar[config.start] > LEAST_SIGNAL and alpha_bar[1] < 1 - LEAST_NOISE):
        raise InputError("the noise schedule is out of range; copy the bundle again")
    return config


def _one_line(error: Exception) -> str:
    return "".join(c for c in " ".join(str(error).split()) if c.isprintable())[:200]


def write_config(folder: Path, config: BundleConfig) -> None:
    """Write ``config.json``; the networks' files must be there already."""
    (folder / "config.json").write_text(json.dumps({"format": FORMAT} | asdict(config), indent=1) + "\n")
