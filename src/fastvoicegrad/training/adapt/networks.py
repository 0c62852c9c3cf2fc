"""The networks of a bundle in PyTorch, as an adaptation needs them. Nothing else is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from ...bundle import Bundle
from ...errors import InputError
from ..models.content import ContentEncoder
from ..models.speaker import SpeakerEncoder
from ..models.unet import UNet
from ..models.vocoder import SpectralVocoder
from ..networks import load_content, load_speaker, load_unet, load_vocoder
from ..restore import restore


class VoiceAdapter(nn.Module):
    """The values of an adapter, (1, A)."""

    def __init__(self, unet: UNet) -> None:
        super().__init__()
        self.values = nn.Parameter(unet.initial_adapter())

    def forward(self) -> Tensor:
        return self.values


@dataclass(frozen=True)
class BundleNetworks:
    """Networks of a bundle, all but the converter frozen."""

    unet: UNet
    content: ContentEncoder
    speaker: SpeakerEncoder
    vocoder: SpectralVocoder


def restored_networks(bundle: str | Path | None, folder: Path) -> BundleNetworks:
    """Restore a bundle's networks; their checkpoints lie in `folder` then.

    Raises:
        InputError: the bundle takes no adapters, or stores no settings of its networks.
    """
    opened = Bundle.open(bundle)
    restore(bundle, folder)
    unet = load_unet(folder / "student.safetensors")
    if opened.config.adapter not in (0, unet.adapter_size):
        raise InputError("the bundle's adapters have another size than this version's; export the bundle again")
    vocoder = load_vocoder(folder / "vocoder.safetensors")
    assert isinstance(vocoder, SpectralVocoder)
    content, speaker = (
        load_content(folder / "content.safetensors").encoder,
        load_speaker(folder / "speaker.safetensors"),
    )
    return BundleNetworks(
        unet, content.requires_grad_(False), speaker.requires_grad_(False), vocoder.requires_grad_(False)
    )
