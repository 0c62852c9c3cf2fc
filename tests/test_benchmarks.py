"""What the benchmarks need before they measure anything, and the units that they print."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest
from benchmarks import loudness, speed


@pytest.mark.parametrize(("platform", "maxrss"), [("linux", 300 << 10), ("darwin", 300 << 20)])
def test_the_peak_is_in_mb_on_each_system(monkeypatch: pytest.MonkeyPatch, platform: str, maxrss: int) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert speed.peak_mb(maxrss) == 300


@pytest.mark.parametrize("command", [["server"], ["hostile_uploads"], ["stream", "paced", "--untrained"]])
def test_without_proc_a_benchmark_ends_with_one_line(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("httpx")
    benchmark = import_module(f"benchmarks.{command[0]}")
    monkeypatch.setattr("benchmarks.resident.PROCESSES", tmp_path)
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit, match="^this benchmark reads .* which only Linux has; run it there$"):
        benchmark.main()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_memory_of_a_process_is_read() -> None:
    from benchmarks.resident import needs_linux, resident_mb

    needs_linux()
    assert 1 < resident_mb() < 1 << 20


def manifest(folder: Path, speakers: dict[str, int]) -> Path:
    """Speakers of the corpus "some" with so many recordings each."""
    rows = [
        {"corpus": "some", "split": "test", "speaker": name, "path": f"{name}{number}.flac"}
        for name, count in speakers.items()
        for number in range(count)
    ]
    path = folder / "manifest.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_speakers_without_a_source_are_left_out(tmp_path: Path) -> None:
    path = manifest(tmp_path, {"": 9, "one": 1, "three": 3, "four": 4, "five": 5})
    found = loudness.voices_of(path, "some", "test")
    assert {name: len(paths) for name, paths in found.items()} == {"four": 4, "five": 5}
    assert found["four"][0] == tmp_path / "four0.flac"


@pytest.mark.parametrize(("corpus", "split"), [("typo", "test"), ("some", "typo"), ("some", "test")])
def test_without_speakers_the_loudness_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, corpus: str, split: str
) -> None:
    path = manifest(tmp_path, {"one": 3, "two": 3})
    monkeypatch.setattr(sys, "argv", ["loudness", str(path), "--corpus", corpus, "--split", split])
    with pytest.raises(SystemExit, match=f"corpus '{corpus}', split '{split}', has more than 3 recordings$"):
        loudness.main()
