from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from fastvoicegrad.evaluation.page import _worst
from fastvoicegrad.evaluation.report import finite, link_waves


def test_figures_that_json_lacks_are_left_empty() -> None:
    """A silent output has a level of minus infinity, and Windows no figure of memory."""
    assert finite({"a": [float("nan"), 1.0], "b": (float("-inf"), "x")}) == {"a": [None, 1.0], "b": [None, "x"]}
    column = {"name": "level", "better": "higher", "weight": "", "digits": 1}
    rows = {"ours": [{"level": level} for level in (float("-inf"), 2.0, 1.0, 3.0)]}
    report = {"metrics": [{"columns": [column]}], "rows": rows}
    assert _worst(finite(report)) == {"level": [("ours", 2), ("ours", 1), ("ours", 3)]}


@pytest.mark.parametrize("links", [True, False])
def test_waves_have_the_names_of_their_pairs(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids may hold "/". Without links of the file system they are copies."""

    def refuse(*_: object) -> None:
        raise OSError("no links here")

    if not links:
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    (tmp_path / "one.flac").write_text("sound")
    report = {"pairs": ["p225/001--p226"], "rows": {"ours": [{"file": "one.flac"}]}}
    for _ in range(2):
        link_waves(report, tmp_path)
    made = tmp_path / "waves" / "ours" / "p225" / "001--p226.flac"
    assert made.read_text() == "sound"
    assert made.samefile(tmp_path / "one.flac") == links
