from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from fastvoicegrad import VoiceConverter  # noqa: E402
from fastvoicegrad.errors import InputError  # noqa: E402
from fastvoicegrad.stream.bundle import StreamBundle  # noqa: E402
from fastvoicegrad.training.restore_stream import restore_stream, restored_stream_converter  # noqa: E402
from fastvoicegrad.training.stream_export import StreamExportSettings, export_stream  # noqa: E402
from tests.tiny_stream import StreamNetworks  # noqa: E402


@torch.inference_mode()
def test_a_stream_bundle_restores_its_converter(stream_folder: Path, stream_networks: StreamNetworks) -> None:
    restored, original = restored_stream_converter(StreamBundle.open(stream_folder)), stream_networks[2]
    voice = torch.randn(2, 192), torch.randn(2, 144, 31), torch.randn(2, 80, 31)
    for found, expected in zip(restored.voice(*voice), original.voice(*voice), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    inputs = torch.randn(2, 40, 144), torch.full((2, 40), 150.0), *original.voice(*voice)
    torch.testing.assert_close(restored(*inputs)[0], original(*inputs)[0], atol=1e-5, rtol=1e-5)
    assert not any(weight.requires_grad for weight in restored.parameters())


@pytest.mark.slow
def test_restored_checkpoints_export_the_same_bundle(
    stream_folder: Path, converter: VoiceConverter, tmp_path: Path
) -> None:
    parts = {path.stem.removeprefix("stream-"): path for path in restore_stream(stream_folder, tmp_path)}
    export_stream(tmp_path / "again", StreamExportSettings(), converter.bundle, **parts)
    old, new = StreamBundle.open(stream_folder), StreamBundle.open(tmp_path / "again")
    for part in ("content", "pitch", "converter", "renderer", "voice"):
        assert new.graph(part) == old.graph(part)


@pytest.mark.parametrize(("lost", "message"), [("settings", "its converter's settings"), ("head", "lacks weights")])
def test_graphs_without_settings_or_weights_are_refused(
    stream_folder: Path, monkeypatch: pytest.MonkeyPatch, lost: str, message: str
) -> None:
    graph = StreamBundle.graph

    def damaged(bundle: StreamBundle, name: str) -> bytes:
        proto = onnx.load_from_string(graph(bundle, name))
        if lost == "settings":
            del proto.metadata_props[:]
        for tensor in proto.graph.initializer:
            if lost == "head" and tensor.name.startswith("head"):
                tensor.name = f"other.{tensor.name}"
        return bytes(proto.SerializeToString())

    monkeypatch.setattr(StreamBundle, "graph", damaged)
    with pytest.raises(InputError, match=message):
        restored_stream_converter(StreamBundle.open(stream_folder))
