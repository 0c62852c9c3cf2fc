"""Manifests: one JSON object a line, one line a recording."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...files import shown, text_lines


@dataclass(frozen=True)
class Recording:
    """One line of a manifest. `path` is absolute; `sample_rate` is twice the bandwidth that the recording fills.

    Identifiers may be given as numbers. An empty text or speaker is none.
    """

    id: str
    path: str
    corpus: str
    split: str
    duration: float
    sample_rate: int
    speaker: str | None = None
    text: str | None = None
    dnsmos: float | None = None  # its overall naturalness (P.835), where it was measured
    gender: str | None = None
    language: str | None = None

    def __post_init__(self) -> None:
        speaker = None if self.speaker in (None, "") else str(self.speaker)  # 0 is a speaker
        for name, value in {"id": str(self.id), "speaker": speaker, "text": self.text or None}.items():
            object.__setattr__(self, name, value)

    @property
    def voice(self) -> str:
        """The speaker; an unlabelled recording counts as a voice of its own."""
        return self.speaker or self.id


def read_manifest(path: str | Path) -> list[Recording]:
    """Read a manifest; paths in it are relative to its folder.

    Raises:
        InputError: there is no such manifest, a line of it is no recording, or an id is there twice.
    """
    path = Path(path)
    try:
        lines = text_lines(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{shown(path)}: no such manifest, or no text; give a file of JSON lines") from error
    recordings = dict[str, Recording]()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            recording = _recording(json.loads(line), path.parent)
        except KeyError as error:
            raise InputError(f"{shown(path)}, line {number}: the field {error} is missing") from error
        except (ValueError, TypeError) as error:
            raise InputError(f"{shown(path)}, line {number}: not a recording ({error})") from error
        if recording.id in recordings:  # stores and pairs know a recording by its id
            name = shown(recording.id)
            raise InputError(f"{shown(path)}, line {number}: the id {name} is there twice; rename one or leave it out")
        recordings[recording.id] = recording
    return list(recordings.values())


def _recording(row: dict[str, Any], folder: Path) -> Recording:
    if row["id"] in (None, ""):
        raise KeyError("id")
    return Recording(
        id=row["id"],
        path=str((folder / row["path"]).resolve()),
        corpus=row["corpus"],
        split=row["split"],
        duration=float(row["duration"]),
        sample_rate=int(row["sample_rate"]),
        speaker=row.get("speaker"),
        text=row.get("text"),
        dnsmos=row.get("dnsmos"),
        gender=row.get("gender"),
        language=row.get("language"),
    )


def limit_per_voice(recordings: list[Recording], limits: dict[str, int]) -> list[Recording]:
    """Keep at most ``limits[corpus]`` recordings of each voice of a corpus, spread evenly over its list.

    A limit keeps a corpus of few voices or poor sound from dominating the others.
    """
    groups: dict[tuple[str, str], list[Recording]] = defaultdict(list)
    for recording in recordings:
        groups[recording.corpus, recording.voice].append(recording)
    kept: set[str] = set()
    for (corpus, _), group in groups.items():
        limit = min(limits.get(corpus, len(group)), len(group))
        kept.update(group[i * len(group) // limit].id for i in range(limit))
    return [recording for recording in recordings if recording.id in kept]
