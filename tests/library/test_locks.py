"""Locks between processes."""

from __future__ import annotations

import errno
import sys
import threading
from pathlib import Path

import pytest

from fastvoicegrad import InputError
from fastvoicegrad.library.locks import locked


def test_a_second_holder_waits(tmp_path: Path) -> None:
    order, inside = list[str](), threading.Event()

    def second() -> None:
        inside.wait()
        with locked(tmp_path / "lock"):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with locked(tmp_path / "lock"):
        inside.set()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


@pytest.mark.skipif(sys.platform == "win32", reason="has other locks")
def test_file_systems_without_locks_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def refuse(handle: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path / "lock"):
        pass


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none cannot be written"), locked(tmp_path / "none" / "lock"):
        pass
