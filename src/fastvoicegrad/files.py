"""Files of users: looked at before use, shown in messages, and replaced only by whole ones."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import InputError

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG} if hasattr(errno, "EDQUOT") else {errno.ENOSPC, errno.EFBIG}
# Names of unfinished files, which may hold line breaks; group 1: the process
PART = re.compile(r"\..*\.fastvoicegrad-(\d+)-[0-9a-f]{16}\.part", re.DOTALL)
OLD = 3600.0  # seconds after which an unlocked unfinished file is removed whatever its process number
ADDRESSES = ("http:/", "https:/", "ftp:/")  # a path has one slash there
LONGEST_SHOWN = 100  # characters of a name in a message


def shown(path: str | os.PathLike[str]) -> str:
    """A path as text that every UTF-8 console can print: odd characters are escaped, long names are cut."""
    text = os.fspath(path)
    text = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    text = re.sub(r"\\udc([89a-f][0-9a-f])", r"\\x\1", text)  # bytes of a name that are not UTF-8
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN // 2]}...{text[-LONGEST_SHOWN // 2 :]}"


def text_lines(path: str | os.PathLike[str]) -> list[str]:
    """The lines of a UTF-8 file. `str.splitlines` would also end them at U+2028 and its like, which JSON may hold."""
    return Path(path).read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")


def new_folder(path: Path) -> None:
    """Make a folder and those above it, where they are missing.

    Raises:
        InputError: there is a file of that name, or the system refuses.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{shown(path)} cannot be made a folder ({_reason(error)}); choose another name") from error


def _reason(error: OSError | ValueError) -> str:
    """Why the system refuses a path, in a few words. ValueError: a NUL in the name."""
    if isinstance(error, OSError):
        known = {errno.ENAMETOOLONG: "its name is too long", errno.ELOOP: "its links form a loop"}
        return known.get(error.errno or 0, error.strerror or str(error))
    return "its name is not valid"


def regular_file(path: str | os.PathLike[str]) -> os.stat_result:
    """Facts about a file that can be read as often as needed.

    Raises:
        InputError: missing, a folder, a pipe or device, not readable, or an impossible name.
    """
    try:
        found = os.stat(path)
        if stat.S_ISREG(found.st_mode):
            with open(path, "rb"):
                return found
    except (FileNotFoundError, NotADirectoryError) as error:
        is_address = os.fspath(path).startswith(ADDRESSES)
        advice = "addresses are not read; download the file first" if is_address else "no such file; check its name"
        raise InputError(f"{shown(path)}: {advice}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{shown(path)} cannot be read ({_reason(error)})") from error
    if stat.S_ISDIR(found.st_mode):
        raise InputError(f"{shown(path)} is not a file but a folder; name one file")
    raise InputError(f"{shown(path)} is not a regular file; copy its content into one first")


def check_target(path: str | os.PathLike[str]) -> Path:
    """The file that writing to `path` replaces: links are followed.

    Raises:
        InputError: its folder is missing or closed, or it is a folder, a device, read-only, or an impossible name.
    """
    try:
        found = _stat_if_there(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{shown(path)} cannot be written ({_reason(error)}); choose another name") from error
    target = Path(os.path.realpath(path))
    if found is None and not target.parent.is_dir():
        raise InputError(f"{shown(target.parent)} is not a folder; make it first")
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise InputError(f"{shown(path)} is a folder; name a file in it")
    if found is not None and not stat.S_ISREG(found.st_mode):
        raise InputError(f"{shown(path)} is not a regular file; choose another name")
    if not os.access(target.parent, os.W_OK) or (found is not None and not os.access(target, os.W_OK)):
        raise InputError(f"{shown(path)} cannot be written (permission denied); choose another folder")
    return target


def _stat_if_there(path: str | os.PathLike[str]) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


@contextmanager
def replacing(path: str | os.PathLike[str], suffix: str = "") -> Iterator[Path]:
    """Gives an empty file beside `path` to write to; it takes the place of `path` if the block ends without an error.

    An existing file keeps its permissions and, where the system allows it, its owner. A link stays a link.
    Unfinished files of killed processes in the same folder are removed.

    Args:
        suffix: the unfinished file's, such as ".wav", for libraries that look at it.
    Raises:
        InputError: see `check_target`; also where the disk has no room left.
    """
    target = check_target(path)
    _remove_unfinished(target.parent)
    before = _stat_if_there(target)
    mode = 0o666 if before is None else stat.S_IMODE(before.st_mode) & 0o777 | 0o600
    part = target.with_name(f".{target.stem[:40]}.fastvoicegrad-{os.getpid()}-{secrets.token_hex(8)}.part{suffix}")
    with _as_input_error(path):
        handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
    try:
        try:
            if sys.platform != "win32":  # where no process removes an open file, and a lock also stops other handles
                lock(handle)
            yield part
            with _as_input_error(path):
                os.fsync(handle)  # a delayed "disk full" appears here
        finally:
            os.close(handle)
        with _as_input_error(path):
            if before is not None:
                _like(part, before)
            os.replace(part, target)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise no_room(path) from error
        raise


@contextmanager
def _as_input_error(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise no_room(path) from error
        raise InputError(f"{shown(path)} cannot be written ({_reason(error)}); choose another folder") from error


@contextmanager
def scratch_folder(prefix: str = "fastvoicegrad-") -> Iterator[Path]:
    """A folder for temporary files, deleted at the end.

    Raises:
        InputError: there is no place for it.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)
    except OSError as error:
        raise InputError("no folder for temporary files can be written; free some room, or set TMPDIR") from error
    with folder as name:
        yield Path(name)


def no_room(path: str | os.PathLike[str]) -> InputError:
    """The error for a disk that is full."""
    return InputError(f"no room left on the disk for {shown(path)}; free some and try again")


def _like(part: Path, before: os.stat_result) -> None:
    """Gives `part` the owner and the permissions of the file that it replaces."""
    if hasattr(os, "chown"):
        with suppress(OSError):
            os.chown(part, before.st_uid, before.st_gid)
    with suppress(OSError):
        os.chmod(part, stat.S_IMODE(before.st_mode))


# -- unfinished files of processes that were killed ---------------------------------------------------------


LOCKED_BYTE = 1 << 30  # far behind the end: on Windows no other handle reads or writes a locked byte


def lock(handle: int) -> bool | None:
    """Locks an open file as long as its process lives.

    Returns:
        False: another process holds the lock. None: this file system has no locks.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            place = os.lseek(handle, 0, os.SEEK_CUR)
            os.lseek(handle, LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            os.lseek(handle, place, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else None
    return True


def _runs(process: int) -> bool:
    if sys.platform == "win32":
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _remove_unfinished(folder: Path) -> None:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = PART.match(entry.name)
            if match:
                with suppress(OSError):
                    _remove_if_abandoned(Path(entry.path), int(match[1]))


def _remove_if_abandoned(part: Path, process: int) -> None:
    found = os.lstat(part)
    old = time.time() - found.st_mtime >= OLD
    if not stat.S_ISREG(found.st_mode) or (_runs(process) and not old):
        return
    handle = os.open(part, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    try:
        free = lock(handle)
    finally:
        os.close(handle)
    if free or (free is None and old):  # without locks, the process may run on another computer
        part.unlink()


def same_file(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Whether two paths name one file, which need not exist."""
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):  # one of them does not exist
        return os.path.abspath(one) == os.path.abspath(other)


def is_below(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> bool:
    """Whether a path leads into a folder, or to the folder itself. Links are followed; the path need not exist."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
