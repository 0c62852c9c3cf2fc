"""Real-time priority is asked for, kept to one thread, and never needed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from fastvoicegrad import realtime

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="needs priorities of threads")


def in_a_thread(work):  # type: ignore[no-untyped-def]
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def test_a_thread_gets_it_alone() -> None:
    """What it starts has the ordinary priority again."""
    show = "import os; print(os.sched_getscheduler(0))"

    def asked() -> tuple[bool, int, str]:
        granted = realtime.prefer_thread()
        child = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
        return granted, os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK, child.stdout.strip()

    before = os.sched_getscheduler(0)
    granted, policy, child = in_a_thread(asked)
    assert policy == (os.SCHED_RR if granted else before)
    assert child == str(before)
    assert os.sched_getscheduler(0) == before


def test_a_refusal_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    assert in_a_thread(realtime.prefer_thread) is False
    monkeypatch.delattr(os, "sched_setscheduler")
    assert in_a_thread(realtime.prefer_thread) is False
