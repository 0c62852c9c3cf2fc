from __future__ import annotations

import errno
import json
import math
import os
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import numpy as safetensors

from fastvoicegrad import InputError, Voice
from fastvoicegrad.voice import blend, pool
from fastvoicegrad.voice_file import FORMAT, MOST_FRAMES, Adapter, read_about


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
    voice = Voice(unit(1, 2, 3), keys, mel, 123.5, "abc", 4.5, ["a.wav"], "low, warm", ["0" * 32 + ".flac"])
    voice.save(tmp_path / "x.voice")
    again = Voice.load(tmp_path / "x.voice")
    np.testing.assert_allclose(again.embedding, voice.embedding, atol=1e-7)
    np.testing.assert_allclose(again.keys, keys, atol=2e-3)
    np.testing.assert_allclose(again.mel, mel, atol=2e-3)
    assert (again.pitch, again.encoder, again.seconds, again.sources) == (123.5, "abc", 4.5, ["a.wav"])
    assert (again.description, again.recordings) == ("low, warm", ["0" * 32 + ".flac"])
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


def test_a_blend_is_by_weight_alone() -> None:
    """How much speech a voice holds does not count."""
    a, b = voice_of(unit(1, 0), "e", 3.0, "a", 600), voice_of(unit(0, 1), "e", 1.0, "b", 600)
    mixed = blend([a, b], [0.75, 0.25])
    np.testing.assert_allclose(mixed.embedding, unit(3, 1), atol=1e-6)
    assert mixed.pitch == pytest.approx(300**0.75 * 100**0.25)
    assert [(mixed.mel[0] == seconds).sum() for seconds in (3.0, 1.0)] == [600, 200]
    assert (mixed.seconds, mixed.sources) == (4.0, ["a", "b"])
    np.testing.assert_array_equal(blend([a, b], [7.5, 2.5]).mel, mixed.mel)
    with pytest.raises(InputError, match="not all 0"):
        blend([a, b], [0, 0])


def test_bad_pools() -> None:
    a, b = voice_of(unit(1, 0), "e", 3.0), voice_of(unit(0, 1), "f", 1.0)
    for voices, weights, text in (
        ([], None, "no reference"),
        ([a, b], None, "different bundles"),
        ([a], [-1.0], "weights"),
    ):
        with pytest.raises(InputError, match=text):
            pool(voices, weights)


def test_an_adapted_voice_stands_alone() -> None:
    plain = voice_of(unit(1, 0), "e", 3.0)
    adapted = replace(plain, adapter=Adapter(np.ones(5, np.float32), "converter"))
    assert pool([adapted]).adapter == adapted.adapter
    assert blend([adapted], [2.0]).adapter == adapted.adapter
    for mixed in ([adapted, plain], [plain, adapted]):
        with pytest.raises(InputError, match="an adapted voice cannot be mixed with others; name it alone"):
            pool(mixed)


# -- files ----------------------------------------------------------------------------------------------------


def about(**changed: object) -> str:
    """The description in a voice file, with some of its fields exchanged."""
    return json.dumps({"format": FORMAT, "pitch": 100.0, "encoder": "", "seconds": 1.0, "sources": []} | changed)


def file_of(text: str | None = None, **changed: np.ndarray) -> bytes:
    """A voice file with some of its parts exchanged."""
    whole = {"embedding": unit(1, 2), "keys": np.ones((144, 2), np.float16), "mel": np.ones((80, 2), np.float16)}
    arrays = {name: np.ascontiguousarray(array) for name, array in (whole | changed).items()}
    return safetensors.save(arrays, {"voice": about() if text is None else text})


def with_header(**changed: object) -> bytes:
    """A voice file whose header makes other claims about its arrays."""
    data = file_of()
    size = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + size]) | changed).encode()
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def tensor(dtype: object = "F16", shape: object = (80, 2), offsets: object = (0, 320)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def refused(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"^[ -~]+damaged[ -~]*make it again with 'fastvoicegrad voice make'$"):
        Voice.load(path)


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.voice").write_bytes(file_of())
    assert Voice.load(tmp_path / "x.voice").mel.shape == (80, 2)
    assert read_about(tmp_path / "x.voice").pitch == 100.0


def test_a_file_is_small_and_can_be_smaller(tmp_path: Path) -> None:
    voice = replace(voice_of(unit(1, 0), "e", 1.0, frames=1000), mel=np.tile(np.linspace(-9, 0, 1000), (80, 1)))
    voice.save(tmp_path / "all.voice")
    voice.save(tmp_path / "few.voice", most_frames=100)
    assert (tmp_path / "all.voice").stat().st_size < 460e3
    assert (tmp_path / "few.voice").stat().st_size < 46e3
    few = Voice.load(tmp_path / "few.voice")
    assert few.keys.shape == (144, 100)
    np.testing.assert_allclose(few.mel[0, [0, -1]], [-9, 0])  # they span all of the references
    assert (few.seconds, few.pitch) == (voice.seconds, voice.pitch)
    with pytest.raises(InputError, match="frames"):
        voice.save(tmp_path / "none.voice", most_frames=0)


def test_an_adapter_is_stored_in_half_precision(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    plain = voice_of(unit(1, 0), "e", 1.0)
    adapter = Adapter(values, "converter", Adapter(values[:20], "streams"))
    replace(plain, adapter=adapter).save(tmp_path / "x.voice")
    assert (tmp_path / "x.voice").stat().st_size < 210e3
    found = Voice.load(tmp_path / "x.voice").adapter
    assert found is not None
    assert found.stream is not None
    assert found.stream.converter == "streams"
    np.testing.assert_array_equal(found.stream.values, found.values[:20])
    np.testing.assert_array_equal(found.values, values.astype(np.float16).astype(np.float32))
    assert found.converter == "converter"
    assert read_about(tmp_path / "x.voice").seconds == 1.0


@pytest.mark.parametrize("value", [np.nan, np.inf, 101.0])
def test_an_adapter_out_of_range_is_refused(tmp_path: Path, value: float) -> None:
    bad, good = (Adapter(np.full(3, x, np.float32), "converter") for x in (value, 1.0))
    for adapter in (bad, replace(good, stream=bad)):
        voice = replace(voice_of(unit(1, 0), "e", 1.0), adapter=adapter)
        with pytest.raises(InputError, match="its adapter is out of range"):
            voice.save(tmp_path / "x.voice")


@pytest.mark.parametrize("adapter", [np.ones((2, 2), np.float16), np.ones(2, np.float32), np.ones(0, np.float16)])
def test_an_adapter_of_another_kind_is_refused(tmp_path: Path, adapter: np.ndarray) -> None:
    refused(tmp_path / "x.voice", file_of(adapter=adapter))
    refused(tmp_path / "x.voice", file_of(stream_adapter=adapter))


@pytest.mark.parametrize("name", ["adapter", "stream_adapter"])
def test_an_adapter_names_its_converter(tmp_path: Path, name: str) -> None:
    refused(tmp_path / "x.voice", file_of(**{name: np.ones(2, np.float16)}))


def test_the_same_voice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        voice_of(unit(1, 0), "e", 1.0, "r").save(tmp_path / f"{name}.voice")
    assert (tmp_path / "a.voice").read_bytes() == (tmp_path / "b.voice").read_bytes()


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"not a voice", b'{"format": 1, "embedding": [1]}'])
def test_files_of_another_kind_are_refused(tmp_path: Path, content: bytes) -> None:
    refused(tmp_path / "x.voice", content)


def test_a_file_of_an_older_version_is_named_as_such(tmp_path: Path) -> None:
    with (tmp_path / "x.voice").open("wb") as file:
        np.savez(file, about=np.array("{}"), embedding=unit(1, 2))
    with pytest.raises(InputError, match=r"older version; make it again with 'fastvoicegrad voice make'$"):
        Voice.load(tmp_path / "x.voice")


def test_a_file_of_a_newer_version_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "x.voice").write_bytes(file_of(json.dumps({"format": 99, "news": 1})))
    with pytest.raises(InputError, match=f"format 99, this version reads {FORMAT}"):
        Voice.load(tmp_path / "x.voice")


def test_room_for_later_arrays(tmp_path: Path) -> None:
    """Arrays that this version does not know are left out."""
    (tmp_path / "x.voice").write_bytes(file_of(**{"extra.adapter": np.zeros((3, 2, 2), np.float32)}))
    assert Voice.load(tmp_path / "x.voice").mel.shape == (80, 2)


@pytest.mark.parametrize("size", [4, 100, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, size: float) -> None:
    data = file_of()
    refused(tmp_path / "x.voice", data[: int(size if size > 1 else size * len(data))])


@pytest.mark.parametrize(
    "changed",
    [
        {"surprise": 1},
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
        {"format": "3"},
        {"format": True},
        {"format": 10**400},
        {"pitch": float("nan")},
        {"description": "x" * 501},
        {"description": 1},
        {"recordings": ["../../x.flac"]},
        {"recordings": ["0" * 32 + ".wav"]},
    ],
)
def test_fields_are_checked(tmp_path: Path, changed: dict[str, object]) -> None:
    refused(tmp_path / "x.voice", file_of(about(**changed)))


@pytest.mark.parametrize("text", ["[" * 100_000, "", "null", "[]", '"x"', '{"format": 3}'])
def test_text_that_is_no_description(tmp_path: Path, text: str) -> None:
    refused(tmp_path / "x.voice", file_of(text))


@pytest.mark.parametrize(
    "changed",
    [
        {"embedding": np.zeros(2, np.float32)},
        {"embedding": np.array([1.1, 0.0], np.float32)},
        {"embedding": np.array([np.nan, 1.0], np.float32)},
        {"embedding": np.array([1, 0])},
        {"embedding": np.ones((1, 1, 1), np.float32)},
        {"embedding": np.ones((1, 2), np.float32)},
        {"embedding": np.array([1.0, 0.0])},  # float64 is none of the types
        {"keys": np.ones((144, 0), np.float16), "mel": np.ones((80, 0), np.float16)},
        {"keys": np.ones((0, 2), np.float16)},
        {"keys": np.ones((144, 3), np.float16)},
        {"keys": np.ones(144, np.float16)},
        {"keys": np.ones((144, 2), np.int8)},
        {"keys": np.ones((1025, 2), np.float16)},
        {"mel": np.ones((79, 2), np.float16)},
        {"mel": np.full((80, 2), np.nan, np.float16)},
        {"mel": np.full((80, 2), -60000.0, np.float16)},
        {"mel": np.full((80, 2), 11.0, np.float16)},
        {"mel": np.full((80, 2), np.inf, np.float16)},
        {"keys": np.ones((144, MOST_FRAMES + 1), np.float16), "mel": np.ones((80, MOST_FRAMES + 1), np.float16)},
    ],
)
def test_arrays_are_checked(tmp_path: Path, changed: dict[str, np.ndarray]) -> None:
    refused(tmp_path / "x.voice", file_of(**changed))


def test_an_embedding_gets_unit_length(tmp_path: Path) -> None:
    (tmp_path / "x.voice").write_bytes(file_of(embedding=np.float32(1.005) * unit(3, 4)))
    assert np.linalg.norm(Voice.load(tmp_path / "x.voice").embedding) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    "changed",
    [
        {"mel": tensor(shape=(10**6, 10**6))},
        {"mel": tensor(shape=(-1, -8))},
        {"mel": tensor(shape=(80, 4))},
        {"mel": tensor(shape="80")},
        {"mel": tensor(dtype="BF16")},
        {"mel": tensor(dtype="F8_E4M3", shape=(80, 4))},
        {"mel": tensor(offsets=(0, 10**12))},
        {"mel": tensor(offsets=(0, 2**64))},
        {"mel": tensor(offsets=(-320, 0))},
        {"mel": tensor(offsets=(0, 319))},
        {"mel": None},
        {"keys": tensor() | {"more": 1}},
        {"more": tensor(offsets=(10**9, 10**9 + 320))},
        {"__metadata__": None},
        {"__metadata__": {"voice": 1}},
        {"__metadata__": {}},
    ],
)
def test_headers_that_lie(tmp_path: Path, changed: dict[str, object]) -> None:
    refused(tmp_path / "x.voice", with_header(**changed))


@pytest.mark.parametrize("size", [0, 1, 2**22 + 1, 2**40, 2**64 - 1])
def test_header_sizes_that_lie(tmp_path: Path, size: int) -> None:
    refused(tmp_path / "x.voice", size.to_bytes(8, "little") + file_of()[8:])


def test_a_large_file_is_refused_at_once(tmp_path: Path) -> None:
    with (tmp_path / "x.voice").open("wb") as file:
        file.write(with_header(more={"dtype": "U8", "shape": [2**40], "data_offsets": [0, 2**40]}))
        file.truncate(2**40)  # a hole: it takes no room on the disk
    tracemalloc.start()
    with pytest.raises(InputError, match="damaged"):
        Voice.load(tmp_path / "x.voice")
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
    replace(voice, description="\x1b\udcff" + "€" * 1000).save(tmp_path / "x.voice")
    assert Voice.load(tmp_path / "x.voice").description == "\x1b?" + "€" * 498


def test_a_voice_that_is_none_is_not_saved(tmp_path: Path) -> None:
    wrong_values = [{"pitch": math.nan}, {"embedding": np.zeros(2, np.float32)}, {"seconds": math.inf}]
    for wrong in [*wrong_values, {"recordings": ["x"]}, {"encoder": "x" * 65}]:
        with pytest.raises(InputError, match="the voice"):
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

    def full(path: Path, data: bytes) -> None:
        with path.open("wb") as file:
            file.write(data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
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


def test_a_voice_alone_keeps_its_description() -> None:
    described = replace(voice_of(unit(1, 0), "e", 3.0), description="reads calmly")
    assert pool([described]).description == "reads calmly"
    assert pool([described, voice_of(unit(0, 1), "e", 1.0)]).description == ""
