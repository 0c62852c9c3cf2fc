from __future__ import annotations

import errno
import io
import json
import math
import os
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastvoicegrad import InputError, Voice
from fastvoicegrad.voice import FORMAT, MOST_FRAMES, pool


def unit(*x: float) -> np.ndarray:
    v = np.array(x, np.float32)
    return v / np.linalg.norm(v)


def voice_of(embedding: np.ndarray, encoder: str, seconds: float, name: str = "", frames: int = 8) -> Voice:
    """Every frame of the mel holds the voice's duration."""
    keys, mel = np.zeros((144, frames), np.float32), np.full((80, frames), seconds, np.float32)
    return Voice(embedding, keys, mel, 100 * seconds, encoder, seconds, [name])


def test_round_trip(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    keys, mel = (random.standard_normal((n, 7)).astype(np.float32) for n in (144, 80))
    voice = Voice(unit(1, 2, 3), keys, mel, 123.5, "abc", 4.5, ["a.wav"])
    voice.save(tmp_path / "x.voice")
    again = Voice.load(tmp_path / "x.voice")
    np.testing.assert_allclose(again.embedding, voice.embedding, atol=1e-7)
    np.testing.assert_allclose(again.keys, keys, atol=2e-3)
    np.testing.assert_allclose(again.mel, mel, atol=2e-3)
    assert (again.pitch, again.encoder, again.seconds, again.sources) == (123.5, "abc", 4.5, ["a.wav"])
    assert [p.name for p in tmp_path.iterdir()] == ["x.voice"]


def test_pooling_is_by_duration_and_weight() -> None:
    a, b = voice_of(unit(1, 0), "e", 3.0, "a"), voice_of(unit(0, 1), "e", 1.0, "b")
    np.testing.assert_allclose(pool([a, b]).embedding, unit(3, 1), atol=1e-6)
    np.testing.assert_allclose(pool([a, b], [1, 3]).embedding, unit(1, 1), atol=1e-6)
    assert pool([a, b]).pitch == pytest.approx(300**0.75 * 100**0.25)  # three parts to one, on a musical scale
    assert pool([a, b]).seconds == 4.0
    assert pool([a, b]).sources == ["a", "b"]


def test_frames_are_shared_by_duration_and_weight() -> None:
    """Of two voices with equally many frames, the one with three times the weight gives three times the frames."""
    a, b = voice_of(unit(1, 0), "e", 3.0, frames=600), voice_of(unit(0, 1), "e", 1.0, frames=600)
    assert [(pool([a, b]).mel[0] == seconds).sum() for seconds in (3.0, 1.0)] == [600, 200]
    assert [(pool([a, b], [0, 1]).mel[0] == seconds).sum() for seconds in (3.0, 1.0)] == [0, 600]
    long = voice_of(unit(1, 0), "e", 3.0, frames=MOST_FRAMES)
    assert pool([long, long]).keys.shape == (144, MOST_FRAMES)


def test_bad_pools() -> None:
    a, b = voice_of(unit(1, 0), "e", 3.0), voice_of(unit(0, 1), "f", 1.0)
    for voices, weights, text in (
        ([], None, "no reference"),
        ([a, b], None, "different bundles"),
        ([a], [-1.0], "weights"),
    ):
        with pytest.raises(InputError, match=text):
            pool(voices, weights)


def about(**changed: object) -> np.ndarray:
    return np.array(
        json.dumps({"format": FORMAT, "pitch": 100.0, "encoder": "", "seconds": 1.0, "sources": []} | changed)
    )


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": 1, "embedding": [1], "encoder": "", "seconds": 1}'])
def test_files_of_another_kind_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.voice").write_text(text)
    with pytest.raises(InputError, match="voice make"):
        Voice.load(tmp_path / "x.voice")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"about": about(format=99)}, "format 99"),
        ({"about": about(surprise=1)}, "damaged"),
        ({"about": about(pitch=0.0)}, "damaged"),
        ({"embedding": np.ones((1, 2))}, "damaged"),
        ({"keys": np.ones((144, 3))}, "damaged"),
        ({"mel": np.full((80, 2), np.nan)}, "damaged"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, changed: dict[str, np.ndarray], message: str) -> None:
    whole = {"about": about(), "embedding": np.ones(2), "keys": np.ones((144, 2)), "mel": np.ones((80, 2))}
    with (tmp_path / "x.voice").open("wb") as file:
        np.savez(file, **(whole | changed))
    with pytest.raises(InputError, match=message):
        Voice.load(tmp_path / "x.voice")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    voice_of(unit(1, 0), "e", 1.0).save(tmp_path / "x.voice")
    data = (tmp_path / "x.voice").read_bytes()
    (tmp_path / "x.voice").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="voice make"):
        Voice.load(tmp_path / "x.voice")


def npz(**changed: np.ndarray) -> bytes:
    """A voice file with some of its parts exchanged."""
    whole = {"about": about(), "embedding": unit(1, 2), "keys": np.ones((144, 2)), "mel": np.ones((80, 2))}
    buffer = io.BytesIO()
    np.savez(buffer, **(whole | changed))  # type: ignore[arg-type]
    return buffer.getvalue()


def npy(descr: str, shape: str, version: bytes = b"\x01\x00") -> bytes:
    """An array's file whose header makes a claim; hardly any data follow."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + bytes(8)


def refused(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"^[ -~]+damaged[ -~]*make it again with 'fastvoicegrad voice make'$"):
        Voice.load(path)


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.voice").write_bytes(npz())
    assert Voice.load(tmp_path / "x.voice").mel.shape == (80, 2)


@pytest.mark.parametrize(
    "changed",
    [
        {"pitch": "100"},
        {"pitch": 1e-9},
        {"pitch": 1e9},
        {"pitch": None},
        {"seconds": -1},
        {"seconds": 1e300},
        {"sources": 1},
        {"sources": [1]},
        {"sources": ["x" * 301]},
        {"sources": ["x"] * 1001},
        {"encoder": []},
        {"encoder": "x" * 65},
        {"format": "2"},
        {"format": True},
        {"format": 10**400},
        {"pitch": float("nan")},
    ],
)
def test_fields_are_checked(tmp_path: Path, changed: dict[str, object]) -> None:
    refused(tmp_path / "x.voice", npz(about=about(**changed)))


@pytest.mark.parametrize("text", ["[" * 100_000, "", "null", "[]", '"x"', '{"format": 2}'])
def test_text_that_is_no_description(tmp_path: Path, text: str) -> None:
    refused(tmp_path / "x.voice", npz(about=np.array(text)))


@pytest.mark.parametrize(
    "changed",
    [
        {"embedding": np.zeros(2)},
        {"embedding": np.array([1.1, 0.0])},
        {"embedding": np.array([np.nan, 1.0])},
        {"embedding": np.array([1, 0])},
        {"keys": np.ones((144, 0)), "mel": np.ones((80, 0))},
        {"keys": np.ones((0, 2))},
        {"keys": np.ones(144)},
        {"keys": np.ones((144, 2), complex)},
        {"mel": np.ones((79, 2))},
        {"mel": np.full((80, 2), -60000.0)},
        {"mel": np.full((80, 2), 11.0)},
        {"mel": np.full((80, 2), np.inf)},
        {"mel": np.full((80, 2), 1e300)},
        {"keys": np.ones((144, MOST_FRAMES + 1)), "mel": np.ones((80, MOST_FRAMES + 1))},
        {"mel": np.full((80, 2), "x")},
        {"about": np.ones(3)},
    ],
)
def test_arrays_are_checked(tmp_path: Path, changed: dict[str, np.ndarray]) -> None:
    refused(tmp_path / "x.voice", npz(**changed))


def test_an_embedding_gets_unit_length(tmp_path: Path) -> None:
    (tmp_path / "x.voice").write_bytes(npz(embedding=1.005 * unit(3, 4)))
    assert np.linalg.norm(Voice.load(tmp_path / "x.voice").embedding) == pytest.approx(1, abs=1e-6)


class Trap:
    """Unpickling one makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_no_pickle_is_opened(tmp_path: Path) -> None:
    refused(tmp_path / "x.voice", npz(mel=np.array([Trap(tmp_path / "trap")], dtype=object)))
    assert not (tmp_path / "trap").exists()


@pytest.mark.parametrize(
    "member",
    [
        npy("<f8", "(1000000, 1000000)"),
        npy("<f8", "(-1, -8)"),
        npy("<U99999999", "()"),
        npy("|O", "(1,)"),
        npy("<f8", "(1,)", b"\x02\x00"),
        npy("<f8", "((((((((1,),),),),),),),)"),
        npy("<f8", "(1,), 'more': 1"),
        b"",
        b"\x93NUMPY",
        bytes(1000),
    ],
)
def test_headers_that_lie(tmp_path: Path, member: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(npz())) as whole, zipfile.ZipFile(tmp_path / "x.voice", "w") as archive:
        for name in whole.namelist():
            archive.writestr(name, member if name == "mel.npy" else whole.read(name))
    refused(tmp_path / "x.voice", (tmp_path / "x.voice").read_bytes())


def test_a_file_that_unpacks_to_gigabytes_is_refused_at_once(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.voice", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in ("about", "embedding", "keys", "mel"):
            with archive.open(f"{name}.npy", "w") as member:
                for _ in range(100):
                    member.write(bytes(1 << 20))
    tracemalloc.start()
    refused(tmp_path / "x.voice", (tmp_path / "x.voice").read_bytes())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_only_regular_files_are_voices(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.voice")
    (tmp_path / "zero.voice").symlink_to("/dev/zero")
    (tmp_path / "loop.voice").symlink_to("loop.voice")
    for name in ("pipe.voice", "zero.voice", "loop.voice", ".", "none.voice", "x" * 300, "a\x00b"):
        with pytest.raises(InputError):
            Voice.load(tmp_path / name)


def test_what_is_saved_can_be_loaded(tmp_path: Path) -> None:
    """Names that are too many, too long, or no text are cut or replaced."""
    voice = replace(voice_of(unit(1, 0), "e", 1.0), sources=["\udcff" + "x" * 400] * 1500)
    voice.save(tmp_path / "x.voice")
    assert Voice.load(tmp_path / "x.voice").sources == ["?" + "x" * 299] * 1000


def test_a_voice_that_is_none_is_not_saved(tmp_path: Path) -> None:
    for wrong in ({"pitch": math.nan}, {"embedding": np.zeros(2, np.float32)}, {"seconds": math.inf}):
        with pytest.raises(InputError, match="voice make"):
            replace(voice_of(unit(1, 0), "e", 1.0), **wrong).save(tmp_path / "x.voice")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_saving_keeps_permissions_and_follows_no_planted_link(tmp_path: Path) -> None:
    path, victim = tmp_path / "x.voice", tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".x.voice.part").symlink_to(victim)
    voice = voice_of(unit(1, 0), "e", 1.0)
    voice.save(path)
    path.chmod(0o600)
    voice.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert victim.read_text() == "precious"
    assert not path.is_symlink()


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    voice = voice_of(unit(1, 0), "e", 1.0)
    voice.save(tmp_path / "x.voice")
    before = (tmp_path / "x.voice").read_bytes()

    def full(file: Any, **_: object) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(InputError, match="no room left"):
        voice.save(tmp_path / "x.voice")
    assert (tmp_path / "x.voice").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["x.voice"]


def test_pools_that_are_no_voice() -> None:
    a = voice_of(unit(1, 0), "e", 3.0)
    silent, opposite = replace(a, seconds=0.0), replace(a, embedding=-a.embedding)
    for voices, text in (
        ([silent], "no speech"),
        ([a, opposite], "cancel"),
        ([a, voice_of(unit(1, 0, 0), "e", 1.0)], "sizes"),
        ([replace(a, pitch=math.inf)], "pitch"),
    ):
        with pytest.raises(InputError, match=text):
            pool(voices)


def test_a_pool_keeps_no_more_frames_than_a_file_may() -> None:
    """Shares of a third are rounded so that they add up."""
    voices = [voice_of(unit(1, i), "e", 1.0, frames=MOST_FRAMES) for i in range(3)]
    assert pool(voices).mel.shape[1] == MOST_FRAMES
    many = [voice_of(unit(1, 0), "e", 1.0, frames=1)] * (2 * MOST_FRAMES)
    assert pool(many).mel.shape[1] == MOST_FRAMES
