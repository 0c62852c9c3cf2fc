from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from fastvoicegrad.errors import InputError  # noqa: E402
from fastvoicegrad.training.deepen import deepen  # noqa: E402
from fastvoicegrad.training.restore_stream import restore_stream  # noqa: E402
from fastvoicegrad.training.stream_networks import (  # noqa: E402
    load_stream_content,
    load_stream_converter,
    load_stream_renderer,
)
from tests.tiny_stream import StreamNetworks  # noqa: E402
from tests.training.tasks.tiny_runs import trainer  # noqa: E402


@torch.inference_mode()
def test_a_deeper_content_encoder_computes_the_same(
    stream_folder: Path, stream_networks: StreamNetworks, tmp_path: Path
) -> None:
    restore_stream(stream_folder, tmp_path)
    deepen(tmp_path / "stream-content.safetensors", tmp_path / "deep.safetensors", ["layers=5"])
    deep, mel = load_stream_content(tmp_path / "deep.safetensors").encoder, torch.randn(2, 40, 80)
    assert len(deep.stack.blocks) == 5
    torch.testing.assert_close(deep(mel)[0], stream_networks[0](mel)[0], atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_a_deeper_renderer_computes_the_same(
    stream_folder: Path, stream_networks: StreamNetworks, tmp_path: Path
) -> None:
    restore_stream(stream_folder, tmp_path)
    deepen(tmp_path / "stream-renderer.safetensors", tmp_path / "deep.safetensors", ["layers=5"])
    deep = load_stream_renderer(tmp_path / "deep.safetensors")
    mel, pitch = torch.randn(2, 40, 80), torch.full((2, 40), 150.0)
    assert len(deep.stack.blocks) == 5
    for filters, expected in zip(deep(mel, pitch)[0], stream_networks[3](mel, pitch)[0], strict=True):
        torch.testing.assert_close(filters, expected, atol=1e-5, rtol=1e-5)


def test_a_deeper_converter_computes_the_same_and_learns(
    stream_folder: Path, stream_networks: StreamNetworks, tmp_path: Path
) -> None:
    restore_stream(stream_folder, tmp_path)
    settings = ["layers=5", "attend_after=[0, 1, 4]"]
    deepen(tmp_path / "stream-converter.safetensors", tmp_path / "deep.safetensors", settings)
    deep, shallow = load_stream_converter(tmp_path / "deep.safetensors"), stream_networks[2]
    voice = torch.randn(2, 192), torch.randn(2, 144, 31), torch.randn(2, 80, 31)
    inputs = torch.randn(2, 40, 144), torch.full((2, 40), 150.0)
    mel = deep(*inputs, *deep.voice(*voice))[0]
    torch.testing.assert_close(mel, shallow(*inputs, *shallow.voice(*voice))[0], atol=1e-5, rtol=1e-5)
    mel.square().mean().backward()
    for end in (deep.stack.blocks[4].reduce.weight, deep.attentions[2].out.weight):
        assert end.grad is not None
        assert end.grad.abs().max() > 0


def test_other_networks_of_the_checkpoint_stay(runs: Path, store: Path, tmp_path: Path) -> None:
    for name in ("stream-content", "student", "vocoder"):
        (tmp_path / name).symlink_to(runs / name)
    weights = [f"weights.{name}=1.0" for name in ("mel", "dist", "adv", "fm", "content")]
    run = trainer(store, tmp_path, "stream-converter", "train_content=true", "loop.steps=1", *weights)
    run.run()
    deepen(run.last, tmp_path / "deep.safetensors", ["layers=5"])
    before, after = (load_stream_content(path).state_dict() for path in (run.last, tmp_path / "deep.safetensors"))
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert len(load_stream_converter(tmp_path / "deep.safetensors").stack.blocks) == 5


@pytest.mark.parametrize(
    ("part", "setting", "message"),
    [
        ("stream-content", "width=24", "width would change"),
        ("stream-content", "lookahead=3", "lookahead would change"),
        ("stream-content", "layers=1", "only grow"),
        ("stream-converter", "attend_after=[1, 0]", "only grow"),
        ("stream-converter", "attend_after=[0, 1, 1]", "name each once at most"),
        ("stream-converter", "attend_after=[0, 1, 2]", "the blocks are 0 to 1"),  # there is no third layer
        ("stream-converter", "attend_after=2", "not iterable"),
        ("stream-converter", "attention.heads=1", "attention would change"),
        ("stream-pitch", "layers=4", "these can be deepened"),
    ],
)
def test_other_changes_are_refused(stream_folder: Path, tmp_path: Path, part: str, setting: str, message: str) -> None:
    restore_stream(stream_folder, tmp_path)
    with pytest.raises(InputError, match=message):
        deepen(tmp_path / f"{part}.safetensors", tmp_path / "deep.safetensors", [setting])
