"""Adapters for streams: they bring a stream nearer to the voice, and a voice keeps none that does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fastvoicegrad import VoiceConverter  # noqa: E402
from fastvoicegrad.stream.bundle import StreamBundle  # noqa: E402
from fastvoicegrad.training.adapt import streams  # noqa: E402
from fastvoicegrad.training.adapt.features import FrozenFeatures  # noqa: E402
from fastvoicegrad.training.adapt.networks import restored_networks  # noqa: E402
from fastvoicegrad.training.adapt.recordings import read_voice  # noqa: E402
from fastvoicegrad.training.adapt.shipped import shipped_speech  # noqa: E402
from fastvoicegrad.training.restore_stream import restored_stream_converter  # noqa: E402
from fastvoicegrad.voice_file import Adapter  # noqa: E402


class Warmth(torch.nn.Module):
    """A speaker encoder whose only question is whether a mel is loud below its middle. `sign` turns the answer."""

    def __init__(self, sign: float = 1.0) -> None:
        super().__init__()
        self.sign = sign

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        balance = mel[:, :40].mean((1, 2)) - mel[:, 40:].mean((1, 2))
        return torch.nn.functional.normalize(torch.stack([self.sign * balance, torch.ones_like(balance)], 1), dim=1)


@pytest.fixture
def fitted(speech_folder: Path, bundle: Path, stream_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Fits an adapter with an encoder; the mel counts little, so that it decides."""
    monkeypatch.setattr(streams, "STEPS", 15)
    converter, networks = VoiceConverter.load(bundle), restored_networks(bundle, tmp_path)
    recordings = read_voice(converter.bundle, [str(speech_folder)], "anna", print)

    def fit(encoder: torch.nn.Module, speaker_weight: float) -> Adapter | None:
        monkeypatch.setattr(streams, "SPEAKER_WEIGHT", speaker_weight)
        torch.manual_seed(0)
        opened = StreamBundle.open(stream_bundle)
        lent = streams.StreamNetworks(opened, restored_stream_converter(opened), encoder, FrozenFeatures(networks))
        return streams.stream_adapter(lent, converter, recordings, recordings.voice, shipped_speech(converter).held[:2])

    return fit


def test_an_adapter_brings_the_stream_nearer(fitted, stream_bundle: Path) -> None:  # type: ignore[no-untyped-def]
    adapter = fitted(Warmth(), speaker_weight=100.0)
    assert adapter is not None
    assert adapter.converter == StreamBundle.open(stream_bundle).converter_fingerprint
    assert np.abs(adapter.values).max() > 0.01
    np.testing.assert_array_equal(adapter.values, adapter.values.astype(np.float16))
    np.testing.assert_array_equal(fitted(Warmth(), speaker_weight=100.0).values, adapter.values)


def test_an_adapter_that_gains_nothing_is_left_out(fitted) -> None:  # type: ignore[no-untyped-def]
    assert fitted(Warmth(), speaker_weight=-100.0) is None
