"""Which folders a demo takes for one of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fastvoicegrad import InputError
from fastvoicegrad.demo import RECORDINGS, SAMPLES, make_demo


@pytest.fixture(autouse=True)
def _no_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the folder matters here: a demo ends where its recordings are in their places."""

    def end(path: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr("fastvoicegrad.demo.check_target", end)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("stopped_at", range(len(RECORDINGS)))
def test_a_demo_is_made_again_wherever_it_was_stopped(tmp_path: Path, stopped_at: int, share: float) -> None:
    for number, name in enumerate(RECORDINGS[: stopped_at + 1]):
        whole = (SAMPLES / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: round(share * len(whole))] if number == stopped_at else whole)
    with pytest.raises(KeyboardInterrupt):
        make_demo(tmp_path)
    assert [(tmp_path / name).read_bytes() for name in RECORDINGS] == [
        (SAMPLES / name).read_bytes() for name in RECORDINGS
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31m", "x" * 300])
def test_a_folder_that_a_demo_refuses_is_named_in_one_line(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    if len(name) < 100:
        folder.mkdir()
        (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"is not empty|cannot be made") as error:
        make_demo(folder)
    assert str(error.value).isprintable()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="cannot be made") as error:
        make_demo(tmp_path / "file" / name)
    assert str(error.value).isprintable()
