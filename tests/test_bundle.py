from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

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


def test_default_bundle_is_small_and_says_what_it_is() -> None:
    assert sum(f.stat().st_size for f in DEFAULT.iterdir()) < 48e6
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


def test_a_bundle_of_the_format_before_does_without_later_settings(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text()) | {"format": 3}
    del config["temperature"], config["guidance_cosines"], config["postfilter"]
    (copy / "config.json").write_text(json.dumps(config))
    opened = Bundle.open(copy).config
    assert opened.temperature == 1
    assert opened.guidance_cosines == MEL.n_mels
    assert opened.postfilter == PostFilter()


@pytest.mark.parametrize("changes", [{"format": "x"}, {"networks": {}}, {"surprise": 1}, {"mel": {"hop_length": 200}}])
def test_broken_config_is_refused(copy: Path, changes: dict[str, object]) -> None:
    edit(copy, **changes)
    with pytest.raises(InputError):
        Bundle.open(copy)


def test_config_that_is_not_json(copy: Path) -> None:
    (copy / "config.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        Bundle.open(copy)


def test_a_network_cannot_point_outside(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["networks"]["content"]["file"] = "../../etc/passwd"
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="missing"):
        Bundle.open(copy)


def test_matrix_products_keep_to_one_thread_beside_networks_and_are_free_afterwards() -> None:
    def threads() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    with threadpool_limits(2, "blas"):
        before = threads()
        with Bundle.open().alone():
            assert threads() == [1] * len(before)
        assert threads() == before
