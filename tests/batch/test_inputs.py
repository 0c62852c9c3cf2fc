"""Which recordings are found, and what their results are called."""

from __future__ import annotations

import errno
import os
import random
import sys
from pathlib import Path

import pytest

from fastvoicegrad import InputError
from fastvoicegrad.batch import inputs as inputs_module
from fastvoicegrad.batch.inputs import Earlier, Found, find_inputs, output_names
from fastvoicegrad.batch.journal import sha256_of


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def places(inputs: list[str], folder: str = "out") -> list[str]:
    return [item.below.as_posix() for item in find_inputs(inputs, Path(folder))]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_folders_are_searched_to_the_ground(here: Path) -> None:
    make(here, "in/b.mp3", "in/a/ü x.WAV", "in/a/notes.txt", "in/.hidden.wav", "in/.git/x.wav", "in/cover.jpg")
    assert places(["in"]) == ["a/ü x.WAV", "b.mp3"]
    assert [item.path for item in find_inputs(["in"], here / "out")] == [Path("in/a/ü x.WAV"), Path("in/b.mp3")]


def test_one_input_needs_no_list(here: Path) -> None:
    make(here, "in/a.wav")
    for one in ("in", Path("in"), "in/*.wav"):
        assert find_inputs(one, here / "out") == find_inputs([one], here / "out")


def test_a_named_file_may_have_any_suffix(here: Path) -> None:
    make(here, "x/recording.dat", "y/b.wav")
    assert places(["y/b.wav", "x/recording.dat"]) == ["b.wav", "recording.dat"]


def test_each_file_counts_once(here: Path) -> None:
    make(here, "in/a.wav")
    assert places(["in", "in/a.wav", "./in/*.wav", str(here / "in")]) == ["a.wav"]


def test_a_pattern_keeps_the_tree_below_its_first_part(here: Path) -> None:
    make(here, "in/a/x.wav", "in/b/x.wav", "in/b/c/y.flac", "in/z.wav", "in/[1].wav")
    assert places(["in/**/*.wav"]) == ["[1].wav", "a/x.wav", "b/x.wav", "z.wav"]
    assert places(["in/*"]) == ["[1].wav", "a/x.wav", "b/c/y.flac", "b/x.wav", "z.wav"]
    assert places(["in/[1].wav"]) == ["[1].wav"]  # a file of this name comes before the pattern


@pytest.mark.parametrize(
    "pattern", ["*/../../x*.wav", "*/../x*.wav", "*/../..", "*/../../y*", "[i]n/a/../../../*", "**/../*.wav"]
)
def test_no_result_of_a_pattern_lies_outside_the_output_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    make(tmp_path, "x1.wav", "y/x2.wav", "here/x3.wav", "here/in/x4.wav", "here/in/a/x5.wav")
    monkeypatch.chdir(tmp_path / "here")
    found = find_inputs([pattern], Path("out"))
    assert found
    assert not [item.below for item in found if ".." in item.below.parts or not item.below.name]
    assert not [name for name in output_names(found, None) if ".." in name.parts]


def test_results_are_no_inputs(here: Path) -> None:
    make(here, "a.wav", "out/a.wav", "sub/out/b.wav")
    assert places(["."]) == ["a.wav", "sub/out/b.wav"]
    assert places(["**/*.wav"]) == ["a.wav", "sub/out/b.wav"]
    assert places(["out/a.wav"], "out/new") == ["a.wav"]
    with pytest.raises(InputError, match="lie among the sources"):
        places(["out"])


@pytest.mark.parametrize("name", ["none.wav", "none", "none/*.wav", "in/*.mp3", "a\0b.wav", "a\0/*.wav"])
def test_a_missing_input_is_named(here: Path, name: str) -> None:
    make(here, "in/a.wav")
    with pytest.raises(InputError, match="check its name"):
        places(["in", name])


def test_an_empty_folder_is_no_mistake(here: Path) -> None:
    (here / "in").mkdir()
    assert places(["in"]) == []
    assert find_inputs(["later/*.wav"], here, may_be_missing=True) == []


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights")
def test_links(here: Path) -> None:
    make(here, "in/a.wav")
    os.symlink(here / "in", here / "in/loop")
    os.symlink("a.wav", here / "in/b.wav")
    os.symlink("nowhere", here / "in/dangling.wav")
    assert places(["in"]) == ["a.wav", "b.wav", "dangling.wav"]


@pytest.mark.parametrize(
    ("text", "below"),
    [
        ("closed", "closed"),
        ("closed/", "closed"),
        ("./closed/.", "closed"),
        ("in/../closed", "closed"),
        ("{here}/closed", "closed"),
        ("closed/..", "closed"),
        (".", "closed"),
        ("c*", "closed"),
        ("*/../c*", "closed"),
    ],
)
def test_a_closed_folder_is_named_however_it_is_reached(
    here: Path, monkeypatch: pytest.MonkeyPatch, text: str, below: str
) -> None:
    make(here, "in/a.wav", "closed/b.wav")
    close(monkeypatch, here / "closed")
    found = find_inputs([text.format(here=here), "in"], here / "out")
    assert [(item.below.as_posix(), bool(item.problem)) for item in found if item.problem] == [(below, True)]
    assert "a.wav" in [item.path.name for item in found]
    assert len(set(output_names(found, None))) == len(found)


def test_the_current_folder_has_a_name_where_it_is_closed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    close(monkeypatch, here)
    (item,) = find_inputs(["."], here / "out")
    assert item.below == Path(here.name)
    assert item.problem == "the folder cannot be read (Permission denied)"


def close(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Makes a folder one that cannot be listed, for root too."""
    real, closed = os.scandir, os.path.realpath(folder)

    def scandir(path: str | Path) -> object:
        if os.path.realpath(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)


def names(*below: str, kind: str | None = None) -> list[str]:
    return [name.as_posix() for name in output_names([Found(Path(x), Path(x)) for x in below], kind)]


def test_names_keep_the_source_format_where_it_can_be_written() -> None:
    assert names("a.wav", "B.FLAC", "c.m4a", "d/e.opus", "f") == ["a.wav", "B.FLAC", "c.wav", "d/e.opus", "f.wav"]
    assert names("a.aif", "b.AIFC", "c.oga") == ["a.wav", "b.wav", "c.wav"]
    assert names("a.wav", "b.mp3", "c.d.ogg", kind="mp3") == ["a.mp3", "b.mp3", "c.d.mp3"]


def test_no_two_results_have_one_name() -> None:
    assert names("a.mp3", "a.wav", "b.ogg", kind="wav") == ["a.mp3.wav", "a.wav", "b.wav"]
    assert names("a.wav", "a.wav", "a.wav", "a-2.wav") == ["a.wav", "a-3.wav", "a-4.wav", "a-2.wav"]
    assert names("a.wav", "A.WAV") == ["a.wav", "A-2.WAV"]  # one file where case does not count
    assert names("\u00fc.wav", "u\u0308.wav") == ["\u00fc.wav", "u\u0308-2.wav"]  # one file for macOS


def test_a_recording_keeps_the_name_of_its_earlier_result(here: Path) -> None:
    make(here, "one/a.wav", "two/a.wav", "three/a.wav")
    found = [Found(Path(folder, "a.wav"), Path("a.wav")) for folder in ("one", "two", "three")]
    first = output_names(found[:2], None)
    assert first == [Path("a.wav"), Path("a-2.wav")]
    earlier = [
        Earlier(str(here / item.path), sha256_of(item.path), name) for item, name in zip(found, first, strict=False)
    ]
    (here / "three/a.wav").write_bytes(b"another recording")
    assert output_names(found[1:], None, earlier) == [Path("a-2.wav"), Path("a-3.wav")]
    assert output_names(found[1:2], "flac", earlier) == [Path("a.flac")]
    (here / "three/a.wav").write_bytes((here / "one/a.wav").read_bytes())  # the first one was moved there
    assert output_names(found[2:], None, earlier) == [Path("a.wav")]


def test_a_name_that_two_recordings_have_in_folders_of_targets_goes_to_neither(here: Path) -> None:
    make(here, "one/a.wav", "two/a.wav")
    (here / "two/a.wav").write_bytes(b"another recording")
    found = [Found(Path(folder, "a.wav"), Path("a.wav")) for folder in ("one", "two")]
    earlier = [Earlier(str(here / item.path), sha256_of(item.path), Path("a.wav")) for item in found]
    assert output_names(found, None, earlier) == [Path("a-2.wav"), Path("a-3.wav")]
    assert output_names(found[:1], None, earlier) == [Path("a-2.wav")]
    changed = Earlier(earlier[0].source, "sha256 before a change", Path("a.wav"))
    assert output_names(found[:1], None, [earlier[0], changed]) == [Path("a.wav")]


def test_a_recording_that_cannot_be_read_takes_no_name(here: Path) -> None:
    found = [Found(here / "gone/a.wav", Path("a.wav"))]
    assert output_names(found, None, [Earlier("other", "its bytes", Path("a.wav"))]) == [Path("a-2.wav")]


def test_names_of_other_files_are_left_alone() -> None:
    found = [Found(Path("one/a.wav"), Path("a.wav")), Found(Path("one/b.wav"), Path("b.wav"))]
    others = {Path("a.wav"), Path("a-2.wav")}
    assert output_names(found, None, (), lambda name: name in others) == [Path("a-3.wav"), Path("b.wav")]


def test_patterns_follow_no_links_to_folders(here: Path) -> None:
    make(here, "in/sub/a.wav", "elsewhere/b.wav")
    (here / "in/sub/loop").symlink_to("..", target_is_directory=True)
    (here / "in/link").symlink_to(here / "elsewhere", target_is_directory=True)
    assert places(["in/**/*.wav"]) == places(["in"]) == ["sub/a.wav"]
    assert places(["in/link"]) == ["b.wav"]  # it is named itself


def test_patterns_leave_out_the_reports_of_adapted_voices(here: Path) -> None:
    make(here, "in/a.wav", "in/anna.adapt/1-1-after.wav", "in/b/anna.adapt/1-1-after.wav")
    assert places(["in/**/*.wav"]) == places(["in"]) == ["a.wav"]
    assert places(["in/anna.adapt/*.wav"]) == ["1-1-after.wav"]  # it is named itself


def test_names_are_distinct_for_any_names() -> None:
    random_names = random.Random(0)
    for _ in range(200):
        below = [
            random_names.choice(["a", "A", "a-2", "a.mp3", "b/a"])
            + random_names.choice([".wav", ".mp3", ".MP3", ".m4a"])
            for _ in range(8)
        ]
        for kind in (None, "wav", "mp3"):
            found = names(*below, kind=kind)
            assert len({name.casefold() for name in found}) == len(below)
            assert found == names(*below, kind=kind)


def test_names_are_distinct_whatever_was_converted_earlier(here: Path) -> None:
    """Also where two recordings with the same bytes have results of one name, each in the folder of a target."""
    make(here, *(f"{folder}/a.wav" for folder in "12345"))
    (here / "5/a.wav").write_bytes(b"another recording")
    choose = random.Random(0)
    for _ in range(500):
        found = [Found(Path(folder, "a.wav"), Path("a.wav")) for folder in choose.sample("12345", 4)]
        earlier = [
            Earlier(str(here / folder / "a.wav"), sha256_of(here / folder / "a.wav"), Path(name))
            for folder, name in zip("12345", choose.choices(["a.wav", "A.wav", "a-2.wav", "a-3.wav"], k=5), strict=True)
        ]
        others = {Path(choose.choice(["a.wav", "a-2.wav", "a-4.wav"]))}
        named = output_names(found, None, choose.sample(earlier, 3), others.__contains__)
        assert len({str(name).casefold() for name in named}) == len(found)
        assert not others & set(named)


def test_a_pattern_passes_by_what_the_system_refuses(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, **options: object) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    make(here, "a.wav", "deep/b.wav")
    expected = find_inputs([str(here / "**/*.wav")], here / "out")
    monkeypatch.setattr(Path, "is_dir", refused)
    assert find_inputs([str(here / "**/*.wav")], here / "out") == expected != []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_takes_no_name_of_an_earlier_result_and_is_not_waited_for(here: Path) -> None:
    os.mkfifo(here / "pipe.wav")
    found = [Found(here / "pipe.wav", Path("pipe.wav"))]
    assert output_names(found, None, [Earlier("other", "its bytes", Path("pipe.wav"))]) == [Path("pipe-2.wav")]


def moved(here: Path, *contents: str) -> tuple[list[Found], list[Earlier]]:
    """Recordings called ``a.wav`` in folders, and their earlier results from when the folders were elsewhere."""
    found, earlier = list[Found](), list[Earlier]()
    for number, content in enumerate(contents):
        make(here, f"new/{number}/a.wav")
        (here / f"new/{number}/a.wav").write_text(content)
        found.append(Found(Path(f"new/{number}/a.wav"), Path("a.wav")))
        name = Path(f"a-{number + 1}.wav" if number else "a.wav")
        earlier.append(Earlier(str(here / f"old/{number}/a.wav"), sha256_of(found[-1].path), name))
    return found, earlier


def test_recordings_that_were_moved_get_their_numbers_back(here: Path) -> None:
    found, earlier = moved(here, "one", "two", "three")
    expected = [Path("a.wav"), Path("a-2.wav"), Path("a-3.wav")]
    assert output_names(found, None, earlier) == expected
    assert output_names(found[::-1], None, earlier) == expected[::-1]
    assert output_names(found[1:], None, earlier) == expected[1:]
    assert output_names(found, None, [earlier[0], earlier[2]]) == [Path("a.wav"), Path("a-2.wav"), Path("a-3.wav")]
    (here / "new/1/a.wav").write_text("another recording")
    assert output_names(found, None, earlier) == [Path("a.wav"), Path("a-4.wav"), Path("a-3.wav")]
    assert output_names(found, "flac", earlier) == [Path("a.wav.flac"), Path("a.wav-2.flac"), Path("a.wav-3.flac")]


def test_a_number_is_given_back_once_and_only_by_the_same_recording(here: Path) -> None:
    found, earlier = moved(here, "one", "two", "two")
    assert output_names(found, None, earlier[:2]) == [Path("a.wav"), Path("a-2.wav"), Path("a-3.wav")]
    other = Earlier(str(here / "b.wav"), "of another target's folder", Path("a-2.wav"))
    assert output_names(found[:2], None, [*earlier[:2], other]) == [Path("a.wav"), Path("a-3.wav")]
    foreign = {Path("a-2.wav")}
    assert output_names(found[:2], None, earlier[:2], foreign.__contains__) == [Path("a.wav"), Path("a-3.wav")]
    elsewhere = Earlier(earlier[1].source, earlier[1].sha256, Path("deep/a-2.wav"))
    assert output_names(found[:2], None, [earlier[0], elsewhere]) == [Path("a.wav"), Path("a-2.wav")]
    odd = [Earlier("x", "y", Path(name)) for name in (".-2", "..-3", "-4.wav", "a\n-5.wav")]
    assert output_names(found[:2], None, [*earlier[:2], *odd]) == [Path("a.wav"), Path("a-2.wav")]


def test_only_recordings_that_may_have_been_moved_are_read(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, earlier = moved(here, "one", "two")
    make(here, "new/b.wav")
    read = list[Path]()
    monkeypatch.setattr(inputs_module, "sha256_of_file", lambda path: read.append(path) or sha256_of(path))
    output_names([*found, Found(Path("new/b.wav"), Path("b.wav"))], None, earlier)
    assert read == [item.path for item in found]  # once each
    there = [Earlier(str(here / item.path), one.sha256, one.name) for item, one in zip(found, earlier, strict=True)]
    assert output_names(found, None, there) == [Path("a.wav"), Path("a-2.wav")]
    assert len(read) == 2
