from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fastvoicegrad import InputError, Voice, VoiceConverter, pipeline, vocoder  # noqa: E402
from fastvoicegrad.bundle import Bundle  # noqa: E402
from fastvoicegrad.frames import Window  # noqa: E402
from fastvoicegrad.pipeline import Request, convert_mel  # noqa: E402
from fastvoicegrad.postfilter import PostFilter  # noqa: E402
from fastvoicegrad.settings import ConversionSettings  # noqa: E402
from fastvoicegrad.training import export as exporter  # noqa: E402
from fastvoicegrad.training.export import (  # noqa: E402
    ExportSettings,
    export,
    settings_of,
    with_converter,
    write_bundle,
)
from fastvoicegrad.training.models.unet import Denoiser, UNet  # noqa: E402
from fastvoicegrad.training.onnx_graphs import Graph  # noqa: E402
from fastvoicegrad.training.schedule import ScheduleConfig  # noqa: E402
from fastvoicegrad.voice_file import Adapter  # noqa: E402
from tests.conftest import vowels  # noqa: E402
from tests.tiny import Networks  # noqa: E402
from tests.training import checkpoints  # noqa: E402


@pytest.mark.parametrize("frames", [16, 100, 640])
@torch.inference_mode()
def test_torch_equals_onnx(networks: Networks, folder: Path, frames: int) -> None:
    content, tracker, speaker, unet, spectral = networks
    bundle = Bundle.open(folder)
    mel = torch.randn(1, 80, frames) * 2 - 5
    p = bundle.run("content", mel=mel.numpy())[0]
    close = {"atol": 2e-4, "rtol": 1e-3}
    np.testing.assert_allclose(p, content(mel), **close)
    np.testing.assert_allclose(bundle.run("pitch", mel=mel.numpy())[0], tracker.track(mel), **close)
    np.testing.assert_allclose(bundle.run("speaker", mel=mel.numpy())[0], speaker(mel), **close)
    pitch, magnitude, phase, gain = spectral.filters(mel)
    outputs = [pitch, magnitude.exp() * phase.cos(), magnitude.exp() * phase.sin(), gain.exp()]
    for ours, expected in zip(bundle.run("vocoder", mel=mel.numpy()), outputs, strict=True):
        np.testing.assert_allclose(ours, expected, **close)
    keys, reference = torch.randn(1, 144, frames + 7), torch.randn(1, 80, frames + 7) * 2 - 5
    pitch = torch.rand(1, frames) * 700 * (torch.rand(1, frames) > 0.3)
    for t, scale in ((1, 0.0), (500, 0.3), (950, 0.3)):
        adapter = scale * torch.randn(1, bundle.config.adapter)
        conditions = unet.conditions(torch.from_numpy(p), keys, reference, pitch, adapter)
        x, s = torch.randn(1, 80, frames), torch.nn.functional.normalize(torch.randn(1, 192))
        ab = torch.tensor([float(bundle.alpha_bar[t])])
        ours = bundle.run(
            "converter",
            x=x.numpy(),
            step=np.array([t]),
            alpha_bar=ab.numpy(),
            speaker=s.numpy(),
            content=p,
            keys=keys.numpy(),
            reference=reference.numpy(),
            pitch=pitch.numpy(),
            adapter=adapter.numpy(),
        )[0]
        expected = Denoiser(unet)(x, torch.tensor([t]), ab, s, torch.from_numpy(p), conditions)[0]
        np.testing.assert_allclose(ours, expected, atol=2e-3, rtol=1e-3)  # retrieval is sharp: 50 times a cosine


@torch.inference_mode()
def test_rendering_equals_torch(networks: Networks, folder: Path) -> None:
    spectral, bundle = networks[4], Bundle.open(folder)
    mel = torch.randn(1, 80, 64) * 2 - 5
    ours, phase = vocoder.vocode(bundle, mel[0].numpy(), 0, slice(0, 64), 0.25, seed=3)
    noise = torch.from_numpy(vocoder.noise(3, 0, 64))[None]
    pitch, *filters = spectral.filters(mel)
    filters = ((pitch / vocoder.PITCH_GRID).round() * vocoder.PITCH_GRID, *filters)
    expected = spectral.render(mel, filters, noise, 0.25)[0].numpy()
    # The pulses' phase adds up the two different roundings of the pitch.
    np.testing.assert_allclose(ours, expected, atol=1e-2 * np.abs(expected).max())
    assert 0 <= phase < 1


def voice_for(bundle: Bundle, frames: int) -> Voice:
    """An adapted one."""
    random = np.random.default_rng(0)
    embedding, keys, mel = (random.standard_normal(n).astype(np.float32) for n in (192, (144, frames), (80, frames)))
    adapter = Adapter(0.1 * random.standard_normal(bundle.config.adapter, np.float32), bundle.converter_fingerprint)
    unit = embedding / np.linalg.norm(embedding)
    return Voice(unit, keys, mel - 5, 150.0, bundle.fingerprint, 1.0, adapter=adapter)


def test_a_teachers_bundle_converts_in_any_number_of_steps(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converter = VoiceConverter.load(folder)
    voice, wave, mels = voice_for(converter.bundle, 40), vowels(6.0), []
    vocode = pipeline.vocode

    def collected(bundle: Bundle, mel: np.ndarray, start: int, keep: slice, *more: Any) -> tuple[np.ndarray, float]:
        mels.append(mel[:, keep])
        return vocode(bundle, mel, start, keep, *more)

    # The untrained vocoder renders pulses of full height, which would amplify roundings: mels are compared.
    monkeypatch.setattr(pipeline, "vocode", collected)
    results = []
    for steps in (1, 6, 30):
        converted = []
        for chunk in (10**6, 128):
            mels.clear()
            request = Request(voice, None, ConversionSettings(steps))
            blocks = pipeline.convert_blocks(converter.bundle, iter([wave]), request, gain=1.0, chunk=chunk)
            assert np.isfinite(np.concatenate(list(blocks))).all()
            converted.append(np.concatenate(mels, axis=1))
        np.testing.assert_allclose(converted[1], converted[0], atol=1e-3)
        results.append(converted[0])
    assert np.abs(results[0] - results[1]).max() > 1e-4


@pytest.mark.parametrize(("initial", "uses_source", "uses_seed"), [("clean", True, False), ("noise", False, True)])
def test_a_bundle_names_its_initial_state(
    folder: Path, tmp_path: Path, initial: str, uses_source: bool, uses_seed: bool
) -> None:
    made = tmp_path / "bundle"
    shutil.copytree(folder, made)
    config = json.loads((made / "config.json").read_text())
    (made / "config.json").write_text(json.dumps(config | {"initial": initial}))
    bundle, states = Bundle.open(made), []
    bundle.run = lambda name, **inputs: states.append(inputs["x"]) or [inputs["x"]]  # type: ignore[method-assign,func-returns-value]
    content, pitch = np.zeros((144, 64), np.float32), np.zeros(64, np.float32)
    for level, seed in ((0.0, 0), (1.0, 0), (0.0, 1)):
        window = Window(np.full((80, 64), level, np.float32), 0, slice(0, 64))
        convert_mel(bundle, window, content, pitch, Request(voice_for(bundle, 8), None, ConversionSettings(seed=seed)))
    assert (not np.array_equal(states[0], states[1])) == uses_source
    assert (not np.array_equal(states[0], states[2])) == uses_seed
    (made / "config.json").write_text(json.dumps(config | {"initial": "dirty"}))
    with pytest.raises(InputError, match="dirty"):
        Bundle.open(made)


@pytest.mark.slow
def test_another_converter_leaves_the_other_networks_as_they_are(folder: Path, runs: Path, tmp_path: Path) -> None:
    base = Bundle.open(folder)
    base.config = replace(base.config, relaxation=1.4)
    with_converter(tmp_path, base, runs / "student" / "last.safetensors", teacher=False, name="other")
    other = Bundle.open(tmp_path)
    assert (other.config.corrections, other.config.relaxation) == (base.config.corrections, 1.4)
    assert other.fingerprint == base.fingerprint
    assert [n for n in base.config.networks if other.graph(n) != base.graph(n)] == ["converter"]
    assert other.config.postfilter == PostFilter()


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def write_again(made: Path, unet: UNet, corrections: int) -> None:
    """Write a bundle of the same graphs in its place."""
    base = Bundle.open(made)
    graphs = {n: Graph(base.graph(n), (of.left, of.right), of.stride) for n, of in base.config.networks.items()}
    write_bundle(made, ExportSettings("again"), graphs, unet, ScheduleConfig(), 1, corrections=corrections)


def test_a_bundle_that_could_not_be_opened_replaces_none(networks: Networks, folder: Path, tmp_path: Path) -> None:
    made = tmp_path / "bundle"
    shutil.copytree(folder, made)
    before = files_of(made)
    with pytest.raises(InputError, match=r"the bundle could not be opened: .*corrections.*; correct the export"):
        write_again(made, networks[3], 9)
    assert files_of(made) == before
    write_again(made, networks[3], 2)
    assert Bundle.open(made).config.name == "again"
    assert files_of(made).keys() == before.keys()


@pytest.mark.parametrize("number", [1, 2, 6])
def test_a_full_disk_leaves_the_older_bundle(
    networks: Networks, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    made, sync = tmp_path / "bundle", os.fsync
    shutil.copytree(folder, made)
    before, count = files_of(made), 0

    def fails(file: int) -> None:  # a disk may be full only when its cache is written
        nonlocal count
        count += 1
        if count == number:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(file)

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(InputError, match="no room left"):
        write_again(made, networks[3], 2)
    assert files_of(made) == before


def test_what_a_bundle_may_have_can_be_exported_again(folder: Path, tmp_path: Path) -> None:
    made = tmp_path / "bundle"
    shutil.copytree(folder, made)
    config = json.loads((made / "config.json").read_text())
    config |= {
        "temperature": 1.2,
        "guidance": 3.0,
        "feedback": 0.7,
        "corrections": 3,
        "relaxation": 1.4,
        "postfilter": {"smoothing": 0.4, "sharpening": 2.5},
    }
    (made / "config.json").write_text(json.dumps(config))
    settings = settings_of(Bundle.open(made))
    assert (settings.temperature, settings.guidance, settings.feedback) == (1.2, 3.0, 0.7)
    assert (settings.corrections, settings.relaxation, settings.postfilter.smoothing) == (3, 1.4, 0.4)


# -- networks that do not fit -------------------------------------------------------------------------------


def exported(folder: Path, lines: list[str] | None = None, teacher: bool = False, **parts: Path) -> None:
    """Export with checkpoints of `parts` in place of the usual ones; `lines` receive warnings."""
    made = checkpoints.networks()
    usual = {task: checkpoints.saved(folder, task, made[task]) for task in ("content", "speaker", "pitch", "vocoder")}
    usual["converter"] = checkpoints.saved(folder, "student", made["student"])
    more: dict[str, Any] = {} if lines is None else {"warn": lines.append}
    export(folder / "bundle", ExportSettings(), **usual | parts, teacher=teacher, **more)


@pytest.fixture
def without_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports that end before any graph is made."""
    for name in ("content", "pitch", "speaker", "vocoder"):
        monkeypatch.setattr(exporter, f"{name}_graph", lambda *arguments: None)
    monkeypatch.setattr(exporter, "_write_with", lambda *arguments: None)


@pytest.mark.usefixtures("without_graphs")
@pytest.mark.parametrize(("part", "model"), [("content", checkpoints.content), ("speaker", checkpoints.speaker)])
def test_encoders_of_other_sizes_are_refused(tmp_path: Path, part: str, model: Callable[[int], Any]) -> None:
    (tmp_path / "other").mkdir()
    path = checkpoints.saved(tmp_path / "other", part, model(24))
    with pytest.raises(InputError, match=rf"reads {part} embeddings of \d+ numbers, the {part} encoder gives 24; give"):
        exported(tmp_path, **{part: path})


@pytest.mark.usefixtures("without_graphs")
def test_a_teacher_is_no_student(tmp_path: Path) -> None:
    path = checkpoints.saved(tmp_path, "teacher", checkpoints.networks()["teacher"])
    with pytest.raises(InputError, match=r"teacher\.safetensors is a teacher's checkpoint; name it with --teacher"):
        exported(tmp_path, converter=path)
    exported(tmp_path, converter=path, teacher=True)


@pytest.mark.usefixtures("without_graphs")
def test_another_content_encoder_than_the_converters_own_is_a_warning(tmp_path: Path) -> None:
    made, lines = checkpoints.networks(), list[str]()
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    joint = checkpoints.saved(tmp_path / "one", "student", made["student"], content=made["content"])
    exported(tmp_path, lines, converter=joint, content=joint)
    exported(tmp_path, lines, converter=joint)  # its content encoder has the same weights
    assert lines == []
    other = checkpoints.saved(tmp_path / "other", "content", checkpoints.content())
    exported(tmp_path, lines, converter=joint, content=other)
    assert len(lines) == 1
    assert "holds its own content encoder" in lines[0]
