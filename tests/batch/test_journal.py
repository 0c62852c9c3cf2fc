"""The log of a folder: what it keeps, and what it survives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastvoicegrad import InputError
from fastvoicegrad.batch import journal as journal_module
from fastvoicegrad.batch.journal import NAME, Entry, Journal, is_as_written, results_of, sha256_of


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.wav"
    path.write_bytes(b"sound")
    return path


def entry_of(source: Path, folder: Path, output: str = "a.wav", **facts: str) -> Entry:
    (folder / output).write_bytes(b"result")
    return Entry(str(source), sha256_of(source), "settings", output, sha256_of(folder / output), **facts)


def is_done(folder: Path, source: Path, settings: str = "settings") -> bool:
    journal = Journal(folder)
    try:
        return journal.is_done(source, Path("a.wav"), settings)
    finally:
        journal.close()


@pytest.fixture
def folder(tmp_path: Path, source: Path) -> Path:
    """A folder with one result."""
    folder = tmp_path / "out" / "deep"
    journal = Journal(folder)
    assert not journal.is_done(source, Path("a.wav"), "settings")
    journal.add(entry_of(source, folder))
    assert journal.is_done(source, Path("a.wav"), "settings")
    journal.close()
    return folder


def test_what_is_done_stays_done(folder: Path, source: Path) -> None:
    assert is_done(folder, source)
    source.touch()
    (folder / "a.wav").touch()
    assert is_done(folder, source)  # bytes count, not times


def test_changes_are_noticed(folder: Path, source: Path) -> None:
    assert not is_done(folder, source, "other settings")
    (folder / "a.wav").write_bytes(b"resulT")
    assert not is_done(folder, source)
    (folder / "a.wav").unlink()
    assert not is_done(folder, source)
    (folder / "a.wav").write_bytes(b"result")
    assert is_done(folder, source)
    source.write_bytes(b"other")
    assert not is_done(folder, source)
    source.unlink()
    assert not is_done(folder, source)


def test_no_result_is_read_twice_however_many_there_are(
    folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, read = 20_000, list[Path]()
    entries = [Entry(str(source), "", "settings", f"{number}.wav") for number in range(count)]
    state = os.stat(source)
    monkeypatch.setattr(Path, "stat", lambda self: state)  # so many files would take long on some systems
    monkeypatch.setattr(journal_module, "sha256_of", lambda path: read.append(path) or "digest")
    for _ in range(2):
        assert not any(is_as_written(folder, entry) for entry in entries)
    assert len(read) == count
    source.write_bytes(b"changed")
    state = os.stat(source)
    assert not is_as_written(folder, entries[7])
    assert len(read) == count + 1


def test_a_failure_is_not_done(folder: Path, source: Path) -> None:
    journal = Journal(folder)
    journal.add(entry_of(source, folder, error="it is broken"))
    assert not journal.results["a.wav"].error  # the file is still there, and still this recording's
    journal.close()
    assert not is_done(folder, source)
    assert not results_of(folder / NAME)["a.wav"].error


def test_every_length_of_a_torn_line_is_survived(folder: Path, source: Path) -> None:
    whole = (folder / NAME).read_bytes()
    for length in range(0, len(whole) - 1, 7):  # without its newline alone, a line is whole
        (folder / NAME).write_bytes(whole[:length])
        journal = Journal(folder)
        assert not journal.is_done(source, Path("a.wav"), "settings")
        journal.add(entry_of(source, folder))
        journal.close()
        assert is_done(folder, source)


def test_lines_that_are_no_entries_are_left_aside(folder: Path, source: Path) -> None:
    with (folder / NAME).open("ab") as file:
        file.write(b"{}\n[1]\nnull\n\xff\xfe\n" + b"[" * 100_000 + b'\n{"output": 3}\n\n')
    assert is_done(folder, source)


def test_names_that_are_no_text(folder: Path, source: Path) -> None:
    journal = Journal(folder)
    journal.add(Entry("/odd/\udcff.wav", "1", "s", "\udcff.wav", error="none"))
    journal.close()
    assert json.loads((folder / NAME).read_text("ascii").splitlines()[-1])["output"] == "\udcff.wav"
    assert is_done(folder, source)


def test_a_folder_that_cannot_be(tmp_path: Path, source: Path) -> None:
    for bad in (source, source / "below", tmp_path / "a\0b"):
        with pytest.raises(InputError, match=r"not a folder|no results can be written"):
            Journal(bad)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no lock")
def test_one_run_at_a_time(folder: Path) -> None:
    journal = Journal(folder)
    code = f"from fastvoicegrad.batch.journal import Journal; from pathlib import Path; Journal(Path({str(folder)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "another run converts into this folder" in done.stderr
    journal.close()
    subprocess.run([sys.executable, "-c", code], check=True)
