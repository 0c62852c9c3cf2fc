from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fastvoicegrad import InputError  # noqa: E402
from fastvoicegrad.training.data.conversion import (  # noqa: E402
    ConversionCrops,
    ConversionData,
    as_conversions,
    conversion_targets,
    unconditional_speaker,
)
from fastvoicegrad.training.data.store import Store  # noqa: E402


def test_a_reference_never_shows_the_crop(store: Path) -> None:
    data = ConversionData(str(store), frames=64, reference_frames=60, margin=4)
    crops, random = ConversionCrops(data, "train"), np.random.default_rng(0)
    for crop in crops.crops.draw(random, 50):
        frames = crops.reference(crop, random)
        assert len(frames) == 60
        assert ((frames < crop.start - 4) | (frames >= crop.start + crop.frames + 4)).all()
        voices = {
            e.recording.voice for e in crops.store.entries if any(e.start <= f < e.start + e.frames for f in frames)
        }
        assert voices == {crops.store.entries[crop.row].recording.voice}


def test_a_batch_reads_recordings_of_its_split_alone(store: Path, tmp_path: Path) -> None:
    """A voice may have recordings of both."""
    for path in store.iterdir():
        if path.name != "index.jsonl":
            (tmp_path / path.name).symlink_to(path)
    lines = (store / "index.jsonl").read_text().splitlines()
    voice = Store(store).entries[0].recording.voice
    places = [n for n, entry in enumerate(Store(store).entries) if entry.recording.voice == voice]
    lines[places[-1]] = lines[places[-1]].replace('"train"', '"valid"')
    (tmp_path / "index.jsonl").write_text("\n".join(lines) + "\n")
    data = ConversionData(str(tmp_path), frames=64, reference_frames=60)
    train, valid = (ConversionCrops(data, split) for split in ("train", "valid"))
    assert len(places) > 1
    assert (train.by_voice[voice], valid.by_voice[voice]) == (places[:-1], places[-1:])


def test_a_parallel_source_is_of_the_same_split(store: Path) -> None:
    crops = ConversionCrops(ConversionData(str(store), frames=64, parallel=1.0), "train")
    held_out = next(entry for entry in crops.store.entries if entry.recording.split == "valid")
    crops.store._arrays["parallel"] = np.full(crops.store.total_frames, held_out.start, np.int32)
    for crop in crops.crops.draw(np.random.default_rng(0), 8):
        frames = np.arange(crop.start, crop.start + crop.frames)
        np.testing.assert_array_equal(crops.source(crop, np.random.default_rng(0)), frames)


def test_a_parallel_source_is_the_crop_in_another_voice(store: Path) -> None:
    crops = ConversionCrops(ConversionData(str(store), frames=64, parallel=1.0), "train")
    parallel = np.full(crops.store.total_frames, -1, np.int32)
    first, second = crops.store.entries[:2]
    parallel[first.slice] = second.start + np.arange(first.frames) // 2
    crops.store._arrays["parallel"] = parallel
    for crop in crops.crops.draw(np.random.default_rng(0), 30):
        frames = np.arange(crop.start, crop.start + crop.frames)
        expected = parallel[frames] if crop.row == 0 else frames
        np.testing.assert_array_equal(crops.source(crop, np.random.default_rng(0)), expected)


def test_frames_stand_at_their_index_in_the_context(store: Path) -> None:
    data = ConversionData(str(store), frames=64, context=40, margin=8)
    crops = ConversionCrops(data, "train")
    first = crops.store.entries[0]
    middle, slow = first.start + 60 + np.arange(64), first.start + np.arange(64) * 2
    start, end = first.start + np.arange(64), first.start + first.frames - 64 + np.arange(64)
    frames = np.stack([middle, start, end, slow])
    mel, index = crops.in_context(frames)
    assert mel.shape == (4, 80, 104)
    whole = torch.from_numpy(crops.store.array("mel")[first.slice].astype(np.float32)).T
    found = mel.gather(2, index[:, None].expand(-1, 80, -1))
    for item in range(3):
        assert torch.equal(found[item], whole[:, frames[item] - first.start])
    assert torch.equal(mel[1, :, :32], whole[:, :1].expand(-1, 32))  # the start repeats
    assert torch.equal(mel[2, :, -8:], whole[:, -1:].expand(-1, 8))
    assert torch.equal(found[3, :, -40:], whole[:, slow[-40:] - first.start])
    batch = crops.draw(np.random.default_rng(0), 4)
    for name, mel in (("crop", batch["mel"]), ("source", batch["source"])):
        index = batch[f"{name}_context_index"][:, None].expand(-1, 80, -1)
        assert torch.equal(batch[f"{name}_context"].gather(2, index), mel)


def test_a_conversion_has_the_crop_as_source_and_the_next_voice_as_target(store: Path) -> None:
    data = ConversionData(str(store), frames=64, reference_frames=32, context=16)
    batch = ConversionCrops(data, "train", verified=True).draw(np.random.default_rng(0), 4)
    targets = conversion_targets(batch, 9)
    conversions = as_conversions(batch | targets)
    for name in ("speaker", "verified_speaker", "median_pitch", "reference", "reference_content"):
        assert torch.equal(conversions[name], batch[name][1:])
    assert torch.equal(conversions["source"], batch["mel"][:3])
    assert torch.equal(conversions["content"], batch["crop_content"][:3])
    assert torch.equal(conversions["source_context"], batch["crop_context"][:3])
    assert torch.equal(conversions["source_context_index"], batch["crop_context_index"][:3])
    ratio = batch["median_pitch"][1:] / batch["median_pitch"][:3]
    torch.testing.assert_close(conversions["pitch"], batch["pitch"][:3] * ratio[:, None])
    assert all(len(value) == 3 for value in conversions.values())


def unlabelled(store: Path, folder: Path, rows: list[int]) -> str:
    """The store, but the speaker teacher has no embedding of some recordings."""
    for path in store.iterdir():
        if path.name != "speaker_teacher.npy":
            (folder / path.name).symlink_to(path)
    teacher = np.load(store / "speaker_teacher.npy")
    teacher[rows] = np.nan
    np.save(folder / "speaker_teacher.npy", teacher)
    return str(folder)


def test_a_voice_may_have_its_embedding_from_the_other_split(store: Path, tmp_path: Path) -> None:
    entries = Store(store).entries
    rows = [n for n, entry in enumerate(entries) if entry.recording.voice == entries[0].recording.voice]
    lines = (store / "index.jsonl").read_text().splitlines()
    lines[rows[-1]] = lines[rows[-1]].replace('"train"', '"valid"')
    changed = unlabelled(store, tmp_path, rows[:-1])
    (tmp_path / "index.jsonl").unlink()
    (tmp_path / "index.jsonl").write_text("\n".join(lines) + "\n")
    crops = ConversionCrops(ConversionData(changed, frames=64), "train", verified=True)
    found = crops.verifier_embedding(entries[0].recording.voice)
    np.testing.assert_allclose(found, np.load(store / "speaker_teacher.npy")[rows[-1]], rtol=1e-5)


def test_a_voice_without_an_embedding_of_the_teacher_is_refused(store: Path, tmp_path: Path) -> None:
    """Before training: the loss would be no number at the first batch with this voice."""
    entries = Store(store).entries
    voice = entries[0].recording.voice
    rows = [n for n, entry in enumerate(entries) if entry.recording.voice == voice]
    data = ConversionData(unlabelled(store, tmp_path, rows), frames=64)
    ConversionCrops(data, "train")
    with pytest.raises(InputError, match=f"no embedding by the speaker teacher of the voice '{voice}'; delete its"):
        ConversionCrops(data, "train", verified=True)


def test_the_unconditional_speaker_is_the_mean_of_the_batch() -> None:
    speaker = torch.nn.functional.normalize(torch.randn(4, 8), dim=1)
    reference = torch.arange(4.0)[:, None, None].expand(4, 80, 12)
    mixed = unconditional_speaker({"speaker": speaker, "reference": reference, "mel": torch.zeros(4, 80, 16)}, 2)
    assert set(mixed) == {"speaker", "reference"}
    assert mixed["speaker"].shape == (2, 8)
    assert torch.linalg.norm(mixed["speaker"][0]) == pytest.approx(1)
    assert mixed["reference"][1, 0].tolist() == [float(i // 3) for i in range(12)]
