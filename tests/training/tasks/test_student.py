from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from fastvoicegrad import InputError  # noqa: E402
from fastvoicegrad.mel import lowpass_projection  # noqa: E402
from fastvoicegrad.postfilter import sharpen, smooth  # noqa: E402
from fastvoicegrad.training.checkpoint import average  # noqa: E402
from fastvoicegrad.training.data.conversion import as_conversions, speaker_conditions  # noqa: E402
from fastvoicegrad.training.losses import LogMel  # noqa: E402
from fastvoicegrad.training.networks import load_content  # noqa: E402
from fastvoicegrad.training.recipe import read_yaml  # noqa: E402
from fastvoicegrad.training.tasks.registry import part_recipe  # noqa: E402
from fastvoicegrad.training.tasks.student import StudentTask  # noqa: E402
from tests.training.tasks.stand_ins import Recogniser  # noqa: E402
from tests.training.tasks.tiny_runs import RECIPES, lend, trainer  # noqa: E402


@pytest.fixture(autouse=True)
def _lent(runs: Path, tmp_path: Path) -> None:
    lend(runs, tmp_path)


def drawn(store: Path, tmp_path: Path, *settings: str) -> tuple[StudentTask, dict[str, Any]]:
    """A student and a batch, after its forward pass."""
    task = trainer(store, tmp_path, "student", *settings).task
    assert isinstance(task, StudentTask)
    batch = task.batch(np.random.default_rng(0), 4)
    task.forward(batch)
    return task, batch


def test_the_loss_has_the_verifier_that_goes_to_the_device(runs: Path, store: Path, tmp_path: Path) -> None:
    settings = (f"speaker={runs / 'speaker' / 'last.safetensors'}", "weights.speaker=1")
    task, _ = drawn(store, tmp_path, *settings)
    assert task.extra.pretrained.networks["speaker"] is task.frozen["speaker"]


def test_another_normalisation_than_the_teachers_is_refused(runs: Path, store: Path, tmp_path: Path) -> None:
    tensors = load_file(runs / "student" / "last.safetensors")
    moved = {key: value + 0.5 if key.endswith("norm.mean") else value for key, value in tensors.items()}
    (tmp_path / "moved").mkdir()
    with safe_open(runs / "student" / "last.safetensors", "pt") as file:
        save_file(moved, tmp_path / "moved" / "last.safetensors", file.metadata())
    with pytest.raises(InputError, match="other means or deviations"):
        trainer(
            store, tmp_path, "student", f"loop.start_from={tmp_path / 'moved' / 'last.safetensors'}", name="refused"
        )


def test_a_step_changes_the_student_and_no_frozen_network(store: Path, tmp_path: Path) -> None:
    run = trainer(store, tmp_path, "student")
    frozen = {n: {k: v.clone() for k, v in m.state_dict().items()} for n, m in run.task.frozen.items()}
    before = [p.clone() for p in run.task.modules["student"].parameters()]
    run.train_step()
    assert any(not torch.equal(a, b) for a, b in zip(before, run.task.modules["student"].parameters(), strict=True))
    for name, module in run.task.frozen.items():
        assert all(p.grad is None for p in module.parameters())
        for key, value in module.state_dict().items():
            assert torch.equal(value, frozen[name][key])


def test_gradient_reaches_the_student_through_the_vocoder(store: Path, tmp_path: Path) -> None:
    run = trainer(store, tmp_path, "student", "weights.dist=0.0", "weights.mel=0.0")
    before = [p.clone() for p in run.task.modules["student"].parameters()]
    scalars = run.train_step()
    assert "dist" not in scalars
    assert any(not torch.equal(a, b) for a, b in zip(before, run.task.modules["student"].parameters(), strict=True))


def test_retrieval_without_references_is_refused(store: Path, tmp_path: Path) -> None:
    for part in ("teacher", "student"):
        with pytest.raises(InputError, match="reference_frames"):
            trainer(store, tmp_path, part, "data.reference_frames=0", name="refused")


def test_a_second_verifier_without_weights_is_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pretrained.pt"):
        trainer(store, tmp_path, "student", "weights.ge2e=1", name="refused")


def test_steps_beyond_the_schedule_are_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="distill_steps"):
        trainer(store, tmp_path, "student", "distill_steps=[1, 2000]", name="refused")


def test_a_teacher_with_another_noise_schedule_is_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'cosine'.*'linear'"):
        trainer(store, tmp_path, "student", "schedule.kind=linear", name="refused")


def test_conversions_have_losses_of_pretrained_networks(
    runs: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastvoicegrad.training.tasks.student_losses.MelRecogniser", Recogniser)
    with pytest.raises(InputError, match="speaker encoder"):
        trainer(store, tmp_path, "student", "weights.speaker=1.0")
    speaker = runs / "speaker" / "last.safetensors"
    settings = ("weights.speaker=1.0", f"speaker={speaker}", "weights.consistency=1.0")
    with pytest.raises(InputError, match="content"):
        trainer(store, tmp_path, "student", *settings)
    with pytest.raises(InputError, match="Whisper"):
        trainer(store, tmp_path, "student", "weights.recogniser=1.0")
    settings = (*settings, "weights.recogniser=1.0", "recogniser=whisper.pt")
    settings = (*settings, f"content={runs / 'content' / 'last.safetensors'}", "conversions=3", "loop.steps=2")
    with pytest.raises(InputError, match="2 blocks"):
        trainer(store, tmp_path, "student", *settings, "recogniser_margins=[0.1]")
    run = trainer(store, tmp_path, "student", *settings)
    batch = run.task.batch(np.random.default_rng(0), 4)
    assert torch.equal(batch["to_speaker"], batch["speaker"][1:])
    np.testing.assert_allclose(batch["to_pitch"].amax(1), batch["to_median_pitch"], rtol=1e-3)  # the store's are flat
    assert torch.equal(batch["to_source"], batch["mel"][:3])
    assert not torch.allclose(batch["source"], batch["mel"])  # perturbed
    losses = run.train_step()
    for name in ("speaker", "consistency", "recogniser"):
        assert losses[name] > 0


def test_pretrained_networks_can_judge_the_sound_of_the_vocoder(
    runs: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They get the mel of the very sound behind the post-filter, and the student gets their gradient."""
    monkeypatch.setattr("fastvoicegrad.training.tasks.student_losses.MelRecogniser", Recogniser)
    with pytest.raises(InputError, match="spectral"):
        trainer(store, tmp_path, "student", "judge_sound=true", "vocoder_kind=hifigan")
    speaker = runs / "speaker" / "last.safetensors"
    settings = ["judge_sound=true", "postfilter.smoothing=0.1", "postfilter.sharpening=1.3", "conversions=2"]
    settings += ["weights.speaker=1", f"speaker={speaker}", "weights.recogniser=1", "recogniser=whisper.pt"]
    task, batch = drawn(store, tmp_path, *settings, *(f"weights.{name}=0" for name in ("adv", "fm", "dist", "mel")))
    made, converted = task._judged(batch)
    assert made.shape == batch["mel"].shape
    network, pitch = task.adversary.vocoder, task.outputs.conversions["pitch"]
    mels = task.norm.undo(task.outputs.converted).detach().numpy()
    filtered = torch.from_numpy(np.stack([sharpen(smooth(mel, 0.1), 1.3) for mel in mels]))
    estimate, *filters = network.filters(filtered)
    pitch = torch.where(pitch > 0, pitch, estimate)
    sound = network.render(filtered, (pitch, *filters), batch["sound_noise"][:2])
    torch.testing.assert_close(converted, LogMel()(sound), atol=1e-3, rtol=1e-3)
    task.total(task.losses(batch)).backward()
    assert all(p.grad is None for p in task.frozen["vocoded"].parameters())
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in task.modules["student"].parameters())


def test_a_content_encoder_is_trained_with_its_student(runs: Path, store: Path, tmp_path: Path) -> None:
    content = runs / "content" / "last.safetensors"
    with pytest.raises(InputError, match="context"):
        trainer(store, tmp_path, "student", "train_content=true", f"content={content}")
    more = (
        "train_content=true",
        f"content={content}",
        "data.context=32",
        "weights.consistency=1.0",
        "weights.content=1.0",
    )
    whole = trainer(store, tmp_path, "student", *more, name="whole")
    before, frozen = load_content(content).state_dict(), whole.task.frozen["content"].state_dict()
    whole.run()
    after, last = load_content(whole.last).state_dict(), load_file(whole.last)
    assert all(torch.equal(frozen[key], before[key]) for key in before)  # of the loss "consistency"
    for head in ("units", "prosody"):
        assert not torch.equal(after[f"heads.{head}.weight"], before[f"heads.{head}.weight"])
    assert not torch.equal(after["encoder.stem.weight"], before["encoder.stem.weight"])
    assert all(torch.equal(value, last[f"content_ema.{key}"]) for key, value in after.items())

    parts = trainer(store, tmp_path, "student", *more, name="parts")
    parts.train_step()
    parts.train_step()
    parts.save()
    trainer(store, tmp_path, "student", *more, name="parts").run()
    resumed = load_file(parts.last)
    assert all(torch.equal(value, resumed[key]) for key, value in last.items())

    average([whole.last, parts.last], tmp_path / "mean.safetensors")
    mean = load_content(tmp_path / "mean.safetensors").state_dict()
    assert all(torch.equal(value, after[key]) for key, value in mean.items())
    with pytest.raises(InputError, match="lack"):
        average([whole.last, runs / "student" / "last.safetensors"], tmp_path / "mean.safetensors")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.context=4", "train_content needs data.context of 8 or more, as many frames as data.margin has, got 4"),
        ("data.context=33", "data.context must be a multiple of 2, got 33; set it to 34"),
        ("data.reference_frames=47", "data.reference_frames must be a multiple of 2, got 47; set it to 48"),
    ],
)
def test_frames_that_a_content_encoder_in_training_cannot_read_are_refused(setting: str, message: str) -> None:
    """With less context than the margin its contents would stand at wrong frames."""
    settings = ["train_content=true", "content=content.safetensors", "data.context=32"]
    part_recipe("student", read_yaml(RECIPES / "smoke" / "student.yaml", settings))
    with pytest.raises(InputError, match=message):
        part_recipe("student", read_yaml(RECIPES / "smoke" / "student.yaml", [*settings, setting]))


def test_a_content_encoder_of_fewer_units_is_refused(runs: Path, store: Path, tmp_path: Path) -> None:
    other = tmp_path / "store"
    other.mkdir()
    for path in store.iterdir():
        (other / path.name).symlink_to(path)
    (other / "units.npy").unlink()
    np.save(other / "units.npy", np.load(store / "units.npy") + 4)
    content = f"content={runs / 'content' / 'last.safetensors'}"
    with pytest.raises(InputError, match="has 20 units, and the content encoder's model.units is 16"):
        trainer(other, tmp_path, "student", "train_content=true", content, "data.context=32", name="refused")


def test_another_checkpoint_than_hifigans_is_refused(runs: Path, store: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no weights")
    for vocoder in (runs / "vocoder" / "last.safetensors", tmp_path / "text", tmp_path / "nosuch"):
        with pytest.raises(InputError, match="HiFi-GAN.*; name the"):
            trainer(store, tmp_path, "student", "vocoder_kind=hifigan", f"vocoder={vocoder}", name="refused")


def test_a_guided_teacher_also_teaches_conversions(store: Path, tmp_path: Path) -> None:
    settings = ("guidance.unconditional=0.5", "guidance.source=0.5", "conversions=2")
    task, batch = drawn(store, tmp_path, *settings)
    task.discriminator_loss(batch)
    assert len(task.outputs.converted) == 2
    with torch.no_grad():
        guided, _ = task.guided_teacher_estimate(task.outputs.converted, batch)
        plain, _ = task.teacher_estimate(task.outputs.converted, as_conversions(batch))
        unconditional_only, _ = drawn(store, tmp_path, settings[0], "conversions=2")
        other, _ = unconditional_only.guided_teacher_estimate(task.outputs.converted, batch)
    assert not torch.allclose(guided, plain)
    assert not torch.allclose(other, plain)
    assert not torch.allclose(other, guided)
    assert task.losses(batch)["dist"] > 0


def test_conversions_may_be_guided_as_at_run_time(store: Path, tmp_path: Path) -> None:
    settings = ("guidance.unconditional=0.5", "conversions=2", "conversion_guidance=0.5")
    task, batch = drawn(store, tmp_path, *settings, "conversion_guidance_cosines=30")
    conversions = as_conversions(batch)
    target, source = task.convert(conversions), task.convert(conversions | speaker_conditions(batch, 2))
    assert not torch.allclose(target, source)
    difference = torch.from_numpy(lowpass_projection(30)) @ (target - source)
    assert not torch.allclose(difference, target - source, atol=1e-3)
    torch.testing.assert_close(task.outputs.converted, target + 0.5 * difference)


def test_validation_scores_conversions_and_keeps_the_best_step(runs: Path, store: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    checkpoints = {p: runs / p / "last.safetensors" for p in ("speaker", "content")}
    settings = (f"speaker={checkpoints['speaker']}", f"content={checkpoints['content']}")
    run = trainer(store, tmp_path, "student", *settings, "loop.keep_best=score", "loop.validate_every=2")
    scores = run.run()
    assert scores["score"] == pytest.approx(scores["quality"] + scores["words"] + scores["voice"])
    assert scores["quality"] < 0
    curves = EventAccumulator(str(tmp_path / "student"), {"scalars": 0, "images": 0, "audio": 0}).Reload()
    best = max(event.value for event in curves.Scalars("valid/score"))
    assert run.best == pytest.approx(best)
    shown = {f"{name}/{i}" for name in ("conversion", "source", "target") for i in range(4)}
    assert shown <= set(curves.Tags()["images"])
    assert shown <= set(curves.Tags()["audio"])
    again = trainer(store, tmp_path, "student", *settings, "loop.keep_best=score", "loop.steps=6")
    assert (again.step, again.best) == (4, run.best)
    assert (tmp_path / "student" / "best.safetensors").exists()
