"""From checkpoints to a bundle: everything that the run time needs, in one folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx

from ..bundle import Bundle, BundleConfig, Network, write_config
from ..errors import InputError
from ..files import new_folder
from ..mel import MEL
from ..postfilter import PostFilter
from ..version import __version__
from .checkpoint import read_meta
from .models.unet import UNet
from .models.vocoder import SpectralVocoder
from .networks import load_content, load_pitch, load_speaker, load_unet, load_vocoder
from .onnx_graphs import Graph, content_graph, converter_graph, pitch_graph, speaker_graph, vocoder_graph
from .recipe import build
from .schedule import ScheduleConfig
from .storage import Storage, storage_of, with_storage

LARGEST_SMOOTHING = 0.3
SHARPENING_RANGE = 0.5, 2.0
LARGEST_GUIDANCE = 2.0


@dataclass(frozen=True)
class ExportSettings:
    """What a bundle has beside its networks (recipes/release/export.yaml). The defaults are neutral: no post-filter."""

    name: str = "fastvoicegrad"
    postfilter: PostFilter = field(default_factory=PostFilter)
    temperature: float = 1.0  # standard deviation of the sampler's noise
    guidance: float = 0.0  # w in x0 + w (x0_target - x0_source)
    guidance_cosines: int = MEL.n_mels  # lowest cosine components of that term that are kept
    storage: Storage = "half"  # of the weights
    encoder: str = ""  # see BundleConfig; no recipe names one, as newly trained encoders fit no older voices
    notes: dict[str, Any] = field(default_factory=dict)  # licence, training data and other texts of the bundle

    def __post_init__(self) -> None:
        """Raises InputError where a value is out of range."""
        ranges = {
            "postfilter.smoothing": (self.postfilter.smoothing, 0.0, LARGEST_SMOOTHING),
            "postfilter.sharpening": (self.postfilter.sharpening, *SHARPENING_RANGE),
            "temperature": (self.temperature, 0.0, 1.0),
            "guidance": (self.guidance, 0.0, LARGEST_GUIDANCE),
            "guidance_cosines": (self.guidance_cosines, 1, MEL.n_mels),
        }
        for name, (value, least, most) in ranges.items():
            if not least <= value <= most:
                raise InputError(f"{name} must lie between {least} and {most}, it is {value}")


def export(
    folder: str | Path,
    settings: ExportSettings,
    *,
    content: str | Path,
    speaker: str | Path,
    pitch: str | Path,
    converter: str | Path,
    vocoder: str | Path,
    teacher: bool = False,
) -> None:
    """Write a bundle from five checkpoints.

    Args:
        folder: to write.
        converter: a student's checkpoint, or with `teacher` a teacher's, whose bundle converts in any number of steps.
    """
    spectral = load_vocoder(vocoder, "spectral")
    assert isinstance(spectral, SpectralVocoder)
    networks = {
        "content": content_graph(load_content(content).encoder),
        "pitch": pitch_graph(load_pitch(pitch)),
        "speaker": speaker_graph(load_speaker(speaker)),
        "vocoder": vocoder_graph(spectral),
    }
    _write_with(converter, teacher, Path(folder), settings, networks, spectral.config.corrections)


def with_converter(
    folder: str | Path,
    base: Bundle,
    converter: str | Path,
    *,
    teacher: bool,
    name: str,
    settings: ExportSettings | None = None,
) -> None:
    """Write a bundle of a student's or teacher's checkpoint and another bundle's other networks.

    The content encoder is the checkpoint's, if that trained one. New graphs get the storage of the base's.

    Args:
        settings: None: post-filter and guidance are neutral, as those of `base` were chosen for its own student.
    """
    networks = {n: Graph(base.graph(n), (of.left, of.right), of.stride) for n, of in base.config.networks.items()}
    own = settings_of(base)
    settings = settings or ExportSettings(name, storage=own.storage, encoder=own.encoder)
    if "content" in read_meta(converter).get("others", {}):
        networks["content"] = content_graph(load_content(converter).encoder)
        settings = replace(settings, encoder="")
    _write_with(converter, teacher, Path(folder), settings, networks, base.config.corrections)


def settings_of(bundle: Bundle) -> ExportSettings:
    """The settings that a bundle was exported with."""
    config = bundle.config
    return ExportSettings(
        config.name,
        config.postfilter,
        config.temperature,
        config.guidance,
        config.guidance_cosines,
        storage_of(onnx.load_from_string(bundle.graph("content"))) or "half",
        config.encoder,
        config.notes,
    )


def _write_with(
    converter: str | Path,
    teacher: bool,
    folder: Path,
    settings: ExportSettings,
    networks: Mapping[str, Graph],
    corrections: int,
) -> None:
    """Write a bundle of these networks and of a checkpoint's U-Net, with the schedule of its training."""
    unet = load_unet(converter).eval()
    schedule = build(ScheduleConfig, read_meta(converter)["recipe"]["schedule"])
    graphs = {**networks, "converter": converter_graph(unet)}
    max_steps = schedule.start if teacher else 1
    write_bundle(folder, settings, graphs, unet, schedule, max_steps, corrections=corrections)


def write_bundle(
    folder: Path,
    settings: ExportSettings,
    networks: Mapping[str, Graph],
    unet: UNet,
    schedule: ScheduleConfig,
    max_steps: int,
    *,
    corrections: int,
) -> None:
    """Write graphs and config.json.

    Args:
        networks: by name; float32 weights get `settings.storage`, stored ones stay as they are, to the byte.
        unet: lends its normalisation and its settings.
        corrections: iterations of the vocoder's mel matching.
    """
    new_folder(folder)
    entries = {}
    for name, graph in networks.items():
        stored = storage_of(onnx.load_from_string(graph.data)) is not None
        data = graph.data if stored else with_storage(graph.data, settings.storage)
        (folder / f"{name}.onnx").write_bytes(data)
        entries[name] = Network(f"{name}.onnx", hashlib.sha256(data).hexdigest(), *graph.field, graph.stride)
    config = BundleConfig(
        name=settings.name,
        version=__version__,
        networks=entries,
        mel=MEL,
        mel_mean=tuple(round(x, 6) for x in unet.norm.mean[:, 0].tolist()),
        mel_std=tuple(round(x, 6) for x in unet.norm.std[:, 0].tolist()),
        steps=schedule.steps,
        offset=schedule.offset,
        max_beta=schedule.max_beta,
        schedule=schedule.kind,
        schedule_scale=schedule.scale,
        start=schedule.start,
        initial=schedule.initial,
        max_steps=max_steps,
        retrieval=unet.config.examples,
        harmonics=unet.config.harmonics,
        adapter=unet.adapter_size,
        temperature=settings.temperature,
        guidance=settings.guidance,
        guidance_cosines=settings.guidance_cosines,
        postfilter=settings.postfilter,
        corrections=corrections,
        encoder=settings.encoder,
        notes=settings.notes,
    )
    write_config(folder, config)
