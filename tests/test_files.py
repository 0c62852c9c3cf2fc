"""Odd names and kinds of files, and replacing files only by whole ones."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastvoicegrad import InputError
from fastvoicegrad.files import OLD, PART, check_target, regular_file, replacing, scratch_folder, shown

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    text.encode("utf-8")
    return text


def test_shown_is_printable_and_short() -> None:
    assert shown("a.wav") == "a.wav"
    assert shown("声.wav") == "声.wav"
    assert shown(os.fsdecode(b"caf\xe9.wav")) == "caf\\xe9.wav"
    assert shown("a\nb\x1b[31m.wav") == "a\\nb\\x1b[31m.wav"
    assert len(shown("a" * 300)) < 110


@posix
def test_odd_inputs_end_in_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    os.symlink("loop.wav", tmp_path / "loop.wav")
    for path, text in {
        tmp_path / "missing.wav": "no such file",
        tmp_path / "missing" / "x.wav": "no such file",
        tmp_path: "is not a file but a folder",
        tmp_path / "pipe.wav": "is not a regular file",
        Path("/dev/zero"): "is not a regular file",
        tmp_path / "loop.wav": "links form a loop",
        tmp_path / ("a" * 300 + ".wav"): "name is too long",
        Path("a\0b.wav"): "name is not valid",
    }.items():
        with pytest.raises(InputError, match=text) as error:
            regular_file(path)
        one_line(error)


@posix
def test_odd_outputs_end_in_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    os.symlink("loop.wav", tmp_path / "loop.wav")
    os.symlink("/dev/null", tmp_path / "null.wav")
    for path, text in {
        tmp_path / "missing" / "x.wav": "is not a folder",
        tmp_path: "is a folder",
        tmp_path / "pipe.wav": "is not a regular file",
        tmp_path / "null.wav": "is not a regular file",
        tmp_path / "loop.wav": "links form a loop",
        tmp_path / ("a" * 300 + ".wav"): "name is too long",
        Path("a\0b.wav"): "name is not valid",
    }.items():
        with pytest.raises(InputError, match=text) as error, replacing(path):
            pass
        one_line(error)


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "closed"
    folder.mkdir()
    (folder / "x.wav").write_bytes(b"x")
    folder.chmod(0)
    yield folder
    folder.chmod(0o755)


UNPRIVILEGED = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]


@posix
def test_closed_folders(closed: Path) -> None:
    code = (
        "import sys; from fastvoicegrad.files import *; from fastvoicegrad import InputError\n"
        "for check in (regular_file, check_target):\n"
        "    try: check(sys.argv[1])\n"
        "    except InputError as error: print(error)\n"
    )
    root = os.geteuid() == 0
    if root and shutil.which("setpriv") is None:
        pytest.skip("root may read everything")
    command = [*(UNPRIVILEGED if root else []), sys.executable, "-c", code, str(closed / "x.wav")]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(lines) == 2
    assert all("(Permission denied)" in line for line in lines)


# -- replacing ------------------------------------------------------------------------------------------------


def test_a_place_for_temporary_files_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    with scratch_folder() as folder:
        (folder / "part").write_text("sound")
    assert not folder.exists()

    def refuse(*_: object) -> str:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(InputError, match="no folder for temporary files can be written"), scratch_folder():
        pass


def test_replaces_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "x.voice"
    path.write_bytes(b"old")
    with replacing(path, ".npz") as part:
        part.write_bytes(b"new")
        assert part.suffix == ".npz"
        assert PART.match(part.name)
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_after_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "x.voice"
    path.write_bytes(b"old")
    with pytest.raises(error), replacing(path) as part:  # noqa: PT012
        part.write_bytes(b"half")
        raise error
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no room left on the disk for .*x.voice"), replacing(tmp_path / "x.voice"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_other_errors_of_the_block_stay(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), replacing(tmp_path / "x.voice"):
        raise PermissionError(errno.EACCES, "of another file")


@posix
def test_permissions_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for mode in (0o600, 0o640, 0o666):
        path.write_bytes(b"old")
        path.chmod(mode)
        with replacing(path) as part:
            assert stat.S_IMODE(part.stat().st_mode) & ~mode == 0
        assert stat.S_IMODE(path.stat().st_mode) == mode


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_the_owner_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    os.chown(path, 12345, 12346)
    with replacing(path):
        pass
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12346)


@posix
def test_new_files_follow_the_umask(tmp_path: Path) -> None:
    for mask in ("027", "077", "000"):
        code = f"from fastvoicegrad.files import replacing\nwith replacing({str(tmp_path / mask)!r}): pass"
        subprocess.run(["sh", "-c", f'umask {mask}; exec "$0" -c "$1"', sys.executable, code], check=True)
        assert stat.S_IMODE((tmp_path / mask).stat().st_mode) == 0o666 & ~int(mask, 8)


@posix
def test_links_stay_links(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for name, target in {"old.wav": "there/old.wav", "new.wav": "there/new.wav"}.items():
        (tmp_path / name).symlink_to(target)
    (tmp_path / "there" / "old.wav").write_bytes(b"old")
    for name in ("old.wav", "new.wav"):
        with replacing(tmp_path / name) as part:
            part.write_bytes(b"new")
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "there" / name).read_bytes() == b"new"
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["new.wav", "new.wav", "old.wav", "old.wav", "there"]


def test_long_names(tmp_path: Path) -> None:
    for name in ("a" * 251 + ".wav", "声" * 83 + ".wav"):
        with replacing(tmp_path / name, ".wav") as part:
            part.write_bytes(b"new")
        assert (tmp_path / name).read_bytes() == b"new"


# -- unfinished files of killed processes ---------------------------------------------------------------------

KILLED = """
import sys, time
from fastvoicegrad.files import replacing
with replacing(sys.argv[1], ".wav") as part:
    part.write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)
"""


@posix
@pytest.mark.parametrize("name", ["x", "x y", "x\ny", "\n"])
def test_unfinished_files_of_killed_processes_are_removed(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.wav"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with replacing(tmp_path / "y.wav"):  # its process lives: it stays
            assert len(list(tmp_path.iterdir())) == 2
        assert len(list(tmp_path.glob(f".{name}.fastvoicegrad-*.part.wav"))) == 1
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(list(tmp_path.glob(f".{name}.fastvoicegrad-*.part.wav"))) == 1
    others = [tmp_path / ".x.wav", tmp_path / ".x.fastvoicegrad-1-2.part.wav", tmp_path / "x.part.wav"]
    for other in others:
        other.write_bytes(b"of the user")
    with replacing(path) as part:
        assert sorted(tmp_path.iterdir()) == sorted([part, tmp_path / "y.wav", *others])


@posix
def test_without_locks_a_part_of_another_computer_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    part = tmp_path / f".x.fastvoicegrad-{2**22 + 1}-{'0' * 16}.part.wav"  # no process has such a number here
    part.write_bytes(b"half")
    for age, stays in ((60, True), (2 * OLD, False)):
        os.utime(part, (time.time() - age,) * 2)
        with replacing(tmp_path / "y.wav"):
            assert part.exists() == stays


@posix
def test_links_with_such_a_name_stay(tmp_path: Path) -> None:
    link = tmp_path / f".x.fastvoicegrad-{2**22 + 1}-{'0' * 16}.part.wav"
    link.symlink_to("victim")
    (tmp_path / "victim").write_bytes(b"victim")
    with replacing(tmp_path / "x.wav"):
        pass
    assert (tmp_path / "victim").exists()
    assert link.is_symlink()
    assert check_target(tmp_path / "x.wav") == (tmp_path / "x.wav").resolve()


@pytest.mark.parametrize("path", ["https://example.org/a.wav", Path("http://example.org/a.wav")])
def test_addresses_are_not_read(path: str | Path) -> None:
    with pytest.raises(InputError, match="download the file first"):
        regular_file(path)
