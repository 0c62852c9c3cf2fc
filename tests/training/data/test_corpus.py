from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastvoicegrad import InputError
from fastvoicegrad.training.data.corpus import Recording, limit_per_voice, read_manifest
from fastvoicegrad.training.data.store import Entry, Store, write_index


def recording(index: int, speaker: str | None, corpus: str = "c") -> Recording:
    return Recording(str(index), f"{index}.wav", corpus, "train", 1.0, 16000, speaker)


def test_manifest_paths_are_relative_to_it(tmp_path: Path) -> None:
    row = {"id": "a", "path": "x/a.wav", "corpus": "c", "split": "test", "duration": 1, "sample_rate": 16000}
    (tmp_path / "m.jsonl").write_text(json.dumps(row | {"speaker": None, "age": 3, "dnsmos": 3.1}) + "\n\n")
    (read,) = read_manifest(tmp_path / "m.jsonl")
    assert read.path == str(tmp_path / "x" / "a.wav")
    assert read.voice == "a"  # unlabelled: a voice of its own
    assert read.dnsmos == 3.1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "no such manifest"),
        ("{}", "line 1: the field 'id' is missing"),
        ("\n[1", "line 2: not a recording"),
        ("[]", "line 1: not a recording"),
        (json.dumps({"id": "a", "path": "a", "corpus": "c", "split": "s", "duration": "x"}), "not a recording"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused_in_a_line(tmp_path: Path, text: str | None, problem: str) -> None:
    if text is not None:
        (tmp_path / "m.jsonl").write_text(text)
    with pytest.raises(InputError, match=problem):
        read_manifest(tmp_path / "m.jsonl")


def test_texts_may_hold_any_character(tmp_path: Path) -> None:
    """Line separators of Unicode end no line; a byte order mark counts for nothing."""
    text = "K\u00e4se\u2028\u0436\u0443\u043a\u0085"
    row = {"id": "a", "path": "a", "corpus": "c", "split": "train", "duration": 1, "sample_rate": 1, "text": text}
    (tmp_path / "m.jsonl").write_text("\ufeff" + json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    (read,) = read_manifest(tmp_path / "m.jsonl")
    write_index(tmp_path / "store", [Entry(read, 0, 40)])
    assert [entry.recording.text for entry in Store(tmp_path / "store").entries] == [text]


def test_limits_are_per_voice_and_spread() -> None:
    rows = [recording(i, "s") for i in range(10)] + [recording(10, "t"), recording(11, "u", "other")]
    kept = [r.id for r in limit_per_voice(rows, {"c": 2})]
    assert kept == ["0", "5", "10", "11"]


def test_crops_stay_inside_their_recording_and_split(store: Path) -> None:
    pytest.importorskip("torch")
    from fastvoicegrad.training.data.crops import Crops
    from fastvoicegrad.training.data.store import Store

    opened = Store(store)
    crops = Crops(opened, "train", 64)
    for crop in crops.draw(np.random.default_rng(0), 200):
        entry = opened.entries[crop.row]
        assert entry.recording.split == "train"
        assert entry.start <= crop.start
        assert crop.start + crop.frames <= entry.start + entry.frames
    drawn = crops.draw(np.random.default_rng(0), 3)
    assert crops.take("mel", drawn).shape == (3, 80, 64)
    assert crops.take("units", drawn).shape == (3, 64)
    assert crops.wave(drawn).shape == (3, 64 * 256)
    with pytest.raises(ValueError, match="recording of 9999 frames; add longer ones"):
        Crops(opened, "train", 9999)


def test_crops_leave_out_corpora_and_recordings_of_low_quality(store: Path) -> None:
    pytest.importorskip("torch")
    from fastvoicegrad.training.data.crops import Crops
    from fastvoicegrad.training.data.store import Store

    opened = Store(store)
    measured = {"r0": 2.5, "r1": 3.0}  # the others are not measured
    opened.entries = [
        replace(e, recording=replace(e.recording, dnsmos=measured.get(e.recording.id))) for e in opened.entries
    ]
    kept = {e.recording.id for e in Crops(opened, "train", 64, least_dnsmos=3.0).entries}
    assert kept == {e.recording.id for e in opened.split("train")} - {"r0"}
    with pytest.raises(ValueError, match="no 'train' recording"):
        Crops(opened, "train", 64, {"made": 0.0})


def test_waves_and_mels_of_a_crop_belong_together(store: Path) -> None:
    pytest.importorskip("torch")
    from fastvoicegrad.mel import log_mel
    from fastvoicegrad.training.data.crops import Crops
    from fastvoicegrad.training.data.store import Store

    crops = Crops(Store(store), "train", 64)
    drawn = crops.draw(np.random.default_rng(1), 2)
    mel = log_mel(crops.wave(drawn)[0].numpy())
    # Equal but for the mirrored ends and the rounding to 16 bits.
    np.testing.assert_allclose(mel[:, 4:-4], crops.take("mel", drawn)[0, :, 4:-4], atol=0.3)


@pytest.mark.parametrize("text", ["", "{}", "[1]", "{"])
def test_a_damaged_index_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "index.jsonl").write_text(text)
    with pytest.raises(InputError, match=r"index\.jsonl is damaged"):
        Store(tmp_path)


ROW = {"id": "a", "path": "a.wav", "corpus": "c", "split": "train", "duration": 1, "sample_rate": 16000}


def written(folder: Path, *rows: dict[str, object]) -> Path:
    """A manifest of recordings that differ from `ROW` in what is given."""
    (folder / "m.jsonl").write_text("\n".join(json.dumps(ROW | row) for row in rows))
    return folder / "m.jsonl"


def test_an_empty_text_is_none(tmp_path: Path) -> None:
    (read,) = read_manifest(written(tmp_path, {"text": ""}))
    assert read.text is None
    (tmp_path / "index.jsonl").write_text(
        json.dumps({"recording": ROW | {"text": "", "speaker": 0}, "start": 0, "frames": 40}) + "\n"
    )
    (entry,) = Store(tmp_path).entries  # of an older version
    assert (entry.recording.text, entry.recording.speaker) == (None, "0")


def test_an_id_is_there_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"m\.jsonl, line 3: the id a is there twice; rename one or leave it out"):
        read_manifest(written(tmp_path, {"id": "a"}, {"id": "b"}, {"id": "a", "corpus": "other"}))
    with pytest.raises(InputError, match="line 2: the id 1 is there twice"):
        read_manifest(written(tmp_path, {"id": 1}, {"id": "1"}))


@pytest.mark.parametrize("name", [None, ""])
def test_an_id_is_needed(tmp_path: Path, name: str | None) -> None:
    with pytest.raises(InputError, match="line 1: the field 'id' is missing"):
        read_manifest(written(tmp_path, {"id": name}))


def test_speakers_may_be_numbers(tmp_path: Path) -> None:
    speakers = (0, 0, 12, "12", None, "")
    read = read_manifest(written(tmp_path, *({"id": n, "speaker": s} for n, s in enumerate(speakers))))
    assert [recording.id for recording in read] == list("012345")
    assert [recording.voice for recording in read] == ["0", "0", "12", "12", "4", "5"]
    assert [recording.speaker for recording in read] == ["0", "0", "12", "12", None, None]
