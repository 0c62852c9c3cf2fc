"""Many recordings in one run, with real worker processes."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from fastvoicegrad import AudioWarning, InputError, Voice, VoiceConverter, audio
from fastvoicegrad.batch import Advance, Batch, Outcome, Settings, convert_files, make_target
from fastvoicegrad.batch import journal as journal_module
from fastvoicegrad.batch import tasks as tasks_module
from fastvoicegrad.batch import watching as watching_module
from fastvoicegrad.batch import workers as workers_module
from fastvoicegrad.batch.journal import Entry, Journal, sha256_of
from fastvoicegrad.batch.tasks import fingerprint, tags_for
from fastvoicegrad.children import Child
from fastvoicegrad.files import shown
from fastvoicegrad.version import TOOL
from fastvoicegrad.voice_file import Adapter
from tests.batch import stopped_worker
from tests.batch.test_inputs import close
from tests.conftest import vowels


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings and a text."""
    folder = tmp_path_factory.mktemp("talks")
    (folder / "deep").mkdir()
    soundfile.write(folder / "a.wav", vowels(0.6, rate=16000), 16000)
    soundfile.write(folder / "b.flac", vowels(0.7, rate=44100, seed=1), 44100)
    soundfile.write(folder / "deep/c d.ogg", vowels(0.8, rate=48000, seed=2), 48000)
    (folder / "text.wav").write_text("no recording")
    return folder


def states(outcomes: list[Outcome]) -> dict[str, str]:
    return {outcome.source.name: outcome.state for outcome in outcomes}


def contents(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".jsonl"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


ALL = {"a.wav": "converted", "b.flac": "converted", "c d.ogg": "converted", "text.wav": "failed"}
AGAIN = {"a.wav": "skipped", "b.flac": "skipped", "c d.ogg": "skipped", "text.wav": "failed"}


def test_a_folder(converter: VoiceConverter, voice: Voice, talks: Path, tmp_path: Path) -> None:
    outcomes = convert_files(converter, [talks], tmp_path, voice)
    assert states(outcomes) == ALL
    for outcome in outcomes:
        if outcome.state == "failed":
            assert str(outcome.source) in outcome.error
            assert not outcome.output.exists()
        else:
            source, result = soundfile.info(outcome.source), soundfile.info(outcome.output)
            assert (source.frames, source.samplerate) == (result.frames, result.samplerate)
            assert outcome.output.relative_to(tmp_path) == outcome.source.relative_to(talks)
            assert outcome.seconds == pytest.approx(source.duration, abs=1e-3)
    lines = [json.loads(line) for line in (tmp_path / "fastvoicegrad.jsonl").read_text().splitlines()]
    assert {Path(line["source"]).name: not line["error"] for line in lines} == {
        name: state == "converted" for name, state in ALL.items()
    }


def test_a_result_whose_name_is_too_long_stops_no_later_run(
    converter: VoiceConverter, voice: Voice, talks: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "long"
    folder.mkdir()
    for name in ("a.wav", "x" * 251 + ".wav"):  # as FLAC the latter has 256 bytes
        (folder / name).write_bytes((talks / "a.wav").read_bytes())
    for first in ("converted", "skipped"):
        outcomes = convert_files(converter, [folder], tmp_path / "out", voice, settings=Settings(format="flac"))
        assert sorted(states(outcomes).values()) == sorted([first, "failed"])


def test_what_is_done_is_skipped(converter: VoiceConverter, voice: Voice, talks: Path, tmp_path: Path) -> None:
    convert_files(converter, [talks], tmp_path, voice)
    before = contents(tmp_path)
    assert states(convert_files(converter, [talks], tmp_path, voice)) == AGAIN
    (tmp_path / "a.wav").write_bytes(b"damaged")
    (tmp_path / "b.flac").unlink()
    assert states(convert_files(converter, [talks], tmp_path, voice)) == AGAIN | {
        "a.wav": "converted",
        "b.flac": "converted",
    }
    assert contents(tmp_path) == before
    assert states(convert_files(converter, [talks], tmp_path, voice, force=True)) == ALL
    assert contents(tmp_path) == before
    other = Settings(seed=1)
    assert states(convert_files(converter, [talks], tmp_path, voice, other)) == ALL
    assert contents(tmp_path) != before


def test_a_result_is_never_replaced_by_another_recordings(
    converter: VoiceConverter, voice: Voice, tmp_path: Path
) -> None:
    for number, folder in enumerate(("one", "two")):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "a.wav", vowels(0.5, pitch=120.0 + 40 * number), 22050)
    inputs, out = [tmp_path / "one", tmp_path / "two"], tmp_path / "out"
    convert_files(converter, inputs, out, voice)
    before = contents(out)
    assert set(before) >= {"a.wav", "a-2.wav"}
    (tmp_path / "one" / "a.wav").unlink()
    (again,) = convert_files(converter, inputs, out, voice)
    assert (again.output.name, again.state) == ("a-2.wav", "skipped")
    assert contents(out) == before


def test_a_file_that_no_run_made_is_never_replaced(
    converter: VoiceConverter, voice: Voice, talks: Path, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "a.wav", vowels(0.5), 22050)
    before = (tmp_path / "a.wav").read_bytes()
    (outcome,) = convert_files(converter, [talks / "a.wav"], tmp_path, voice)
    assert (outcome.output.name, outcome.state) == ("a-2.wav", "converted")
    assert (tmp_path / "a.wav").read_bytes() == before
    (tmp_path / "fastvoicegrad.jsonl").unlink()  # a result is known by its mark
    (outcome,) = convert_files(converter, [talks / "b.flac"], tmp_path / "b", voice)
    (tmp_path / "b" / "fastvoicegrad.jsonl").unlink()
    (again,) = convert_files(converter, [talks / "b.flac"], tmp_path / "b", voice)
    assert (again.output, again.state) == (outcome.output, "converted")


@pytest.mark.parametrize("kind", [suffix[1:] for suffix in audio.FORMATS])
def test_a_result_that_is_missing_in_the_log_gives_way_to_its_own_voice_alone(
    converter: VoiceConverter, voice: Voice, talks: Path, tmp_path: Path, kind: str
) -> None:
    target, bundle = replace(make_target(converter, voice), name="Jürgen\t+ 日本"), converter.bundle.config.name
    comments = [
        ((TOOL, bundle, target.name, ""), True),
        ((TOOL, bundle, target.name, "live, 1999"), True),
        ((TOOL, bundle, "ida", ""), False),
        ((TOOL, bundle, target.name[:-1], ""), False),
        ((TOOL, bundle, f"{target.name}+ida", ""), False),
        ((TOOL, f"{bundle}-2", target.name, "live"), False),
        ((f"{TOOL}.1", bundle, target.name, ""), False),
    ]
    for number, ((tool, name, of, text), own) in enumerate(comments):
        folder = tmp_path / str(number)
        folder.mkdir()
        tags = audio.conversion_tags({"comment": text}, tool, name, of)
        with audio.writing(folder / f"a.{kind}", 48000, 0.1, tags=tags) as file:
            file.write(vowels(0.1, rate=48000))
        (task,) = Batch(converter, folder, [target], Settings(format=kind)).tasks([talks / "a.wav"])
        assert task.output == Path(f"a.{kind}" if own else f"a-2.{kind}"), (tool, name, of, text)


def test_a_result_of_another_target_is_not_replaced_in_any_folder(
    converter: VoiceConverter, voice: Voice, talks: Path, tmp_path: Path
) -> None:
    targets = [replace(make_target(converter, voice, name), name=name) for name in ("ida", "nora")]
    for target in targets:
        (tmp_path / target.folder).mkdir()
        converter.convert_file(
            talks / "a.wav",
            tmp_path / target.folder / "a.wav",
            voice,
            tags=tags_for(talks / "a.wav", converter, target.name),
        )
    tasks = Batch(converter, tmp_path, targets).tasks([talks / "a.wav"])
    assert [task.output.as_posix() for task in tasks] == ["ida/a.wav", "nora/a.wav"]
    os.replace(tmp_path / "ida/a.wav", tmp_path / "nora/a.wav")
    tasks = Batch(converter, tmp_path, targets).tasks([talks / "a.wav"])
    assert [task.output.as_posix() for task in tasks] == ["ida/a-2.wav", "nora/a-2.wav"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_among_the_results_is_not_waited_for(
    converter: VoiceConverter, voice: Voice, talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "a.wav")
    monkeypatch.setattr(audio, "read_tags", lambda path: pytest.fail("it would wait"))
    (task,) = Batch(converter, tmp_path, [make_target(converter, voice)]).tasks([talks / "a.wav"])
    assert task.output == Path("a-2.wav")


def test_a_result_that_was_edited_is_never_replaced(
    converter: VoiceConverter, voice: Voice, talks: Path, tmp_path: Path
) -> None:
    convert_files(converter, [talks / "a.wav"], tmp_path, voice)
    edited = (tmp_path / "a.wav").read_bytes()[:-2000] + bytes(2000)  # its tags stay
    (tmp_path / "a.wav").write_bytes(edited)
    (outcome,) = convert_files(converter, [talks / "a.wav"], tmp_path, voice)
    assert (outcome.output.name, outcome.state) == ("a-2.wav", "converted")
    (again,) = convert_files(converter, [talks / "a.wav"], tmp_path, voice)
    assert (again.output.name, again.state) == ("a-2.wav", "skipped")
    assert (tmp_path / "a.wav").read_bytes() == edited
    (forced,) = convert_files(converter, [talks / "a.wav"], tmp_path, voice, force=True)
    assert (forced.output.name, forced.state) == ("a.wav", "converted")
    assert (tmp_path / "a.wav").read_bytes() != edited


def test_nothing_is_replaced_where_one_of_several_targets_has_a_result(
    converter: VoiceConverter, voice: Voice, talks: Path, tmp_path: Path
) -> None:
    def convert(*names: str) -> dict[str, str]:
        with Batch(converter, tmp_path, [make_target(converter, voice, name) for name in names]) as batch:
            outcomes = [event for event in batch.convert([talks / "a.wav"]) if isinstance(event, Outcome)]
        return {outcome.output.relative_to(tmp_path).as_posix(): outcome.state for outcome in outcomes}

    convert("one", "two")
    edited = (tmp_path / "one/a.wav").read_bytes()[:-2000] + bytes(2000)
    (tmp_path / "one/a.wav").write_bytes(edited)
    assert convert("one", "two") == {"one/a-2.wav": "converted", "two/a-2.wav": "converted"}
    (tmp_path / "three").mkdir()
    soundfile.write(tmp_path / "three/a-2.wav", vowels(0.5), 22050)
    other = (tmp_path / "three/a-2.wav").read_bytes()
    names = convert("one", "two", "three")
    assert set(names.values()) == {"converted"}
    assert {Path(name).name for name in names} == {"a-3.wav"}
    assert (tmp_path / "one/a.wav").read_bytes() == edited
    assert (tmp_path / "three/a-2.wav").read_bytes() == other


@pytest.mark.parametrize("tagged", [True, False])
def test_a_recording_that_changes_meanwhile_leaves_the_older_result(
    converter: VoiceConverter, voice: Voice, tmp_path: Path, tagged: bool
) -> None:
    source, settings = tmp_path / "a.wav", Settings(format="wav", tagged=tagged)
    soundfile.write(source, vowels(0.6), 22050)
    (first,) = convert_files(converter, [source], tmp_path / "out", voice, settings)
    before = first.output.read_bytes()
    soundfile.write(source, np.tile(vowels(), 15), 22050)
    with Batch(converter, tmp_path / "out", [make_target(converter, voice)], settings) as batch:
        for event in batch.convert([source]):
            if isinstance(event, Advance):
                os.utime(source, ns=(0, 0))
            else:
                outcome = event
    assert outcome.state == "failed"
    assert "changed while it was converted" in outcome.error
    assert first.output.read_bytes() == before
    (last,) = convert_files(converter, [source], tmp_path / "out", voice, settings)
    assert (last.output, last.state) == (first.output, "converted")


def test_a_pattern_in_the_folder_of_the_results_finds_none_of_these(
    converter: VoiceConverter, voice: Voice, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "a.flac", vowels(0.6), 22050)
    for state in ("converted", "skipped"):
        (outcome,) = convert_files(converter, [str(tmp_path / "*")], tmp_path, voice, Settings(format="wav"))
        assert (outcome.source.name, outcome.output.name, outcome.state) == ("a.flac", "a.wav", state)


def test_a_folder_of_results_may_have_the_name_of_the_voice(
    converter: VoiceConverter, talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for state in ("converted", "skipped"):
        (outcome,) = convert_files(converter, [talks / "a.wav"], "nora", "nora")
        assert outcome.state == state


def test_a_bitrate_of_what_arrives_may_have_no_effect(
    converter: VoiceConverter, voice: Voice, talks: Path, tmp_path: Path
) -> None:
    target = make_target(converter, voice)
    with (
        Batch(converter, tmp_path, [target], Settings(bitrate=96)) as batch,
        pytest.warns(AudioWarning, match="add --format"),
    ):
        batch.watch([talks])


def test_a_closed_folder_is_one_failure_among_the_others(
    converter: VoiceConverter, voice: Voice, talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    close(monkeypatch, closed)
    outcomes = convert_files(converter, [closed, talks], tmp_path / "out", voice)
    assert states(outcomes) == ALL | {"closed": "failed"}
    (failed,) = [outcome for outcome in outcomes if outcome.source == closed]
    assert failed.error == f"{shown(closed)}: the folder cannot be read (Permission denied)"
    monkeypatch.setattr(watching_module, "POLL", 0.05)
    with Batch(converter, tmp_path / "out", [make_target(converter, voice)]) as batch:
        events = waiting(batch, [closed, talks])
        seen = [next(event for event in events if event) for _ in range(5)]
        assert states(seen) == AGAIN | {"closed": "failed"}
        assert next(events) is None


@pytest.mark.parametrize("place", stopped_worker.PLACES)
def test_a_stop_leaves_no_result_without_its_entry(
    converter: VoiceConverter, voice: Voice, talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    targets, settings = [make_target(converter, voice)], Settings(tagged=False)
    monkeypatch.setenv(stopped_worker.VARIABLE, place)
    with monkeypatch.context() as patch:
        patch.setattr(workers_module, "_worker", lambda setup: Child("tests.batch.stopped_worker", setup))
        with Batch(converter, tmp_path, targets, settings) as batch:
            (outcome,) = [event for event in batch.convert([talks / "a.wav"]) if isinstance(event, Outcome)]
            process = batch._workers._processes[0]._process
            assert process is not None
            assert process.wait(60) == 128 + signal.SIGTERM
    assert (outcome.state, outcome.error) == ("converted", "")
    (again,) = convert_files(converter, [talks / "a.wav"], tmp_path, voice, settings)
    assert (again.output, again.state) == (outcome.output, "skipped")
    assert set(contents(tmp_path)) == {"a.wav"}


def test_workers_share_the_work(converter: VoiceConverter, voice: Voice, talks: Path, tmp_path: Path) -> None:
    single = VoiceConverter.load(threads=1)  # results depend on the number of threads, in the last bit
    one = convert_files(single, [talks], tmp_path / "one", voice)
    two = convert_files(single, [talks], tmp_path / "two", voice, workers=2)
    assert states(one) == states(two) == ALL
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")
def test_a_worker_that_dies_takes_one_recording(
    converter: VoiceConverter, voice: Voice, talks: Path, tmp_path: Path
) -> None:
    long = tmp_path / "in/long.wav"
    long.parent.mkdir()
    soundfile.write(long, np.tile(vowels(), 90), 22050)
    inputs, out = [long, talks], tmp_path / "out"
    outcomes = []
    with Batch(converter, out, [make_target(converter, voice)]) as batch:
        for event in batch.convert(inputs):
            if isinstance(event, Outcome):
                outcomes.append(event)
            elif event.source == long:
                process = batch._workers._processes[0]._process
                assert process is not None
                os.kill(process.pid, signal.SIGKILL)
    assert states(outcomes) == ALL | {"long.wav": "failed"}
    (died,) = [outcome for outcome in outcomes if outcome.source == long]
    assert "long.wav" in died.error
    assert "SIGKILL" in died.error


def test_progress_of_a_long_recording(converter: VoiceConverter, voice: Voice, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.tile(vowels(), 30), 22050)
    with Batch(converter, tmp_path / "out", [make_target(converter, voice)]) as batch:
        events = list(batch.convert([tmp_path / "long.wav"]))
    shares = [event.share for event in events if isinstance(event, Advance)]
    assert shares
    assert shares == sorted(shares)
    assert 0 < shares[-1] <= 1


def test_a_run_that_is_left_can_be_begun_again(
    converter: VoiceConverter, voice: Voice, talks: Path, tmp_path: Path
) -> None:
    with Batch(converter, tmp_path, [make_target(converter, voice)]) as batch:
        for _ in batch.convert([talks]):
            break
        outcomes = [event for event in batch.convert([talks]) if isinstance(event, Outcome)]
    assert {outcome.source.name for outcome in outcomes} == set(ALL)
    assert sum(outcome.state == "failed" for outcome in outcomes) == 1


def test_events_are_taken_within_the_run(converter: VoiceConverter, voice: Voice, talks: Path, tmp_path: Path) -> None:
    with Batch(converter, tmp_path, [make_target(converter, voice)]) as batch:
        events = batch.convert([talks / "a.wav"])
    with pytest.raises(InputError, match="this run has ended; take its events within the 'with' block"):
        list(events)
    with Batch(converter, tmp_path, [make_target(converter, voice)]) as batch:
        assert [event.state for event in batch.convert([talks / "a.wav"]) if isinstance(event, Outcome)] == [
            "converted"
        ]


def test_what_is_finished_while_the_caller_is_busy_is_not_converted_again(
    converter: VoiceConverter, voice: Voice, talks: Path, tmp_path: Path
) -> None:
    targets = [make_target(converter, voice)]
    names = [talks / name for name in ("a.wav", "b.flac", "deep/c d.ogg")]
    with Batch(converter, tmp_path, targets, Settings(tagged=False)) as batch:
        for event in batch.convert(names):
            if isinstance(event, Outcome):
                deadline = time.monotonic() + 60
                while len(batch.log.read_bytes().splitlines()) < len(names) and time.monotonic() < deadline:
                    time.sleep(0.05)
                break
    with Batch(converter, tmp_path, targets, Settings(tagged=False)) as batch:
        outcomes = [event for event in batch.convert(names) if isinstance(event, Outcome)]
    assert {outcome.state for outcome in outcomes} == {"skipped"}


def test_stopping_in_the_middle_leaves_nothing(converter: VoiceConverter, voice: Voice, tmp_path: Path) -> None:
    long, out = tmp_path / "long.wav", tmp_path / "out"
    soundfile.write(long, np.tile(vowels(), 300), 22050)
    with Batch(converter, out, [make_target(converter, voice)]) as batch:
        for _ in batch.convert([long]):
            break
        process = batch._workers._processes[0]._process
    assert process is not None
    assert process.poll() is not None
    assert [path.name for path in out.iterdir()] == ["fastvoicegrad.jsonl"]


def test_several_targets(converter: VoiceConverter, voice: Voice, talks: Path, tmp_path: Path) -> None:
    targets = [make_target(converter, voice, "one"), make_target(converter, talks / "b.flac", "two")]
    with Batch(converter, tmp_path, targets) as batch:
        outcomes = [event for event in batch.convert([talks / "a.wav"]) if isinstance(event, Outcome)]
    assert [outcome.output.relative_to(tmp_path).as_posix() for outcome in outcomes] == ["one/a.wav", "two/a.wav"]
    assert contents(tmp_path / "one") != contents(tmp_path / "two")
    with pytest.raises(InputError, match="two targets"):
        Batch(converter, tmp_path, [targets[0], targets[0]])


def test_formats(converter: VoiceConverter, voice: Voice, talks: Path, tmp_path: Path) -> None:
    """Opus knows only some rates; the subtype is for formats that have some."""
    outcomes = convert_files(converter, [talks], tmp_path, voice, Settings(format="opus"))
    found = {x.output.name: soundfile.info(x.output) for x in outcomes if x.state == "converted"}
    assert {name: info.samplerate for name, info in found.items()} == {
        "a.opus": 16000,
        "b.opus": 48000,
        "c d.opus": 48000,
    }
    with pytest.warns(AudioWarning, match="1 of 4 results are not WAV or FLAC or AIFF"):
        outcomes = convert_files(converter, [talks], tmp_path / "24", voice, Settings(subtype="24"))
    subtypes = {x.output.name: soundfile.info(x.output).subtype for x in outcomes if x.state == "converted"}
    assert subtypes == {"a.wav": "PCM_24", "b.flac": "PCM_24", "c d.ogg": "VORBIS"}


def test_the_subtype_is_for_formats_that_have_some(
    converter: VoiceConverter, voice: Voice, talks: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="none has the subtype 24; add --format, or leave --subtype out"):
        convert_files(converter, [talks / "deep"], tmp_path / "none", voice, Settings(subtype="24"))
    with pytest.raises(InputError, match="no result is WAV, so none has the subtype FLOAT"):
        convert_files(converter, [talks / "b.flac"], tmp_path / "none", voice, Settings(subtype="FLOAT"))
    assert not (tmp_path / "none").exists()
    with pytest.warns(AudioWarning, match="1 of 2 results are not WAV, so they do not have the subtype FLOAT"):
        outcomes = convert_files(
            converter, [talks / "a.wav", talks / "b.flac"], tmp_path, voice, Settings(subtype="FLOAT")
        )
    assert [soundfile.info(x.output).subtype for x in outcomes] == ["FLOAT", "PCM_16"]


def test_the_bitrate_is_for_formats_that_have_one(
    converter: VoiceConverter, voice: Voice, talks: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no result is MP3 or Opus, so none has a fixed bitrate"):
        convert_files(converter, [talks], tmp_path / "none", voice, Settings(bitrate=96))
    assert not (tmp_path / "none").exists()
    soundfile.write(tmp_path / "e.mp3", vowels(0.6, rate=44100), 44100)
    with pytest.warns(AudioWarning, match="4 of 5 results are not MP3 or Opus"):
        outcomes = convert_files(
            converter, [talks, tmp_path / "e.mp3"], tmp_path / "mixed", voice, Settings(bitrate=96)
        )
    assert states(outcomes) == {**ALL, "e.mp3": "converted"}
    sizes = [
        sum(map(len, contents(tmp_path / str(bitrate)).values()))
        for bitrate in (96, 192)
        if convert_files(converter, [talks], tmp_path / str(bitrate), voice, Settings(format="opus", bitrate=bitrate))
    ]
    assert sizes[1] > 1.5 * sizes[0]


def test_failures_leave_no_empty_folders(converter: VoiceConverter, voice: Voice, talks: Path, tmp_path: Path) -> None:
    (tmp_path / "in/sub").mkdir(parents=True)
    soundfile.write(tmp_path / "in/sub/silent.wav", np.zeros(9000), 22050)
    outcomes = convert_files(converter, [talks, tmp_path / "in"], tmp_path / "out", voice, Settings(channel="5"))
    assert {outcome.state for outcome in outcomes} == {"failed"}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["fastvoicegrad.jsonl"]
    assert states(convert_files(converter, [tmp_path / "in"], tmp_path / "out", voice)) == {"silent.wav": "failed"}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["fastvoicegrad.jsonl"]


@pytest.mark.parametrize("settings", [Settings(formant=2), Settings(pauses="silence"), Settings(channel="each")])
def test_each_setting_of_the_sound_makes_other_results(
    converter: VoiceConverter, voice: Voice, tmp_path: Path, settings: Settings
) -> None:
    pause = 0.005 * np.random.default_rng(0).standard_normal(22050)
    one, other = np.concatenate([pause, vowels(1.0)]), np.concatenate([pause, vowels(1.0, pitch=200.0)])
    soundfile.write(tmp_path / "a.wav", np.stack([one, other], axis=1), 22050)
    out = tmp_path / "out"
    assert states(convert_files(converter, [tmp_path / "a.wav"], out, voice)) == {"a.wav": "converted"}
    before = contents(out)
    for state in ("converted", "skipped"):
        assert states(convert_files(converter, [tmp_path / "a.wav"], out, voice, settings)) == {"a.wav": state}
    assert contents(out) != before


def test_results_are_marked(converter: VoiceConverter, talks: Path, tmp_path: Path, reference_file: Path) -> None:
    with soundfile.SoundFile(tmp_path / "song.flac", "w", 22050, 1) as file:
        file.title, file.artist, file.comment = "Ein Lied", "Ünbekannt", "live"
        file.write(vowels(0.6))
    (outcome,) = convert_files(converter, [tmp_path / "song.flac"], tmp_path / "out", reference_file)
    found = soundfile.SoundFile(outcome.output).copy_metadata()
    assert found["title"] == "Ein Lied"
    assert found["artist"] == "Ünbekannt"
    assert found["comment"].startswith("Converted speech: voice of reference, made by fastvoicegrad")
    assert found["comment"].endswith(". live")
    (plain,) = convert_files(
        converter, [tmp_path / "song.flac"], tmp_path / "plain", reference_file, Settings(tagged=False)
    )
    assert soundfile.SoundFile(plain.output).copy_metadata() == {}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (Settings(steps=9), "at most 1 step"),
        (Settings(rate=100), "rate must lie"),
        (Settings(semitones=99), "semitones must lie"),
        (Settings(loudness=5), "loudness must lie"),
        (Settings(channel="middle"), "channel must be"),
        (Settings(format="doc"), "format must be"),
        (Settings(subtype="PCM_7"), "no subtype"),
        (Settings(format="mp3", subtype="24"), "no subtype"),
        (Settings(formant=13), "formant must lie"),
        (Settings(pauses="music"), "pauses must be"),
        (Settings(format="flac", bitrate=64), "no fixed bitrate"),
        (Settings(format="mp3", bitrate=500), "^MP3 with 48000 Hz takes a bitrate"),
        (Settings(format="mp3", rate=44100, bitrate=8), "^MP3 with 44100 Hz takes a bitrate"),
        (Settings(format="opus", bitrate=320), "^OPUS with 48000 Hz takes a bitrate"),
        (Settings(format="opus", rate=44100), "^OPUS cannot hold 44100 Hz"),
        (Settings(format="mp3", rate=96000), "^MP3 cannot hold 96000 Hz"),
    ],
)
def test_bad_settings_are_refused_at_once(
    converter: VoiceConverter, voice: Voice, tmp_path: Path, settings: Settings, text: str
) -> None:
    with pytest.raises(InputError, match=text):
        Batch(converter, tmp_path / "out", [make_target(converter, voice)], settings)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "settings", [Settings(format="mp3", bitrate=48), Settings(format="opus", channel="each", bitrate=320)]
)
def test_bitrates_that_some_recording_can_have_are_taken(settings: Settings) -> None:
    settings.check_storage()


def test_a_result_never_replaces_a_source(converter: VoiceConverter, voice: Voice, talks: Path) -> None:
    before = contents(talks)
    with pytest.raises(InputError, match=r"is a source itself|among the sources"):
        convert_files(converter, [talks / "a.wav"], talks, voice)
    assert contents(talks) == before
    assert not (talks / "fastvoicegrad.jsonl").exists()


def test_a_result_never_replaces_a_reference(converter: VoiceConverter, talks: Path, tmp_path: Path) -> None:
    """Neither a recording that the voice is made of, nor a place where it would be one the next time."""
    folder = tmp_path / "anna"
    folder.mkdir()
    soundfile.write(folder / "a.wav", vowels(2.0), 22050)
    before = contents(folder)
    recordings = [path for path in talks.iterdir() if path.is_file()]
    for references, output in ((folder, folder), (folder, folder / "converted"), (folder / "a.wav", folder)):
        with pytest.raises(InputError, match="among the recordings of a voice|is a reference itself"):
            convert_files(converter, recordings, output, references, Settings(format="wav"))
    assert contents(folder) == before


def test_recordings_of_a_voice_that_cannot_be_read_are_left_out(converter: VoiceConverter, tmp_path: Path) -> None:
    folder = tmp_path / "anna"
    folder.mkdir()
    soundfile.write(folder / "a.wav", vowels(2.0), 22050)
    whole = make_target(converter, folder)
    (folder / "gone.wav").symlink_to("nowhere.wav")
    with pytest.warns(AudioWarning, match="gone.wav: no such file.*; it is left out"):
        part = make_target(converter, folder)
    assert part.fingerprint == whole.fingerprint


def waiting(batch: Batch, inputs: list[Path]) -> Iterator[Outcome | None]:
    for event in batch.watch(inputs):
        if not isinstance(event, Advance):
            yield event


def test_watch(
    converter: VoiceConverter, voice: Voice, talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there, what arrives, what changes, and what is not complete yet."""
    monkeypatch.setattr(watching_module, "POLL", 0.05)
    inbox = tmp_path / "in"
    inbox.mkdir()
    (inbox / "a.wav").write_bytes((talks / "a.wav").read_bytes())
    with Batch(converter, tmp_path / "out", [make_target(converter, voice)]) as batch:
        events = waiting(batch, [inbox])
        first = next(event for event in events if event)
        assert (first.source.name, first.state) == ("a.wav", "converted")
        assert next(events) is None
        data = (talks / "b.flac").read_bytes()
        for part in range(1, 5):  # a copy that takes its time
            (inbox / "b.flac").write_bytes(data[: len(data) * part // 4])
            assert next(events) is None
        arrived = next(event for event in events if event)
        assert (arrived.source.name, arrived.state) == ("b.flac", "converted")
        (inbox / "a.wav").write_text("damaged now")
        failed = next(event for event in events if event)
        assert (failed.source.name, failed.state) == ("a.wav", "failed")
        assert next(events) is next(events) is None  # it is not tried again
        (inbox / "a.wav").write_bytes((talks / "a.wav").read_bytes())
        time.sleep(0.01)
        assert next(event for event in events if event).source.name == "a.wav"


def test_a_look_that_finds_nothing_new_reads_no_result(
    converter: VoiceConverter, voice: Voice, talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching_module, "POLL", 0.05)
    with Batch(converter, tmp_path / "out", [make_target(converter, voice)]) as batch:
        events = waiting(batch, [talks / "a.wav"])
        assert next(event for event in events if event).state == "converted"
        looks = list[object]()
        monkeypatch.setattr(Batch, "_tasks_of", lambda self, found: looks.append(found) or [])
        assert next(events) is next(events) is None
    assert not looks


def test_settings_may_be_numbers_of_numpy(converter: VoiceConverter, voice: Voice) -> None:
    target = make_target(converter, voice)
    plain, numpy = Settings(seed=3, loudness=-23.0), Settings(seed=np.int64(3), loudness=np.float32(-23))  # type: ignore[arg-type]
    assert fingerprint(converter, plain, target) == fingerprint(converter, numpy, target)


def test_adapted_voices_are_other_targets(converter: VoiceConverter, voice: Voice) -> None:
    made, size = converter.bundle.converter_fingerprint, converter.bundle.config.adapter
    adapters = [None, *(Adapter(np.full(size, value, np.float32), made) for value in (0.1, 0.2))]
    targets = [make_target(converter, replace(voice, adapter=adapter)) for adapter in adapters]
    assert len({target.fingerprint for target in targets}) == 3


def log_result(folder: Path, source: Path, name: str, settings: str = "") -> None:
    """Writes a result, and its entry in the log, as a run does."""
    journal = Journal(folder)
    (folder / name).write_bytes(f"result of {source}".encode())
    journal.add(Entry(str(source), sha256_of(source), settings, name, sha256_of(folder / name)))
    journal.close()


def test_names_that_another_run_has_overtaken_are_not_used(
    converter: VoiceConverter, voice: Voice, talks: Path, tmp_path: Path
) -> None:
    with Batch(converter, tmp_path, [make_target(converter, voice)]) as batch:
        tasks = batch.tasks([talks / "a.wav"])
        log_result(tmp_path, talks / "b.flac", "a.wav")
        before = contents(tmp_path)
        for _ in range(2):
            with pytest.raises(InputError, match="another run has changed this folder; start again"):
                list(batch.run(tasks))
        assert contents(tmp_path) == before
        again = batch.tasks([talks / "a.wav"])
        log_result(tmp_path, talks / "a.wav", "a-2.wav", batch._setup.fingerprints[0])
        assert [task.output for task in again] == [Path("a-2.wav")]
        outcomes = [event for event in batch.convert([talks / "a.wav"]) if isinstance(event, Outcome)]
    assert [(outcome.output.name, outcome.state) for outcome in outcomes] == [("a-2.wav", "skipped")]
    assert contents(tmp_path).items() > before.items()


@pytest.mark.parametrize("force", [False, True])
def test_a_file_that_appears_before_its_turn_is_not_replaced(
    converter: VoiceConverter, voice: Voice, talks: Path, tmp_path: Path, force: bool
) -> None:
    with Batch(converter, tmp_path, [make_target(converter, voice)], force=force) as batch:
        tasks = batch.tasks([talks / "a.wav"])
        (tmp_path / "a.wav").write_bytes(b"of another program")
        (outcome,) = batch.run(tasks)
        again = batch.tasks([talks / "a.wav"])
    assert isinstance(outcome, Outcome)
    assert outcome.state == "failed"
    assert "a.wav was written by another program meanwhile; run the command again" in outcome.error
    assert (tmp_path / "a.wav").read_bytes() == b"of another program"
    assert [task.output for task in again] == [Path("a-2.wav")]


def test_a_file_that_appears_during_a_conversion_is_not_replaced(
    converter: VoiceConverter, voice: Voice, talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, real = Batch(converter, tmp_path, [make_target(converter, voice)]), audio.inspect_tracks
    (task,) = batch.tasks([talks / "a.wav"])

    def inspect_tracks(*arguments: Any) -> Any:
        (tmp_path / "a.wav").write_bytes(b"of another program")
        return real(*arguments)

    monkeypatch.setattr(audio, "inspect_tracks", inspect_tracks)
    entry = batch._setup.perform(task, lambda share: None, lambda: pytest.fail("it was replaced"))
    assert "a.wav was written by another program meanwhile; run the command again" in entry.error
    assert contents(tmp_path) == {"a.wav": b"of another program"}


def test_the_same_tasks_again_replace_their_own_results(
    converter: VoiceConverter, voice: Voice, talks: Path, tmp_path: Path
) -> None:
    with Batch(converter, tmp_path, [make_target(converter, voice)], force=True) as batch:
        tasks = batch.tasks([talks / "a.wav"])
        for _ in range(2):
            outcomes = [event for event in batch.run(tasks) if isinstance(event, Outcome)]
            assert states(outcomes) == {"a.wav": "converted"}


def test_recordings_of_one_name_that_were_moved_together_are_known(
    converter: VoiceConverter, voice: Voice, talks: Path, tmp_path: Path
) -> None:
    sources = [tmp_path / "now" / folder / "a.wav" for folder in ("one", "two")]
    for number, source in enumerate(sources):
        source.parent.mkdir(parents=True)
        soundfile.write(source, vowels(0.5, pitch=120.0 + 40 * number), 22050)
    out, target = tmp_path / "out", make_target(converter, voice)
    with Batch(converter, out, [target]) as batch:
        for source, name in zip(sources, ("a.wav", "a-2.wav"), strict=True):
            log_result(out, source, name, batch._setup.fingerprints[0])
        sources[0].parent.parent.rename(tmp_path / "later")
        inputs = [tmp_path / "later" / folder for folder in ("one", "two")]
        outcomes = [event for event in batch.convert(inputs) if isinstance(event, Outcome)]
    assert [(outcome.output.name, outcome.state) for outcome in outcomes] == [
        ("a.wav", "skipped"),
        ("a-2.wav", "skipped"),
    ]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_among_the_recordings_of_a_voice_is_not_waited_for(
    converter: VoiceConverter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "anna"
    folder.mkdir()
    soundfile.write(folder / "a.wav", vowels(2.0), 22050)
    whole = make_target(converter, folder)
    os.mkfifo(folder / "pipe.wav")
    real = journal_module.sha256_of

    def read(path: Path) -> str:
        return pytest.fail("it would wait") if path.name == "pipe.wav" else real(path)

    monkeypatch.setattr(journal_module, "sha256_of", read)
    monkeypatch.setattr(tasks_module, "sha256_of", read)
    with pytest.warns(AudioWarning, match=r"pipe\.wav is not a regular file.*; it is left out"):
        part = make_target(converter, folder)
    assert part.fingerprint == whole.fingerprint
