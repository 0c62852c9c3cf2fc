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


def loaded(network: Callable[[Any], Network], settings: type, path: str | Path) -> Network:
    """The network of a checkpoint, whose settings the checkpoint holds; in evaluation mode."""
    model = network(build(settings, read_meta(path)["model"]))
    load_network(path, model)
    return model.eval()


def content_settings(path: str | Path, task: str) -> dict[str, Any]:
    """Settings of a content encoder, from its own run (`task`) or from a run that trained it too.

    Raises:
        InputError: the checkpoint has none.
    """
    meta = read_meta(path)
    settings: dict[str, Any] | None = meta["model"] if meta["task"] == task else meta.get("others", {}).get("content")
    if settings is None:
        raise InputError(f"{shown(path)} holds no content encoder; name a checkpoint of one")
    return settings


def load_content(path: str | Path) -> ContentModel:
    """The content encoder with its heads, from a content run or from a student's run that trained it too."""
    model = ContentModel(build(ContentConfig, content_settings(path, "content")))
    load_network(path, model, "content")
    return model.eval()


def load_speaker(path: str | Path) -> SpeakerEncoder:
    return loaded(SpeakerEncoder, SpeakerConfig, path)


def load_pitch(path: str | Path) -> PitchTracker:
    return loaded(PitchTracker, PitchConfig, path)


def load_unet(path: str | Path) -> UNet:
    """The U-Net of a teacher's or a student's checkpoint, in training mode."""
    model = UNet(build(UNetConfig, read_meta(path)["model"]))
    load_network(path, model)
    return model


def load_diffvc(path: str | Path) -> DiffVc:
    """DiffVC with its encoder."""
    return loaded(DiffVc, DiffVcConfig, path)


def load_vocoder(path: str | Path, kind: VocoderKind = "spectral") -> Vocoder:
    """A vocoder: "spectral" is this project's, "hifigan" the published HiFi-GAN V1."""
    if kind == "hifigan":
        return HiFiGAN.from_checkpoint(path)
    model = SpectralVocoder(build(VocoderConfig, read_meta(path)["model"]))
    load_network(path, model)
    return model.eval()
