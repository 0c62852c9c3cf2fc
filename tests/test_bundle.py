from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastvoicegrad import Bundle, InputError
from fastvoicegrad.bundle import DEFAULT
from fastvoicegrad.mel import MEL
from fastvoicegrad.postfilter import PostFilter


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEFAULT, tmp_path / "bundle"))


def edit(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))


def test_default_bundle_is_small_and_described() -> None:
    assert sum(f.stat().st_size for f in DEFAULT.iterdir()) <= 20e6
    notes = Bundle.open().config.notes
    assert {"license", "training_data", "intended_use"} <= set(notes)


def test_zip_equals_folder(tmp_path: Path, speech: np.ndarray) -> None:
    path = tmp_path / "bundle.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in DEFAULT.iterdir():
            archive.write(file, file.name)
    mel = np.random.default_rng(0).normal(-5, 2, (1, 80, 64)).astype(np.float32)
    for name in ("content", "speaker", "pitch", "vocoder"):
        for a, b in zip(Bundle.open(path).run(name, mel=mel), Bundle.open().run(name, mel=mel), strict=True):
            np.testing.assert_array_equal(a, b)


def test_missing(tmp_path: Path) -> None:
    for path, text in ((tmp_path / "none", "no such bundle"), (tmp_path, "no config.json")):
        with pytest.raises(InputError, match=text):
            Bundle.open(path)


def test_damaged_network_is_refused(copy: Path) -> None:
    data = bytearray((copy / "vocoder.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "vocoder.onnx").write_bytes(data)
    with pytest.raises(InputError, match="vocoder.*damaged"):
        Bundle.open(copy)


def test_missing_network_is_refused(copy: Path) -> None:
    (copy / "content.onnx").unlink()
    with pytest.raises(InputError, match=r"content\.onnx is missing"):
        Bundle.open(copy)


def test_newer_format_is_refused(copy: Path) -> None:
    edit(copy, format=99)
    with pytest.raises(InputError, match="pip install -U"):
        Bundle.open(copy)


def test_older_format_is_refused(copy: Path) -> None:
    edit(copy, format=1)
    with pytest.raises(InputError, match="export the bundle again"):
        Bundle.open(copy)


def test_settings_of_later_formats_have_defaults(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text()) | {"format": 3}
    del config["temperature"], config["guidance_cosines"], config["postfilter"]
    (copy / "config.json").write_text(json.dumps(config))
    opened = Bundle.open(copy).config
    assert opened.temperature == 1
    assert opened.guidance_cosines == MEL.n_mels
    assert opened.postfilter == PostFilter()


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "x"},
        {"networks": {}},
        {"surprise": 1},
        {"mel": {"hop_length": 200}},
        {"steps": 10**8},
        {"start": 0},
        {"corrections": 10**9},
        {"mel_mean": [0.0] * 79},
        {"mel_std": [0.0] * 80},
        {"mel_std": [1e400] * 80},
        {"temperature": "hot"},
        {"postfilter": {"smoothing": 9}},
    ],
)
def test_broken_config_is_refused(copy: Path, changes: dict[str, object]) -> None:
    edit(copy, **changes)
    with pytest.raises(InputError):
        Bundle.open(copy)


def test_config_that_is_not_json(copy: Path) -> None:
    (copy / "config.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        Bundle.open(copy)


@pytest.mark.parametrize("file", ["../outside.onnx", "/tmp/outside.onnx", "sub/content.onnx", "content.txt", ""])
def test_a_network_is_named_by_a_plain_file_name(copy: Path, file: str) -> None:
    config = json.loads((copy / "config.json").read_text())
    shutil.copyfile(copy / "content.onnx", copy.parent / "outside.onnx")
    config["networks"]["content"]["file"] = file
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="file"):
        Bundle.open(copy)


def test_names_of_older_formats_are_read(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text()) | {"format": 4}
    config["draft"] = config.pop("retrieval")
    config["postfilter"]["varied"] = config["postfilter"].pop("match_variance")
    del config["version"]
    (copy / "config.json").write_text(json.dumps(config))
    opened, default = Bundle.open(copy).config, Bundle.open().config
    assert opened == replace(default, version="")


def test_a_network_replaced_after_opening_is_refused(copy: Path) -> None:
    opened = Bundle.open(copy)
    shutil.copyfile(copy / "pitch.onnx", copy / "content.onnx")
    with pytest.raises(InputError, match="damaged"):
        opened.session("content")


def test_a_relative_path_stays_valid_elsewhere(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy.parent)
    opened = Bundle.open("bundle")
    monkeypatch.chdir("/")
    assert opened.session("pitch")


def test_a_bundle_can_be_pickled() -> None:
    opened = Bundle.open()
    mel = np.zeros((80, 16), np.float32)
    expected = opened.content(mel)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(opened)).content(mel), expected)
