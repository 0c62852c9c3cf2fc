"""From a checkpoint to the network that it holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

from torch import nn

from ..errors import InputError
from ..files import shown
from .checkpoint import load_network, read_meta
from .models.content import ContentConfig, ContentModel
from .models.diffvc import DiffVc, DiffVcConfig
from .models.pitch import PitchConfig, PitchTracker
from .models.speaker import SpeakerConfig, SpeakerEncoder
from .models.unet import UNet, UNetConfig
from .models.vocoder import HiFiGAN, SpectralVocoder, VocoderConfig
from .recipe import build

Vocoder = SpectralVocoder | HiFiGAN
VocoderKind = Literal["spectral", "hifigan"]
Network = TypeVar("Network", bound=nn.Module)
Settings = TypeVar("Settings")


def network_settings(kind: type[Settings], path: str | Path, *tasks: str) -> Settings:
    """The settings of a checkpoint's main network.

    Args:
        tasks: whose checkpoints hold such a network.
    Raises:
        InputError: it is no checkpoint, one of another part, or of another version's networks.
    """
    meta = read_meta(path)
    if meta["task"] not in tasks:
        raise InputError(f"{shown(path)} is a checkpoint of {meta['task']}; name one of {' or '.join(tasks)}")
    return _built(kind, meta["model"], path)


def content_settings(kind: type[Settings], path: str | Path, own: str, joint: str) -> Settings:
    """Settings of a content encoder, from its own run or from a converter's run that trained it too.

    Args:
        own, joint: tasks of these two runs.
    Raises:
        InputError: the checkpoint has none, or one of another version.
    """
    meta = read_meta(path)
    found = {own: meta["model"], joint: meta.get("others", {}).get("content")}.get(meta["task"])
    if found is None:
        raise InputError(
            f"{shown(path)} holds no content encoder; name a checkpoint of {own}, or of {joint} with train_content"
        )
    return _built(kind, found, path)


def _built(kind: type[Settings], settings: dict[str, Any], path: str | Path) -> Settings:
    try:
        return build(kind, settings)
    except InputError as error:
        reason = str(error).removeprefix("recipe: ")  # no recipe is at fault
        raise InputError(f"{shown(path)} holds a network of another version ({reason}); name another one") from error


def loaded(network: Callable[[Any], Network], settings: type, path: str | Path, *tasks: str) -> Network:
    """The network of a checkpoint of one of these tasks, which holds its settings; in evaluation mode."""
    model = network(network_settings(settings, path, *tasks))
    load_network(path, model)
    return model.eval()


def load_content(path: str | Path) -> ContentModel:
    """The content encoder with its heads, from a content run or from a student's run that trained it too."""
    model = ContentModel(content_settings(ContentConfig, path, "content", "student"))
    load_network(path, model, "content")
    return model.eval()


def load_speaker(path: str | Path) -> SpeakerEncoder:
    return loaded(SpeakerEncoder, SpeakerConfig, path, "speaker")


def load_pitch(path: str | Path) -> PitchTracker:
    return loaded(PitchTracker, PitchConfig, path, "pitch")


def load_unet(path: str | Path) -> UNet:
    """The U-Net of a teacher's or a student's checkpoint, in training mode."""
    return loaded(UNet, UNetConfig, path, "teacher", "student").train()


def load_diffvc(path: str | Path) -> DiffVc:
    """DiffVC with its encoder."""
    return loaded(DiffVc, DiffVcConfig, path, "diffvc")


def load_vocoder(path: str | Path, kind: VocoderKind = "spectral") -> Vocoder:
    """A vocoder: "spectral" is this project's, "hifigan" the published HiFi-GAN V1."""
    if kind == "hifigan":
        return HiFiGAN.from_checkpoint(path)
    return loaded(SpectralVocoder, VocoderConfig, path, "vocoder")
