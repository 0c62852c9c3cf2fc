from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastvoicegrad import Bundle, InputError, Voice, graphs
from fastvoicegrad.bundle import DEFAULT, LARGEST_CONFIG, LARGEST_GRAPH
from fastvoicegrad.bundle_config import RENAMED, RENAMED_POSTFILTER, write_config
from fastvoicegrad.diffusion import cosine_schedule, laplace_schedule
from fastvoicegrad.mel import MEL
from fastvoicegrad.postfilter import PostFilter
from fastvoicegrad.threads import available_cores
from fastvoicegrad.voice_file import Adapter
from tests.fuzz.archives import with_many_names


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The default bundle with a config.json of its own. The networks are links: remove one before writing there."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    for file in DEFAULT.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "config.json").unlink()
    shutil.copyfile(DEFAULT / "config.json", folder / "config.json")
    return folder


def replace_file(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


def edit(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))


def edit_network(folder: Path, name: str, **changes: object) -> None:
    networks = json.loads((folder / "config.json").read_text())["networks"]
    edit(folder, networks=networks | {name: networks[name] | changes})


def test_default_bundle_is_small_and_described() -> None:
    assert sum(f.stat().st_size for f in DEFAULT.iterdir()) <= 40e6
    notes = Bundle.open().config.notes
    assert {"license", "training_data", "intended_use"} <= set(notes)


def test_zip_equals_folder(tmp_path: Path, speech: np.ndarray) -> None:
    path = tmp_path / "bundle.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in DEFAULT.iterdir():
            archive.write(file, file.name)
    mel = np.random.default_rng(0).normal(-5, 2, (1, 80, 64)).astype(np.float32)
    for name in ("content", "speaker", "pitch", "vocoder"):
        for a, b in zip(Bundle.open(path).run(name, mel=mel), Bundle.open().run(name, mel=mel), strict=True):
            np.testing.assert_array_equal(a, b)


def test_missing(tmp_path: Path) -> None:
    for path, text in ((tmp_path / "none", "no such bundle"), (tmp_path, "config.json is missing")):
        with pytest.raises(InputError, match=text):
            Bundle.open(path)


def test_damaged_network_is_refused(copy: Path) -> None:
    data = bytearray((copy / "vocoder.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    replace_file(copy / "vocoder.onnx", data)
    with pytest.raises(InputError, match="vocoder.*damaged"):
        Bundle.open(copy)


def test_missing_network_is_refused(copy: Path) -> None:
    (copy / "content.onnx").unlink()
    with pytest.raises(InputError, match=r"content\.onnx is missing"):
        Bundle.open(copy)


def test_newer_format_is_refused(copy: Path) -> None:
    edit(copy, format=99)
    with pytest.raises(InputError, match="pip install -U"):
        Bundle.open(copy)


def test_older_format_is_refused(copy: Path) -> None:
    edit(copy, format=1)
    with pytest.raises(InputError, match="export the bundle again"):
        Bundle.open(copy)


def test_settings_of_later_formats_have_defaults(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text()) | {"format": 3}
    del config["temperature"], config["guidance_cosines"], config["postfilter"]
    (copy / "config.json").write_text(json.dumps(config))
    opened = Bundle.open(copy).config
    assert opened.temperature == 1
    assert opened.guidance_cosines == MEL.n_mels
    assert opened.postfilter == PostFilter()


def test_the_noise_schedule_reaches_the_run_time(copy: Path) -> None:
    bundle = Bundle.open(copy)
    np.testing.assert_array_equal(bundle.alpha_bar, cosine_schedule())
    write_config(copy, bundle.config)
    write_config(copy, replace(bundle.config, schedule="laplace", schedule_scale=2.0))
    np.testing.assert_array_equal(Bundle.open(copy).alpha_bar, laplace_schedule(scale=2.0))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "x" * 201},
        {"format": True},
        {"format": 10**30},
        {"start": 1001},
        {"max_steps": 951},
        {"max_beta": 1e-300},
        {"offset": 1, "max_beta": 1e-9},
        {"schedule": "quadratic"},
        {"schedule_scale": 1e9},
        {"mel_mean": [100.0] * 80},
        {"notes": "free"},
        {"surprise\x1b[31m" * 1000: 1},
        {"format": "x"},
        {"networks": {}},
        {"surprise": 1},
        {"mel": {"hop_length": 200}},
        {"steps": 10**8},
        {"start": 0},
        {"corrections": 10**9},
        {"relaxation": 0},
        {"mel_mean": [0.0] * 79},
        {"mel_std": [0.0] * 80},
        {"mel_std": [1e400] * 80},
        {"temperature": "hot"},
        {"postfilter": {"smoothing": 9}},
    ],
)
def test_broken_config_is_refused(copy: Path, changes: dict[str, object]) -> None:
    edit(copy, **changes)
    with pytest.raises(InputError):
        Bundle.open(copy)


@pytest.mark.parametrize("text", ["", "{", "null", "[" * 100_000, '{"format": 1e999}', "\x00", '{"format": 5}', "NaN"])
def test_config_that_is_not_one(copy: Path, text: str) -> None:
    (copy / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"^[ -~]+$"):
        Bundle.open(copy)


@pytest.mark.parametrize(
    ("name", "changes"),
    [("content", {"left": -1}), ("content", {"left": 10**6}), ("pitch", {"stride": 0}), ("pitch", {"right": "x"})],
)
def test_a_network_out_of_range_is_refused(copy: Path, name: str, changes: dict[str, object]) -> None:
    edit_network(copy, name, **changes)
    with pytest.raises(InputError, match=next(iter(changes))):
        Bundle.open(copy)


def test_strides_that_do_not_fit_together_are_refused(copy: Path) -> None:
    """Each is small; their least common multiple is not."""
    for name, stride in (("content", 61), ("pitch", 59), ("speaker", 53), ("vocoder", 64)):
        edit_network(copy, name, stride=stride)
    with pytest.raises(InputError, match="stride"):
        Bundle.open(copy)


@pytest.mark.parametrize("file", ["../outside.onnx", "/tmp/outside.onnx", "sub/content.onnx", "content.txt", ""])
def test_a_network_is_named_by_a_plain_file_name(copy: Path, file: str) -> None:
    config = json.loads((copy / "config.json").read_text())
    shutil.copyfile(copy / "content.onnx", copy.parent / "outside.onnx")
    config["networks"]["content"]["file"] = file
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="file"):
        Bundle.open(copy)


def test_names_of_older_formats_are_read(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text()) | {"format": 4}
    for old, name in RENAMED.items():
        config[old] = config.pop(name)
    for old, name in RENAMED_POSTFILTER.items():
        config["postfilter"][old] = config["postfilter"].pop(name)
    del config["version"]
    (copy / "config.json").write_text(json.dumps(config))
    opened, default = Bundle.open(copy).config, Bundle.open().config
    assert opened == replace(default, version="")


def test_a_relative_path_stays_valid_elsewhere(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy.parent)
    opened = Bundle.open("bundle")
    monkeypatch.chdir("/")
    assert opened.session("pitch")


def test_the_default_bundle_would_pass_the_checks_that_it_is_spared() -> None:
    opened = Bundle.open()
    assert opened.trusted
    for name in opened.config.networks:
        graphs.check_graph(opened.graph(name))


@pytest.mark.parametrize("threads", [0, -3])
def test_threads_are_one_or_more(threads: int) -> None:
    with pytest.raises(InputError, match=f"threads must be 1 or more, got {threads}"):
        Bundle.open(threads=threads)


def test_windows_on_several_threads_have_the_embeddings_of_each_alone() -> None:
    mel = np.random.default_rng(0).standard_normal((80, 200), np.float32) - 5
    windows = [mel[:, :90], mel[:, 50:], mel]
    alone = [Bundle.open(threads=1).speaker(window) for window in windows]
    for threads in (1, 2):
        together = Bundle.open(threads=threads).speakers(windows)
        np.testing.assert_allclose(together, alone, atol=1e-6)


def test_networks_are_loaded_once_beside_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, made = Bundle.open(threads=2 if available_cores() > 1 else None), list[str]()
    load = opened._loaded
    monkeypatch.setattr(opened, "_loaded", lambda name: made.append(name) or load(name))
    opened.load_ahead("converter", "vocoder")
    opened.load_ahead("converter", "vocoder")
    with ThreadPoolExecutor(4) as threads:
        sessions = list(threads.map(opened.session, ["vocoder", "converter", "vocoder", "converter"]))
    assert (sessions[0], sessions[1]) == (sessions[2], sessions[3])
    assert sorted(made) == ["converter", "vocoder"]


def test_a_network_that_fails_beside_other_work_fails_at_its_use(copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    opened = Bundle.open(copy, threads=2)
    opened._graphs.clear()
    replace_file(copy / "pitch.onnx", b"nothing")
    opened.load_ahead("pitch")
    with pytest.raises(InputError, match="damaged"):
        opened.session("pitch")
    assert capfd.readouterr() == ("", "")


# -- what a bundle promises to the rest -----------------------------------------------------------------------


def with_network(name: str, **changes: Any) -> Bundle:
    """The default bundle with other settings of one network."""
    opened = Bundle.open()
    networks = opened.config.networks
    changed = replace(opened.config, networks=networks | {name: replace(networks[name], **changes)})
    return Bundle(changed, opened.read)


def test_the_fingerprint_is_that_of_the_networks_that_make_a_voice() -> None:
    own = {name: with_network(name, sha256="0" * 64) for name in Bundle.open().config.networks}
    for bundle in (opened := Bundle.open(), *own.values()):
        bundle.config = replace(bundle.config, encoder="")
    changed = {name for name, bundle in own.items() if bundle.fingerprint != opened.fingerprint}
    assert changed == {"speaker", "content", "pitch"}


def test_voices_of_an_older_bundle_fit_one_that_names_it(voice: Voice) -> None:
    opened = Bundle.open()
    assert opened.config.encoder == opened.fingerprint
    renamed = Bundle(replace(opened.config, encoder="0" * 16), opened.read)
    renamed.check_voice(replace(voice, encoder="0" * 16))
    with pytest.raises(InputError, match="another bundle"):
        renamed.check_voice(voice)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(("name", "steps", "times"), [("converter", 1, 1), ("converter", 3, 3), ("vocoder", 3, 1)])
def test_the_context_grows_with_each_network_of_the_chain(side: str, name: str, steps: int, times: int) -> None:
    before, after = Bundle.open(), with_network(name, **{side: getattr(Bundle.open().config.networks[name], side) + 64})
    index = ["left", "right"].index(side)
    assert after.context(steps)[index] == before.context(steps)[index] + 64 * times
    assert after.context(steps)[1 - index] == before.context(steps)[1 - index]


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_context_holds_the_longer_one_of_content_and_pitch(side: str) -> None:
    index, opened = ["left", "right"].index(side), Bundle.open()
    networks = opened.config.networks
    longest = max(getattr(networks[name], side) for name in ("content", "pitch"))
    for name in ("content", "pitch"):
        grown = with_network(name, **{side: longest + 64})
        assert grown.context()[index] == opened.context()[index] + 64
    rest = sum(getattr(networks[name], side) for name in ("converter", "vocoder"))
    assert opened.context()[index] >= longest + rest


def test_context_and_stride_are_in_whole_strides() -> None:
    assert with_network("pitch", stride=3).stride == 12  # content 2, converter 4
    assert all(frames % 12 == 0 for frames in with_network("pitch", stride=3).context())


def test_smoothing_needs_a_neighbour() -> None:
    opened = Bundle.open()
    chain = ("content", "converter", "vocoder")
    short = -sum(opened.config.networks[name].left for name in chain) % 4
    opened = with_network("vocoder", left=opened.config.networks["vocoder"].left + short)  # whole strides in all
    plain = Bundle(replace(opened.config, postfilter=PostFilter()), opened.read)
    smooth = Bundle(replace(opened.config, postfilter=PostFilter(smoothing=0.1)), opened.read)
    reach = sum(opened.config.networks[name].left for name in chain)
    assert [plain.context()[0], smooth.context()[0]] == [reach, reach + 4]


# -- hostile archives, paths and voices ---------------------------------------------------------------------


@pytest.fixture
def zipped(tmp_path: Path) -> Callable[..., Path]:
    """Archives of config.json and of the beginnings of the networks."""

    def make(method: int = zipfile.ZIP_STORED, **changed: bytes) -> Path:
        path = tmp_path / "bundle.zip"
        with zipfile.ZipFile(path, "w", method) as archive:
            for file in DEFAULT.iterdir():
                archive.writestr(file.name, changed.get(file.stem) or file.read_bytes()[:10_000])
        return path

    return make


def test_an_archive_that_unpacks_to_too_much_is_refused(zipped: Callable[..., Path]) -> None:
    path = zipped(zipfile.ZIP_DEFLATED, config=bytes(LARGEST_CONFIG + 1))
    with pytest.raises(InputError, match="too large"):
        Bundle.open(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_packed_by_another_method_is_refused(zipped: Callable[..., Path], method: int) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        Bundle.open(zipped(method))


def test_a_large_file_is_refused_before_it_is_read(copy: Path) -> None:
    replace_file(copy / "pitch.onnx", b"")
    with (copy / "pitch.onnx").open("r+b") as file:
        file.truncate(LARGEST_GRAPH + 1)  # a sparse file
    with pytest.raises(InputError, match="too large"):
        Bundle.open(copy)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("name", ["config.json", "pitch.onnx"])
@pytest.mark.parametrize("kind", ["pipe", "device", "loop", "folder"])
def test_only_regular_files_are_read(copy: Path, name: str, kind: str) -> None:
    (copy / name).unlink()
    if kind == "pipe":
        os.mkfifo(copy / name)
    elif kind == "folder":
        (copy / name).mkdir()
    else:
        (copy / name).symlink_to("/dev/zero" if kind == "device" else name)
    with pytest.raises(InputError, match=f"{name} is missing"):
        Bundle.open(copy)


@pytest.mark.parametrize("name", ["x" * 300, "a\x00b", "\udcff", "x/y", "\x1b[31m"])
def test_paths_that_cannot_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"^[ -~]*no such bundle; give the folder [ -~]*$"):
        Bundle.open(tmp_path / name)


def test_a_bundle_without_adapters_refuses_adapted_voices(voice: Voice) -> None:
    bundle = replaced_adapter(0)
    bundle.check_voice(voice)
    with pytest.raises(InputError, match="this bundle takes no adapted voices"):
        bundle.check_voice(replace(voice, adapter=Adapter(np.zeros(3, np.float32), bundle.converter_fingerprint)))


@pytest.mark.parametrize(("size", "made_for"), [(3, "0123456789abcdef"), (4, "")])
def test_an_adapter_of_another_bundle_is_refused(voice: Voice, size: int, made_for: str) -> None:
    bundle = replaced_adapter(3)
    own = bundle.converter_fingerprint
    bundle.check_voice(replace(voice, adapter=Adapter(np.zeros(3, np.float32), own)))
    with pytest.raises(InputError, match="adapted for another bundle; adapt it again with 'fastvoicegrad adapt'"):
        bundle.check_voice(replace(voice, adapter=Adapter(np.zeros(size, np.float32), made_for or own)))


def test_the_converter_gets_the_adapter_or_zeros(voice: Voice) -> None:
    bundle, given = replaced_adapter(3), list[np.ndarray]()
    bundle.run = lambda name, **inputs: given.append(inputs["adapter"]) or [inputs["x"]]  # type: ignore[method-assign,func-returns-value]
    adapted = replace(voice, adapter=Adapter(np.full(3, 0.5, np.float32), bundle.converter_fingerprint))
    frames = np.zeros((MEL.n_mels, 4), np.float32), 1, np.zeros((144, 4), np.float32), np.zeros(4, np.float32)
    bundle.estimates(*frames, [voice, adapted])
    np.testing.assert_array_equal(np.concatenate(given), [[0, 0, 0], [0.5, 0.5, 0.5]])


def replaced_adapter(size: int) -> Bundle:
    """The default bundle, as if its adapters had this size."""
    opened = Bundle.open()
    return Bundle(replace(opened.config, adapter=size), opened.read)


def test_a_voice_of_other_sizes_does_not_fit(voice: Voice) -> None:
    opened = Bundle.open()
    opened.check_voice(voice)
    shorter = voice.embedding[:-1] / np.linalg.norm(voice.embedding[:-1])
    for wrong in (replace(voice, embedding=shorter), replace(voice, keys=voice.keys[1:])):
        with pytest.raises(InputError, match="does not fit"):
            opened.check_sizes(wrong)
    with pytest.raises(InputError, match="another bundle"):
        opened.check_voice(replace(voice, encoder="other"))


def test_an_archive_of_very_many_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bundle.zip").write_bytes(with_many_names({"config.json": b"{}"}))
    with pytest.raises(InputError, match="cannot be read"):
        Bundle.open(tmp_path / "bundle.zip")
