"""The networks of streams train, in the right frames, and become a bundle that streams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fastvoicegrad import InputError  # noqa: E402
from fastvoicegrad.postfilter import NO_SUMS, PostFilter  # noqa: E402
from fastvoicegrad.stream.bundle import StreamBundle  # noqa: E402
from fastvoicegrad.stream.converter import StreamingConverter  # noqa: E402
from fastvoicegrad.stream.frontend import stream_mel  # noqa: E402
from fastvoicegrad.training.data.conversion import as_conversions  # noqa: E402
from fastvoicegrad.training.data.stream_crops import WARM_UP, StreamMel, on_time, scored  # noqa: E402
from fastvoicegrad.training.losses import LogMel  # noqa: E402
from fastvoicegrad.training.recipe import read_yaml  # noqa: E402
from fastvoicegrad.training.stream_export import StreamExportSettings, export_stream  # noqa: E402
from fastvoicegrad.training.stream_networks import load_stream_content, load_stream_renderer  # noqa: E402
from fastvoicegrad.training.tasks.registry import make_task, section  # noqa: E402
from tests.conftest import vowels  # noqa: E402
from tests.training.tasks.stand_ins import Recogniser  # noqa: E402
from tests.training.tasks.tiny_runs import RECIPES, trainer  # noqa: E402

STREAMS = ("stream-content", "stream-pitch", "stream-renderer", "stream-converter")


def link_others(runs: Path, folder: Path) -> None:
    """Put the trained networks that a converter's recipe names beside its run."""
    for name in ("stream-content", "student", "vocoder"):
        (folder / name).symlink_to(runs / name)


@pytest.mark.parametrize("window", [512, 768, 1024])
def test_training_reads_the_mel_that_the_stream_computes(window: int) -> None:
    wave, beside = vowels(1.0)[: 80 * 256], (window - 256) // 2
    expected = stream_mel(np.pad(wave, beside), window)
    given = StreamMel(window)(torch.from_numpy(wave)[None])[0].T.numpy()
    np.testing.assert_allclose(given[2:-2], expected[2:-2], atol=1e-3)  # the ends are mirrored in training


def test_an_unknown_window_is_refused() -> None:
    with pytest.raises(InputError, match="window must be one of 512, 768, 1024"):
        StreamMel(640)


def test_late_outputs_meet_their_targets() -> None:
    target = torch.arange(30)[None, :, None]
    late = torch.nn.functional.pad(target, (0, 0, 3, 0))[:, :30]
    kept = scored(30, 3)
    assert torch.equal(on_time(late, 3)[:, kept], target[:, kept])
    assert kept == slice(WARM_UP, 27)
    with pytest.raises(InputError, match="more than 18 frames"):
        scored(18, 2)


def test_a_section_replaces_what_the_parts_share() -> None:
    data = {"loop": {"steps": 4, "seed": 1}, "stream-pitch": {"loop": {"steps": 2}}, "stream-content": {"x": 1}}
    assert section("stream-pitch", data) == {"loop": {"steps": 2, "seed": 1}}
    assert section("content", {"store": "s"}) == {"store": "s"}


@pytest.mark.parametrize("part", STREAMS)
def test_the_release_recipe_is_complete(part: str) -> None:
    """All its names are known: the first thing that is missing is a file."""
    with pytest.raises(InputError, match="not a feature store|no such file"):
        make_task(part, read_yaml(RECIPES / "release" / "streaming.yaml"))


@pytest.mark.parametrize("kind", ["wave", "mel", "mel conditional"])
def test_every_discriminator_can_judge_the_converter(runs: Path, store: Path, kind: str, tmp_path: Path) -> None:
    link_others(runs, tmp_path)
    name, *conditional = kind.split()
    small = ("adversary.wave.periods=[2]", "adversary.wave.period_channels=[2, 4]")
    more = (f"adversary.input={name}", f"adversary.conditional={bool(conditional)}".lower(), "adversary_start=0")
    run = trainer(store, tmp_path, "stream-converter", *more, *small, "adversary.wave.resolutions=[[512, 128, 512]]")
    before = {n: [p.clone() for p in m.parameters()] for n, m in run.task.modules.items()}
    scalars = run.train_step()
    assert {"mel", "dist", "adv", "fm", "discriminator"} <= set(scalars)
    for name, module in run.task.modules.items():
        assert any(not torch.equal(a, b) for a, b in zip(before[name], module.parameters(), strict=True)), name
    assert all(p.grad is None for module in run.task.frozen.values() for p in module.parameters())


def test_pretrained_networks_can_judge_the_converter(
    runs: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastvoicegrad.training.tasks.student_losses.MelRecogniser", Recogniser)
    link_others(runs, tmp_path)
    with pytest.raises(InputError, match="speaker encoder"):
        trainer(store, tmp_path, "stream-converter", "weights.speaker=1.0")
    speaker = runs / "speaker" / "last.safetensors"
    networks = (f"speaker={speaker}", "recogniser=whisper.pt", "recogniser_margins=[0.1,0.1]")
    weights = [f"weights.{name}=1.0" for name in ("mel", "dist", "adv", "fm", "speaker", "recogniser")]
    run = trainer(store, tmp_path, "stream-converter", *weights, *networks)
    losses = run.train_step()
    assert losses["speaker"] > 0
    assert losses["recogniser"] > 0


def test_pretrained_networks_can_judge_the_sound_of_the_renderer(
    runs: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They get the mel of the very sound that the renderer makes, and the converter gets their gradient."""
    monkeypatch.setattr("fastvoicegrad.training.tasks.student_losses.MelRecogniser", Recogniser)
    link_others(runs, tmp_path)
    speaker, renderer = (runs / name / "last.safetensors" for name in ("speaker", "stream-renderer"))
    networks = (f"speaker={speaker}", "recogniser=whisper.pt", "recogniser_margins=[0.1,0.1]", f"renderer={renderer}")
    weights = [f"weights.{name}=0" for name in ("mel", "dist", "adv", "fm")]
    weights += ["weights.speaker=1", "weights.recogniser=1"]
    task = trainer(store, tmp_path, "stream-converter", *weights, *networks).task
    batch = task.batch(np.random.default_rng(0), 4)
    task.forward(batch)
    made, real, converted = task._sounding(batch)
    assert made.shape == real.shape == (4, 80, 22)  # of 48 frames: 16 warm up, 2 are look-ahead, 8 settle
    conversions = as_conversions(batch)
    network = load_stream_renderer(renderer)
    mel, pitch = task.frozen["teacher"].norm.undo(task._converted), conversions["pitch"][:, 16:46]
    filters, _ = network(mel.transpose(1, 2), pitch)
    sound = network.render(filters, pitch, conversions["render_noise"][:, :30], conversions["render_start"])
    torch.testing.assert_close(converted, LogMel()(sound)[:, :, 8:])
    task.total(task.losses(batch)).backward()
    assert all(p.grad is None for p in task.frozen["rendered"].parameters())
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in task.modules["stream-converter"].parameters())


def test_the_content_encoder_can_train_on_with_the_converter(runs: Path, store: Path, tmp_path: Path) -> None:
    link_others(runs, tmp_path)
    before = load_stream_content(runs / "stream-content" / "last.safetensors").state_dict()
    weights = [f"weights.{name}=1.0" for name in ("mel", "dist", "adv", "fm", "content")]
    run = trainer(store, tmp_path, "stream-converter", "train_content=true", "loop.steps=2", *weights)
    assert run.train_step()["content"] > 0
    run.save()
    after = load_stream_content(run.last).state_dict()
    assert after.keys() == before.keys()
    assert not torch.equal(after["encoder.bottleneck.1.weight"], before["encoder.bottleneck.1.weight"])
    assert torch.equal(after["units.weight"], before["units.weight"])


@torch.inference_mode()
def test_the_teacher_shows_conversions_behind_the_post_filter(runs: Path, store: Path, tmp_path: Path) -> None:
    link_others(runs, tmp_path)
    settings = "postfilter.smoothing=0.1", "postfilter.sharpening=1.3"
    plain, filtered = (trainer(store, tmp_path, "stream-converter", *some).task for some in ((), settings))
    batch = as_conversions(plain.batch(np.random.default_rng(0), 4))
    for made, taught in zip(plain.teach(batch).numpy(), filtered.teach(batch).numpy(), strict=True):
        expected, _ = PostFilter(0.1, 1.3)(made, made, slice(0, made.shape[1]), NO_SUMS)
        # The outermost frames here have neighbours there.
        np.testing.assert_allclose(taught[:, 1:-1], expected[:, 1:-1], atol=1e-4)
        assert np.abs(taught - made).max() > 1e-3


@pytest.mark.slow
def test_trained_networks_become_a_stream(runs: Path, tmp_path: Path, converter: Any, voice: Any) -> None:
    parts = {part.removeprefix("stream-"): runs / part / "last.safetensors" for part in STREAMS}
    export_stream(tmp_path / "bundle", StreamExportSettings(storage="byte"), converter.bundle, **parts)
    stream = StreamingConverter(StreamBundle.open(tmp_path / "bundle"), voice, 16000)
    converted = stream.convert(vowels(1.0, rate=16000))
    assert converted.shape == (16000,)
    assert np.isfinite(converted).all()


def test_parts_that_do_not_fit_are_refused(runs: Path, store: Path, tmp_path: Path, converter: Any) -> None:
    other = trainer(store, tmp_path, "stream-pitch", "model.lookahead=1", "loop.steps=1")
    other.run()
    parts = {part.removeprefix("stream-"): runs / part / "last.safetensors" for part in STREAMS}
    parts["pitch"] = other.last
    with pytest.raises(InputError, match="one lookahead and one window"):
        export_stream(tmp_path / "bundle", StreamExportSettings(), converter.bundle, **parts)
