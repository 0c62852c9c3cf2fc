"""Child processes that cannot start."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from fastvoicegrad.children import Child
from fastvoicegrad.errors import InputError


def test_a_child_looks_for_modules_as_imports_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Imports pass over what is no text."""
    monkeypatch.setattr("sys.path", [tmp_path, *sys.path])
    child = Child("fastvoicegrad.batch.worker", None)
    with pytest.raises(InputError, match="'NoneType' object has no attribute 'converter'"):
        child.start()
    child.stop()
    child.wait()


def refuse(*arguments: object, **options: object) -> None:
    raise OSError(24, "Too many open files")


def test_a_child_that_is_not_needed_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    child = Child("fastvoicegrad.batch.worker", None)
    child.stop()
    child.wait()


def test_a_system_that_starts_no_process_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", refuse)
    child = Child("fastvoicegrad.batch.worker", None)
    with pytest.raises(InputError, match="cannot start .Too many open files."):
        child.start()
    child.stop()
    child.wait()
