"""From checkpoints to a bundle: everything that the run time needs, in one folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx
import torch

from ..bundle import Bundle
from ..bundle_config import BundleConfig, Network, parse_config, write_config
from ..errors import InputError
from ..files import shown
from ..mel import MEL
from ..postfilter import PostFilter
from ..version import __version__
from .bundle_files import check_settings, config_json, write_files
from .checkpoint import read_meta
from .models.content import ContentEncoder
from .models.unet import UNet, UNetConfig
from .models.vocoder import SpectralVocoder
from .networks import load_content, load_pitch, load_speaker, load_unet, load_vocoder
from .onnx_graphs import Graph, content_graph, converter_graph, pitch_graph, speaker_graph, vocoder_graph
from .recipe import build
from .schedule import ScheduleConfig
from .storage import Storage, storage_of, with_storage


@dataclass(frozen=True)
class ExportSettings:
    """What a bundle has beside its networks (recipes/release/export.yaml). The defaults are neutral: no post-filter."""

    name: str = "fastvoicegrad"
    postfilter: PostFilter = field(default_factory=PostFilter)
    temperature: float = 1.0  # standard deviation of the sampler's noise
    guidance: float = 0.0  # w in x0 + w (x0_target - x0_source)
    guidance_cosines: int = MEL.n_mels  # lowest cosine components of that term that are kept
    feedback: float = 0.0  # w in s + w (s - E(G(x, s))) (feedback.py)
    corrections: int | None = None  # iterations of mel matching after the vocoder; None: as many as trained it
    relaxation: float = 1.0  # factor on what each iteration corrects (vocoder.py)
    storage: Storage = "half"  # of the weights
    encoder: str = ""  # see BundleConfig; no recipe names one, as newly trained encoders fit no older voices
    notes: dict[str, Any] = field(default_factory=dict)  # licence, training data and other texts of the bundle

    def __post_init__(self) -> None:
        """Raises InputError where a bundle with one of these values could not be opened."""
        check_settings({name: value for name, value in vars(self).items() if value is not None}, BundleConfig)


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
    warn: Callable[[str], None] = print,
) -> None:
    """Write a bundle from five checkpoints.

    Args:
        folder: to write.
        converter: a student's checkpoint, or with `teacher` a teacher's, whose bundle converts in any number of steps.
        warn: receives a sentence where the converter was trained with another content encoder.
    Raises:
        InputError: a checkpoint of another part, networks that do not fit each other, or see `write_bundle`.
    """
    wrong = "student" if teacher else "teacher"
    if read_meta(converter)["task"] == wrong:
        raise InputError(f"{shown(converter)} is a {wrong}'s checkpoint; name it with --{wrong}")
    spectral, encoder = load_vocoder(vocoder, "spectral"), load_content(content).encoder
    assert isinstance(spectral, SpectralVocoder)
    _check_fit(
        load_unet(converter).config, {"content": encoder.config.dim, "speaker": load_speaker(speaker).config.dim}
    )
    if _trained_with_another(encoder, converter):
        warn(f"{shown(converter)} holds its own content encoder, which --content does not name")
    corrections = spectral.config.corrections if settings.corrections is None else settings.corrections
    networks = {
        "content": content_graph(encoder),
        "pitch": pitch_graph(load_pitch(pitch)),
        "speaker": speaker_graph(load_speaker(speaker)),
        "vocoder": vocoder_graph(spectral, corrections),
    }
    _write_with(converter, teacher, Path(folder), settings, networks, corrections)


def _check_fit(unet: UNetConfig, dims: Mapping[str, int]) -> None:
    """Raises InputError where encoders give embeddings of other sizes than the U-Net reads.

    Args:
        dims: sizes of the "content" and the "speaker" embedding.
    """
    for name, read in {"content": unet.content_dim, "speaker": unet.speaker_dim}.items():
        if dims[name] != read:
            raise InputError(
                f"the converter reads {name} embeddings of {read} numbers, the {name} encoder gives {dims[name]}; "
                "give networks that were trained together"
            )


def _trained_with_another(encoder: ContentEncoder, converter: str | Path) -> bool:
    """Whether a converter's checkpoint holds a content encoder with other weights than this one."""
    if "content" not in read_meta(converter).get("others", {}):
        return False
    given, own = encoder.state_dict(), load_content(converter).encoder.state_dict()
    return given.keys() != own.keys() or not all(torch.equal(given[name], own[name]) for name in own)


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
        settings: None: post-filter, guidance and feedback are neutral. Those of `base` were chosen for its own student.
            What belongs to its vocoder stays.
    """
    networks = {n: Graph(base.graph(n), (of.left, of.right), of.stride) for n, of in base.config.networks.items()}
    own = settings_of(base)
    settings = settings or ExportSettings(
        name, corrections=own.corrections, relaxation=own.relaxation, storage=own.storage, encoder=own.encoder
    )
    if "content" in read_meta(converter).get("others", {}):
        networks["content"] = content_graph(load_content(converter).encoder)
        settings = replace(settings, encoder="")
    _write_with(converter, teacher, Path(folder), settings, networks, base.config.corrections)


def settings_of(bundle: Bundle) -> ExportSettings:
    """The settings that a bundle was exported with."""
    config = bundle.config
    return ExportSettings(
        name=config.name,
        postfilter=config.postfilter,
        temperature=config.temperature,
        guidance=config.guidance,
        guidance_cosines=config.guidance_cosines,
        feedback=config.feedback,
        corrections=config.corrections,
        relaxation=config.relaxation,
        storage=storage_of(onnx.load_from_string(bundle.graph("content"))) or "half",
        encoder=config.encoder,
        notes=config.notes,
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
    Raises:
        InputError: the bundle could not be opened, or a file cannot be written. An older bundle stays as it is.
    """
    entries, graphs = {}, {}
    for name, graph in networks.items():
        stored = storage_of(onnx.load_from_string(graph.data)) is not None
        data = graphs[name] = graph.data if stored else with_storage(graph.data, settings.storage)
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
        feedback=settings.feedback,
        postfilter=settings.postfilter,
        corrections=corrections,
        relaxation=settings.relaxation,
        encoder=settings.encoder,
        notes=settings.notes,
    )
    write_files(folder, graphs, config_json(lambda scratch: write_config(scratch, config), parse_config))
