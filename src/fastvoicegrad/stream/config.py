"""What the ``config.json`` of a stream bundle holds, checked by type and range before anything uses it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from ..errors import InputError
from ..graphs import Dimension, Shapes
from ..mel import MEL, MelConfig
from .frontend import WINDOWS, beyond
from .rendering import BINS

FORMAT = 2
NETWORKS = ("content", "pitch", "converter", "renderer", "voice")
STATELESS = (0, 0, 0)
MOST_STATE = 1 << 20  # values

Shape = tuple[Dimension, ...]
Size = Annotated[int, msgspec.Meta(ge=0, le=1 << 16)]


@dataclass(frozen=True)
class StreamNetwork:
    """One network of a stream bundle.

    Attributes:
        file: name of the graph in the bundle.
        sha256: checksum of that file.
        state: shape of a stream's caches: 1, past frames, blocks times channels; zeros: it has none.
    """

    file: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]+\.onnx$")]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
    state: tuple[Size, Size, Size] = STATELESS


@dataclass(frozen=True)
class StreamConfig:
    """Settings of a stream bundle.

    Attributes:
        encoder: fingerprint of the full bundle whose voices it takes.
        lookahead: mel frames after a frame that its content and pitch depend on.
        window: samples of a mel frame's window; see `frontend`.
        sharpening: of the converter's mel across its bands; see `postfilter.sharpen`. 1 changes nothing.
        notes: licence, training data, metrics.
    """

    name: Annotated[str, msgspec.Meta(max_length=200)]
    networks: dict[str, StreamNetwork]
    encoder: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}$")]
    lookahead: Annotated[int, msgspec.Meta(ge=0, le=64)]
    window: int
    mel: MelConfig = MEL
    kind: Literal["stream"] = "stream"
    version: Annotated[str, msgspec.Meta(max_length=50)] = ""
    sharpening: Annotated[float, msgspec.Meta(ge=0, le=4)] = 1.0
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def wait(self) -> int:
        """Samples after a hop that must have come before it can be converted."""
        return MEL.hop_length * self.lookahead + beyond(self.window)

    @property
    def latency(self) -> int:
        """Samples at 22,050 Hz by which the output is late: a hop and `wait`, less the sample that comes."""
        return MEL.hop_length + self.wait - 1

    def shapes(self, name: str) -> tuple[Shapes, Shapes]:
        """Names and shapes of a network's inputs and outputs."""
        inputs, outputs = SHAPES[name]
        if name == "voice":
            return inputs, outputs
        _, past, channels = self.networks[name].state
        of_voice: Shapes = {"film": ("B", 1, 2 * channels), "memory": ("B", "M", "D")}
        inputs = {**inputs, **(of_voice if name == "converter" else {}), "state": ("B", past, channels)}
        return inputs, {**outputs, "windows": ("B", "P", channels)}  # the state and what comes after it


BINWISE: Shape = ("B", "T", BINS)
SHAPES: dict[str, tuple[Shapes, Shapes]] = {
    "content": ({"mel": ("B", "T", MEL.n_mels)}, {"content": ("B", "T", "C")}),
    "pitch": ({"mel": ("B", "T", MEL.n_mels)}, {"pitch": ("B", "T")}),
    "converter": ({"content": ("B", "T", "C"), "pitch": ("B", "T")}, {"mel": ("B", "T", MEL.n_mels)}),
    "renderer": (
        {"mel": ("B", "T", MEL.n_mels), "pitch": ("B", "T")},
        {"magnitude": BINWISE, "phase": BINWISE, "noise": BINWISE},
    ),
    "voice": (
        {"speaker": (1, "S"), "keys": (1, "C", "N"), "reference": (1, MEL.n_mels, "N")},
        {"film": ("L", 1, "F"), "memory": ("A", "M", "D")},
    ),
}


def parse_stream_config(data: bytes) -> StreamConfig:
    """The checked settings in a stream bundle's ``config.json``.

    Raises:
        InputError: damaged, incomplete, out of range, of another kind, or of a newer format.
    """
    try:
        raw = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError("config.json is damaged; copy the bundle again") from error
    if not isinstance(raw, dict) or raw.get("kind") != "stream":
        raise InputError("this bundle cannot stream; name one that 'fastvoicegrad dev export-stream' wrote")
    number = raw.pop("format", None)
    if type(number) is not int or number != FORMAT:
        way = "export it again" if number == 1 else "run 'pip install -U fastvoicegrad'"
        raise InputError(f"this version reads stream bundles of format {FORMAT}; {way}")
    try:
        config = msgspec.convert(raw, StreamConfig)
    except (msgspec.MsgspecError, RecursionError) as error:
        reason = "".join(c for c in " ".join(str(error).split()) if c.isprintable())[:200]
        raise InputError(f"config.json cannot be used ({reason}); copy the bundle again") from error
    return _checked(config)


def _checked(config: StreamConfig) -> StreamConfig:
    """What types cannot express."""
    if set(config.networks) != set(NETWORKS):
        raise InputError(f"config.json must name the networks {', '.join(NETWORKS)}; copy the bundle again")
    if config.mel != MEL or config.window not in WINDOWS:
        raise InputError("the bundle was made for another mel front-end; export it again with this version")
    for name, network in config.networks.items():
        values = network.state[0] * network.state[1] * network.state[2]
        if (values == 0) != (name == "voice") or values > MOST_STATE:
            raise InputError(f"the state of the network '{name}' is out of range; copy the bundle again")
    return config


def write_stream_config(folder: Path, config: StreamConfig) -> None:
    """Write ``config.json``; the networks' files must be there already."""
    (folder / "config.json").write_text(json.dumps({"format": FORMAT} | asdict(config), indent=1) + "\n")
