from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from fastvoicegrad.bundle import Bundle  # noqa: E402
from fastvoicegrad.errors import InputError  # noqa: E402
from fastvoicegrad.training.data.embed import load_content, load_pitch, load_speaker  # noqa: E402
from fastvoicegrad.training.restore import restore  # noqa: E402
from fastvoicegrad.training.tasks.student import load_vocoder  # noqa: E402
from fastvoicegrad.training.tasks.teacher import load_unet  # noqa: E402
from tests.tiny import Networks  # noqa: E402


@torch.inference_mode()
def test_a_bundle_gives_its_networks_back(networks: Networks, folder: Path, tmp_path: Path) -> None:
    content, tracker, speaker, unet, vocoder = networks
    assert {p.name for p in restore(folder, tmp_path)} == {
        f"{name}.safetensors" for name in ("content", "pitch", "speaker", "student", "vocoder")
    }
    mel = torch.randn(1, 80, 64) * 2 - 5
    heard = load_content(tmp_path / "content.safetensors")
    close = {"atol": 1e-4, "rtol": 1e-4}
    torch.testing.assert_close(heard.encoder(mel), content(mel), **close)
    torch.testing.assert_close(load_pitch(tmp_path / "pitch.safetensors").hear(mel), tracker.hear(mel), **close)
    torch.testing.assert_close(load_speaker(tmp_path / "speaker.safetensors")(mel), speaker(mel), **close)
    ours, theirs = load_vocoder(str(tmp_path / "vocoder.safetensors"), "spectral"), vocoder
    for mine, yours in zip(ours.filters(mel), theirs.filters(mel), strict=True):
        torch.testing.assert_close(mine, yours, **close)
    x, step, voice = torch.randn(1, 80, 64), torch.tensor([800]), torch.randn(1, 192)
    p, hints = torch.randn(1, 144, 64), torch.randn(1, 160, 64)
    again = load_unet(tmp_path / "student.safetensors").eval()
    torch.testing.assert_close(again(x, step, voice, p, hints), unet(x, step, voice, p, hints), atol=1e-3, rtol=1e-3)


def test_a_bundle_that_does_not_say_what_it_holds_is_refused(folder: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    graph = onnx.load(old / "content.onnx")
    del graph.metadata_props[:]
    onnx.save(graph, old / "content.onnx")
    config = json.loads((old / "config.json").read_text())
    config["networks"]["content"]["sha256"] = hashlib.sha256((old / "content.onnx").read_bytes()).hexdigest()
    (old / "config.json").write_text(json.dumps(config))
    assert Bundle.open(old)
    with pytest.raises(InputError, match="export it again"):
        restore(old, tmp_path / "out")


def test_what_ships_can_be_trained_on(tmp_path: Path) -> None:
    assert len(restore(None, tmp_path)) == 5
    assert load_content(tmp_path / "content.safetensors").config.dim == 144
