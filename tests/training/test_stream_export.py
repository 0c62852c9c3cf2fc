"""Stream bundles that could not be opened are refused, and replace none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

from fastvoicegrad import InputError
from fastvoicegrad.stream.bundle import StreamBundle
from fastvoicegrad.training import stream_export
from fastvoicegrad.training.stream_export import StreamExportSettings, write_stream_bundle
from fastvoicegrad.training.stream_graphs import StreamGraph
from tests.tiny_stream import StreamNetworks


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_stream_bundle_that_could_not_be_opened_replaces_none(
    stream_folder: Path, stream_networks: StreamNetworks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "stream"
    shutil.copytree(stream_folder, made)
    base, before = StreamBundle.open(made), files_of(made)
    for name, network in base.config.networks.items():
        function = "voice_graph" if name == "voice" else f"stream_{name}_graph"
        graph = StreamGraph(base.graph(name), network.state)
        monkeypatch.setattr(stream_export, function, lambda network, graph=graph: graph)
    with pytest.raises(InputError, match=r"the bundle could not be opened: .*encoder.*; correct the export"):
        write_stream_bundle(made, StreamExportSettings("again"), "abc", *stream_networks)
    assert files_of(made) == before
    write_stream_bundle(made, StreamExportSettings("again"), base.config.encoder, *stream_networks)
    assert json.loads((made / "config.json").read_text())["name"] == "again"
    assert StreamBundle.open(made).config.name == "again"
