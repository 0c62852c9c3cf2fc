from __future__ import annotations

import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from fastvoicegrad import Voice, VoiceConverter, audio
from fastvoicegrad.preview import PLAYERS, SAMPLE, play, render_preview


def test_a_preview_is_the_sample_in_another_voice(converter: VoiceConverter, voice: Voice, tmp_path: Path) -> None:
    render_preview(converter, voice, tmp_path / "preview.wav")
    render_preview(converter, voice, tmp_path / "preview.opus", rate=24000)
    sample, preview = audio.read(SAMPLE), audio.read(tmp_path / "preview.wav")
    assert len(preview) == len(sample)
    assert np.abs(preview - sample).max() > 0.05
    assert (tmp_path / "preview.opus").stat().st_size < 40e3
    assert soundfile.info(tmp_path / "preview.opus").channels == 1
    for name in ("preview.wav", "preview.opus"):
        assert audio.read_tags(tmp_path / name)["comment"].startswith("Converted speech: ")


@pytest.mark.skipif(sys.platform == "win32", reason="programs are shell scripts here")
def test_the_first_player_that_can_plays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr("fastvoicegrad.preview.PLAYERS", [("fvg-fails",), ("fvg-plays", "-q"), ("fvg-missing",)])
    assert not play(tmp_path / "x.wav")
    for name, command in (("fvg-fails", "exit 1"), ("fvg-plays", f'echo "$@" > "{tmp_path}/played"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{command}\n")
        (tmp_path / name).chmod(stat.S_IRWXU)
    assert play(tmp_path / "x.wav")
    assert (tmp_path / "played").read_text().split() == ["-q", str(tmp_path / "x.wav")]


def test_on_windows_without_a_device_nothing_is_played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, flags: int) -> None:
        raise RuntimeError("Failed to play sound")

    module = SimpleNamespace(PlaySound=refuse, SND_FILENAME=1, SND_NODEFAULT=2)
    monkeypatch.setitem(sys.modules, "winsound", module)
    monkeypatch.setattr("fastvoicegrad.preview.sys", SimpleNamespace(platform="win32"))
    assert not play(tmp_path / "x.wav")
    monkeypatch.setattr(module, "PlaySound", lambda path, flags: None)
    assert play(tmp_path / "x.wav")


def test_every_player_is_a_name_with_options() -> None:
    assert all(name.isalpha() or name == "pw-play" for name, *_ in PLAYERS)
