"""The report as one HTML page that plays sound and links to nothing."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from ..mel import MEL, log_mel
from .cache import fingerprint
from .metrics import RATE, load_16k
from .pairs import Pair
from .tables import columns_by_table, columns_of

WORST = 10  # utterances shown for each metric
SHOWN = 12  # further pairs to listen to
ANCHORS = ("natural", "source")  # systems that are never among the worst


def _worst(report: dict[str, Any]) -> dict[str, list[tuple[str, int]]]:
    """The worst utterances by each column that has a better direction: (system, number of the pair)."""
    worst = {}
    for column in columns_of(report):
        if not column.better:
            continue
        known = [
            (row[column.name] * (1 if column.better == "higher" else -1), name, index)
            for name, rows in report["rows"].items()
            for index, row in enumerate(rows)
            if row.get(column.name) is not None and name not in ANCHORS
        ]
        if len({value for value, _, _ in known}) > 2:  # a yes-or-no figure has no worst utterance
            worst[column.name] = [(name, index) for _, name, index in sorted(known)[:WORST]]
    return worst


def _data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _sound(path: str) -> str:
    """A recording as Ogg Opus in a data URL."""
    file = io.BytesIO()
    soundfile.write(file, load_16k(path), RATE, format="OGG", subtype="OPUS")
    return _data_url("audio/ogg", file.getvalue())


def _picture(path: str) -> str:
    """A recording's mel, low bands at the bottom, as PNG in a data URL."""
    import soxr
    from matplotlib.image import imsave

    wave = np.asarray(soxr.resample(load_16k(path), RATE, MEL.sample_rate), dtype=np.float32)
    file = io.BytesIO()
    imsave(file, log_mel(wave)[::-1], cmap="magma", vmin=-10, vmax=1, format="png")
    return _data_url("image/png", file.getvalue())


def html(report: dict[str, Any], pairs: list[Pair], out: Path) -> str:
    """Tables, distributions, every figure, and the worst cases to listen to.

    Args:
        out: folder that the rows' files are relative to.
    """
    worst = _worst(report)
    shown = {index for cases in worst.values() for _, index in cases}
    shown |= {int(i) for i in np.linspace(0, len(pairs) - 1, min(SHOWN, len(pairs)))}
    media: dict[str, dict[str, str]] = {}

    def medium(path: str) -> str:
        key = fingerprint(path)[:12]
        if key not in media:
            media[key] = {"sound": _sound(path), "picture": _picture(path)}
        return key

    cases = {}
    for index in sorted(shown):
        pair = pairs[index]
        played = {"the source": pair.source.path, "the target": pair.references[0].path}
        played |= {name: str(out / rows[index]["file"]) for name, rows in report["rows"].items()}
        cases[index] = {name: medium(path) for name, path in played.items()}
    tables = {title: [column.name for column in columns] for title, columns in columns_by_table(report).items()}
    data = report | {"worst": worst, "cases": cases, "media": media, "tables": tables}
    page = (Path(__file__).parent / "report.html").read_text(encoding="utf-8")
    return page.replace("/*DATA*/", json.dumps(data).replace("</", "<\\/"))
