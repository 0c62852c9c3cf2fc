from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from fastvoicegrad import InputError  # noqa: E402
from fastvoicegrad.training import checkpoint  # noqa: E402
from fastvoicegrad.training.align import affine_map, align, fold  # noqa: E402
from fastvoicegrad.training.data.store import Store  # noqa: E402
from fastvoicegrad.training.models.content import ContentConfig, ContentModel  # noqa: E402
from fastvoicegrad.training.networks import load_content  # noqa: E402


def save(path: Path, model: ContentModel) -> Path:
    meta = {"step": 0, "task": "content", "model": checkpoint.plain(model.config), "ema": False}
    checkpoint.save(path, {"content": model}, {}, meta)
    return path


def test_the_map_between_two_sets_of_coordinates_is_found() -> None:
    torch.manual_seed(0)
    x, matrix, offset = torch.randn(300, 6), torch.randn(6, 6), torch.randn(6)
    found, shift, explained = affine_map(x, x @ matrix.T + offset)
    torch.testing.assert_close(found.float(), matrix, atol=1e-4, rtol=0)
    torch.testing.assert_close(shift.float(), offset, atol=1e-4, rtol=0)
    assert explained == pytest.approx(1)
    assert affine_map(x, torch.randn(300, 6))[2] < 0.2


def test_an_encoder_in_other_coordinates_comes_back_with_its_predictions(
    runs: Path, store: Path, tmp_path: Path
) -> None:
    path = runs / "content" / "last.safetensors"
    original, changed = load_content(path), load_content(path)
    torch.manual_seed(0)
    dim = changed.config.dim
    matrix = torch.eye(dim).double() + 0.3 * torch.randn(dim, dim).double() / dim**0.5
    fold(changed, matrix, torch.randn(dim).double())
    mel = torch.randn(2, 80, 20)
    with torch.inference_mode():
        outputs, same = changed(mel), original(mel)
        moved = (outputs.pop("content") - same.pop("content")).abs().max()
        torch.testing.assert_close(outputs, same, atol=1e-3, rtol=1e-3)
        assert moved > 0.1
    assert align(save(tmp_path / "changed.safetensors", changed), path, store, tmp_path / "back.safetensors") > 0.99
    # The few recordings of the store leave some directions of the map free, so the two are compared on them.
    known = torch.from_numpy(Store(store).array("mel")[:64].astype("float32").T[None].copy())
    with torch.inference_mode():
        back, expected = load_content(tmp_path / "back.safetensors")(known), original(known)
    content = expected["content"]
    assert (back["content"] - content).square().mean() < 0.02 * content.var()
    torch.testing.assert_close(back["prosody"], expected["prosody"], atol=1e-2, rtol=1e-2)


def test_contents_of_two_sizes_are_refused(runs: Path, store: Path, tmp_path: Path) -> None:
    path = runs / "content" / "last.safetensors"
    small = save(tmp_path / "small.safetensors", ContentModel(ContentConfig(width=8, layers=1, dim=4, units=3)))
    with pytest.raises(InputError, match="aligned"):
        align(small, path, store, tmp_path / "out.safetensors")


def test_fresh_heads_leave_the_aligned_encoder_as_it_is(runs: Path, store: Path, tmp_path: Path) -> None:
    path = runs / "content" / "last.safetensors"
    for name, fresh in (("folded", False), ("fresh", True)):
        align(path, path, store, tmp_path / f"{name}.safetensors", fresh)
    folded, fresh_one = (load_content(tmp_path / f"{name}.safetensors") for name in ("folded", "fresh"))
    mel = torch.randn(1, 80, 20)
    with torch.inference_mode():
        torch.testing.assert_close(folded(mel)["content"], fresh_one(mel)["content"])
        assert not torch.allclose(folded(mel)["prosody"], fresh_one(mel)["prosody"])
