"""Real, tiny runs of every recipe in recipes/smoke, through the same code as the release's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from fastvoicegrad import InputError  # noqa: E402
from fastvoicegrad.mel import envelope  # noqa: E402
from fastvoicegrad.training.checkpoint import average, save  # noqa: E402
from fastvoicegrad.training.data.embed import load_content  # noqa: E402
from fastvoicegrad.training.loop import LoopConfig, NonFiniteLoss, learning_rate_factor, share  # noqa: E402
from fastvoicegrad.training.recipe import PARTS, overridden, read_yaml  # noqa: E402
from fastvoicegrad.training.tasks.others import as_conversions, speaker_conditions, unconditional_speaker  # noqa: E402
from fastvoicegrad.training.tasks.student import StudentTask  # noqa: E402
from fastvoicegrad.training.tasks.teacher import ConversionCrops, ConversionData  # noqa: E402
from tests.training.tasks.tiny_runs import RECIPES, trainer  # noqa: E402


def test_every_part_leaves_a_checkpoint_curves_and_its_recipe(runs: Path) -> None:
    for part in PARTS:
        names = {path.name.split(".")[0] for path in (runs / part).iterdir()}
        assert {"last", "config", "events"} <= names


@pytest.mark.parametrize("part", PARTS)
def test_killed_and_resumed_equals_uninterrupted(runs: Path, store: Path, tmp_path: Path, part: str) -> None:
    for other in ("teacher", "vocoder"):
        if part == "student":
            (tmp_path / other).symlink_to(runs / other)
    trainer(store, tmp_path, part, "loop.steps=4", name="run")
    first = trainer(store, tmp_path, part, name="run")
    for _ in range(2):
        first.train_step()
    first.save()
    trainer(store, tmp_path, part, name="run").run()
    whole, parts = (
        load_file(runs / part / "last.safetensors"),
        load_file(tmp_path / "run" / "last.safetensors"),
    )
    assert whole.keys() == parts.keys()
    for key in whole:
        assert torch.equal(whole[key], parts[key]), key


def test_student_moves_and_its_frozen_helpers_do_not(runs: Path, store: Path, tmp_path: Path) -> None:
    for other in ("teacher", "vocoder"):
        (tmp_path / other).symlink_to(runs / other)
    run = trainer(store, tmp_path, "student")
    frozen = {n: {k: v.clone() for k, v in m.state_dict().items()} for n, m in run.task.frozen.items()}
    before = [p.clone() for p in run.task.modules["student"].parameters()]
    run.train_step()
    assert any(not torch.equal(a, b) for a, b in zip(before, run.task.modules["student"].parameters(), strict=True))
    for name, module in run.task.frozen.items():
        assert all(p.grad is None for p in module.parameters())
        for key, value in module.state_dict().items():
            assert torch.equal(value, frozen[name][key])


def test_a_reference_never_shows_the_crop(store: Path) -> None:
    data = ConversionData(str(store), frames=64, reference_frames=60, margin=4)
    crops, random = ConversionCrops(data, "train"), np.random.default_rng(0)
    for crop in crops.crops.draw(random, 50):
        frames = crops.reference(crop, random)
        assert len(frames) == 60
        assert ((frames < crop.start - 4) | (frames >= crop.start + crop.frames + 4)).all()
        voices = {
            e.recording.voice for e in crops.store.entries if any(e.start <= f < e.start + e.frames for f in frames)
        }
        assert voices == {crops.store.entries[crop.row].recording.voice}


def test_a_twin_says_the_crop_in_another_voice(store: Path) -> None:
    data = ConversionData(str(store), frames=64, parallel=1.0)
    crops = ConversionCrops(data, "train")
    twin = np.full(crops.store.total_frames, -1, np.int32)
    first, second = crops.store.entries[:2]
    twin[first.slice] = second.start + np.arange(first.frames) // 2
    crops.store._arrays["twin"] = twin
    for crop in crops.crops.draw(np.random.default_rng(0), 30):
        own = np.arange(crop.start, crop.start + crop.frames)
        expected = twin[own] if crop.row == 0 else own
        np.testing.assert_array_equal(crops.source(crop, np.random.default_rng(0)), expected)


def test_a_run_may_start_from_another(runs: Path, store: Path, tmp_path: Path) -> None:
    start = runs / "teacher" / "last.safetensors"
    run = trainer(store, tmp_path, "teacher", f"loop.start_from={start}")
    begun, trained = run.task.modules["teacher"].state_dict(), load_file(start)
    for key, value in begun.items():
        assert torch.equal(value, trained[f"teacher_ema.{key}"])


def test_a_draft_without_references_is_refused(runs: Path, store: Path) -> None:
    for part in ("teacher", "student"):
        with pytest.raises(InputError, match="reference_frames"):
            trainer(store, runs, part, "data.reference_frames=0", name="refused")


def test_gradient_reaches_the_student_through_the_vocoder(runs: Path, store: Path, tmp_path: Path) -> None:
    for other in ("teacher", "vocoder"):
        (tmp_path / other).symlink_to(runs / other)
    run = trainer(store, tmp_path, "student", "weights.dist=0.0", "weights.mel=0.0")
    before = [p.clone() for p in run.task.modules["student"].parameters()]
    scalars = run.train_step()
    assert "dist" not in scalars
    assert any(not torch.equal(a, b) for a, b in zip(before, run.task.modules["student"].parameters(), strict=True))


def test_the_mean_of_two_runs_is_a_run_to_start_from(runs: Path, store: Path, tmp_path: Path) -> None:
    for other in ("teacher", "vocoder"):
        (tmp_path / other).symlink_to(runs / other)
    first = runs / "student" / "last.safetensors"
    trainer(store, tmp_path, "student", "loop.seed=5", "loop.ema=0.0", name="plain").run()
    second, mean = tmp_path / "plain" / "last.safetensors", tmp_path / "mean.safetensors"
    average([first, second], mean)
    a, b, m = load_file(first), load_file(second), load_file(mean)
    ours = [key for key in m if key.startswith("student.")]
    assert ours == [key for key in a if key.startswith("student.")]
    for key in ours:
        torch.testing.assert_close(m[key], (a[key.replace("student.", "student_ema.")] + b[key]) / 2)
    started = trainer(store, tmp_path, "student", f"loop.start_from={mean}", name="on").task.modules
    for name in ("student", "discriminator"):
        for key, value in started[name].state_dict().items():
            assert torch.equal(value, m[f"{name}.{key}"])
    with pytest.raises(InputError, match="differ"):
        average([runs / "vocoder" / "last.safetensors", first], mean)


def test_what_only_some_runs_trained_is_the_mean_of_theirs(tmp_path: Path) -> None:
    paths, made = [], []
    for index, names in enumerate((["student"], ["student", "content"], ["student", "content"])):
        modules = {name: torch.nn.Linear(2, 2) for name in names}
        paths.append(tmp_path / f"{index}.safetensors")
        made.append(modules)
        save(paths[-1], modules, {}, {"task": "student", "model": {}, "ema": False})
    average(paths, tmp_path / "mean.safetensors")
    mean = load_file(tmp_path / "mean.safetensors")
    torch.testing.assert_close(mean["student.weight"], sum(m["student"].weight for m in made) / 3)
    torch.testing.assert_close(mean["content.bias"], (made[1]["content"].bias + made[2]["content"].bias) / 2)
    average(paths, tmp_path / "mean.safetensors", [1.0, 5.0, 4.0])
    mean = load_file(tmp_path / "mean.safetensors")
    weights = [m["student"].weight for m in made]
    torch.testing.assert_close(mean["student.weight"], 0.1 * weights[0] + 0.5 * weights[1] + 0.4 * weights[2])
    content = [m["content"].bias for m in made[1:]]
    torch.testing.assert_close(mean["content.bias"], (5 * content[0] + 4 * content[1]) / 9)
    with pytest.raises(InputError, match="last"):
        average(paths[::-1], tmp_path / "mean.safetensors")
    for shares in ([0.5, 0.5], [0.5, 0.5, 0.0]):
        with pytest.raises(InputError, match="3 checkpoints need as many shares"):
            average(paths, tmp_path / "mean.safetensors", shares)


class Ear(torch.nn.Module):
    """Stands in for the pretrained verifier: some unit vector of a mel."""

    def __init__(self, weights: str, waves: list[np.ndarray]) -> None:
        super().__init__()
        assert len(waves) > 10
        self.project = torch.nn.Linear(80, 192).requires_grad_(False)

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(self.project(mel.mean(2)), dim=1)


class Recogniser(Ear):
    """Stands in for the pretrained one: two layers of a mel."""

    depth = 2

    def forward(self, mel: torch.Tensor) -> list[torch.Tensor]:  # type: ignore[override]
        layer = self.project(mel.transpose(1, 2)[:, ::2])
        return [layer, layer.cos()]


def test_conversions_to_other_voices_are_heard_by_a_verifier(
    runs: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastvoicegrad.training.tasks.student.MelSpeakerTeacher", Ear)
    monkeypatch.setattr("fastvoicegrad.training.tasks.student.MelRecogniser", Recogniser)
    for other in ("teacher", "vocoder"):
        (tmp_path / other).symlink_to(runs / other)
    with pytest.raises(InputError, match="verifier"):
        trainer(store, tmp_path, "student", "weights.speaker=1.0")
    ears = ("weights.speaker=1.0", "verifier=ear.pt", "weights.consistency=1.0")
    with pytest.raises(InputError, match="content"):
        trainer(store, tmp_path, "student", *ears)
    with pytest.raises(InputError, match="Whisper"):
        trainer(store, tmp_path, "student", "weights.recogniser=1.0")
    ears = (*ears, "weights.recogniser=1.0", "recogniser=hear.pt")
    with pytest.raises(InputError, match="2 blocks"):
        trainer(store, tmp_path, "student", *ears, "recogniser_margins=[0.1]")
    more = (*ears, f"content={runs / 'content' / 'last.safetensors'}", "conversions=3", "loop.steps=2")
    run = trainer(store, tmp_path, "student", *more)
    batch = run.task.batch(np.random.default_rng(0), 4)
    assert torch.equal(batch["to_speaker"], batch["speaker"][1:])
    np.testing.assert_allclose(batch["to_pitch"].amax(1), batch["to_median_pitch"], rtol=1e-3)  # the store's are flat
    assert torch.equal(batch["to_source"], batch["mel"][:3])  # as it is, where a reconstruction's is disguised
    assert not torch.allclose(batch["source"], batch["mel"])
    losses = run.train_step()
    assert losses["speaker"] > 0
    assert losses["consistency"] > 0
    assert losses["recogniser"] > 0


def test_what_a_learning_content_encoder_hears_is_where_it_says(store: Path) -> None:
    data = ConversionData(str(store), frames=64, context=40, margin=8)
    crops = ConversionCrops(data, "train")
    first = crops.store.entries[0]
    middle, slow = first.start + 60 + np.arange(64), first.start + np.arange(64) * 2
    start, end = first.start + np.arange(64), first.start + first.frames - 64 + np.arange(64)
    frames = np.stack([middle, start, end, slow])
    mel, at = crops.heard(frames)
    assert mel.shape == (4, 80, 104)
    whole = torch.from_numpy(crops.store.array("mel")[first.slice].astype(np.float32)).T
    found = mel.gather(2, at[:, None].expand(-1, 80, -1))
    for item in range(3):
        assert torch.equal(found[item], whole[:, frames[item] - first.start])
    assert torch.equal(mel[1, :, :32], whole[:, :1].expand(-1, 32))  # nothing is before the start
    assert torch.equal(mel[2, :, -8:], whole[:, -1:].expand(-1, 8))
    assert torch.equal(found[3, :, -40:], whole[:, slow[-40:] - first.start])
    batch = crops.draw(np.random.default_rng(0), 4)
    own = batch["crop_context"].gather(2, batch["crop_context_index"][:, None].expand(-1, 80, -1))
    assert torch.equal(own, batch["mel"])


def test_a_content_encoder_learns_with_its_student(runs: Path, store: Path, tmp_path: Path) -> None:
    for other in ("teacher", "vocoder"):
        (tmp_path / other).symlink_to(runs / other)
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
    begun, shipped = load_content(content).state_dict(), whole.task.frozen["content"].state_dict()
    whole.run()
    learnt, last = load_content(whole.last).state_dict(), load_file(whole.last)
    assert all(torch.equal(shipped[key], begun[key]) for key in begun)  # what the teacher and "words" hear by
    for head in ("units", "prosody"):
        assert not torch.equal(learnt[f"heads.{head}.weight"], begun[f"heads.{head}.weight"])
    assert not torch.equal(learnt["encoder.stem.weight"], begun["encoder.stem.weight"])
    assert all(torch.equal(value, last[f"content_ema.{key}"]) for key, value in learnt.items())

    parts = trainer(store, tmp_path, "student", *more, name="parts")
    parts.train_step()
    parts.train_step()
    parts.save()
    trainer(store, tmp_path, "student", *more, name="parts").run()
    resumed = load_file(parts.last)
    assert all(torch.equal(value, resumed[key]) for key, value in last.items())

    average([whole.last, parts.last], tmp_path / "mean.safetensors")
    mean = load_content(tmp_path / "mean.safetensors").state_dict()
    assert all(torch.equal(value, learnt[key]) for key, value in mean.items())
    with pytest.raises(InputError, match="lack"):
        average([whole.last, runs / "student" / "last.safetensors"], tmp_path / "mean.safetensors")


@pytest.mark.parametrize(("kept", "prefix"), [("encoder", "encoder."), ("units", "heads.units.")])
def test_what_is_kept_of_a_content_encoder_stays_and_the_rest_learns(
    runs: Path, store: Path, tmp_path: Path, kept: str, prefix: str
) -> None:
    with pytest.raises(InputError, match="start_from"):
        trainer(store, tmp_path, "content", f"frozen={kept}")
    start = runs / "content" / "last.safetensors"
    run = trainer(store, tmp_path, "content", f"frozen={kept}", f"loop.start_from={start}", "loop.ema=0.0")
    run.run()
    begun, learnt = load_content(start).state_dict(), load_content(run.last).state_dict()
    same = {key for key in begun if torch.equal(begun[key], learnt[key])}
    statistics = {key for key in begun if key.startswith("encoder.norm.")}
    assert same | statistics == {key for key in begun if key.startswith(prefix)} | statistics


def test_a_speaker_encoder_learns_from_voices_that_its_teacher_hears(
    runs: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="teacher"):
        trainer(store, tmp_path, "speaker", "augmented_voices=0.5")
    monkeypatch.setattr("fastvoicegrad.training.tasks.speaker.MelSpeakerTeacher", Ear)
    run = trainer(store, tmp_path, "speaker", "augmented_voices=0.5", "teacher=ear.pt")
    batch = run.task.batch(np.random.default_rng(0), 4)
    assert set(batch) == {"mel", "window"}
    known = trainer(store, tmp_path, "speaker", "teacher=ear.pt", "pieces=3", name="known").task
    cut = known.batch(np.random.default_rng(0), 4)
    windows, frames = len(cut["window"]), cut["window"].shape[2]
    assert batch["window"].shape == cut["window"].shape
    assert batch["mel"].shape == (windows, 1, 80, frames)
    assert cut["mel"].shape[:3] == (windows, 3, 80)
    assert frames / 2 <= cut["mel"].shape[3] <= frames
    for task, heard in ((run.task, batch), (known, cut)):  # what the teacher says of a window is right for its pieces
        said = torch.nn.functional.normalize(task.frozen["teacher"].project(heard["window"].mean(2)), dim=1)
        expected = said.repeat_interleave(heard["mel"].shape[1], 0)
        task.modules["speaker"] = lambda mel, expected=expected: expected
        assert task.losses(heard)["cosine"] == pytest.approx(0, abs=1e-5)


def test_windows_that_come_again_are_heard_once(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastvoicegrad.training.tasks.speaker.MelSpeakerTeacher", Ear)
    task = trainer(store, tmp_path, "speaker", "augmented_voices=0.5", "teacher=ear.pt", "pieces=2", "again=2").task
    ear, asked = task.frozen["teacher"], []
    ear.register_forward_pre_hook(lambda _, windows: asked.append(len(windows[0])))
    batches = []
    for task.step in range(4):
        batches.append(task.batch(np.random.default_rng(task.step), 4))
        task.losses(batches[-1])
    for first, again in zip(batches[:2], batches[2:], strict=True):
        assert torch.equal(first["window"], again["window"])
        assert first["mel"].shape != again["mel"].shape or not torch.equal(first["mel"], again["mel"])
        torch.testing.assert_close(task._says(again["window"]), ear(again["window"]))
    assert not torch.equal(batches[0]["window"], batches[1]["window"])
    assert len(asked) == 4  # in the first two steps, and by this test


def test_nobodys_voice_is_made_of_everybodys() -> None:
    speaker = torch.nn.functional.normalize(torch.randn(4, 8), dim=1)
    reference = torch.arange(4.0)[:, None, None].expand(4, 80, 12)
    mixed = unconditional_speaker({"speaker": speaker, "reference": reference, "mel": torch.zeros(4, 80, 16)}, 2)
    assert set(mixed) == {"speaker", "reference"}
    assert mixed["speaker"].shape == (2, 8)
    assert torch.linalg.norm(mixed["speaker"][0]) == pytest.approx(1)
    assert mixed["reference"][1, 0].tolist() == [float(i // 3) for i in range(12)]


def test_a_guided_teacher_also_teaches_conversions(runs: Path, store: Path, tmp_path: Path) -> None:
    for other in ("teacher", "vocoder"):
        (tmp_path / other).symlink_to(runs / other)
    run = trainer(store, tmp_path, "student", "guidance.unconditional=0.5", "guidance.source=0.5", "conversions=2")
    task, batch = run.task, run.task.batch(np.random.default_rng(0), 4)
    assert isinstance(task, StudentTask)
    task.forward(batch)
    task.discriminator_loss(batch)
    assert len(task._converted) == 2
    with torch.no_grad():
        guided, _ = task._guided(task._converted, batch)
        asked, _ = task._teacher_says(task._converted, as_conversions(batch))
    assert not torch.allclose(guided, asked)
    assert task.losses(batch)["dist"] > 0


def test_conversions_may_be_guided_as_in_use(runs: Path, store: Path, tmp_path: Path) -> None:
    for other in ("teacher", "vocoder"):
        (tmp_path / other).symlink_to(runs / other)
    settings = (
        "guidance.unconditional=0.5",
        "conversion_guidance=0.5",
        "conversion_guidance_cosines=30",
        "conversions=2",
        "draft_tolerance=0.0",
    )
    run = trainer(store, tmp_path, "student", *settings)
    task, batch = run.task, run.task.batch(np.random.default_rng(0), 4)
    assert isinstance(task, StudentTask)
    task.forward(batch)
    others = as_conversions(batch)
    asked, own = task.convert(others), task.convert(others | speaker_conditions(batch, 2))
    assert not torch.allclose(asked, own)
    difference = torch.from_numpy(envelope(30)) @ (asked - own)
    assert not torch.allclose(difference, asked - own, atol=1e-3)
    torch.testing.assert_close(task._converted, asked + 0.5 * difference)


def test_new_voices_move_the_crop_its_references_and_its_pitch_alike(runs: Path, store: Path) -> None:
    settings = {"store": str(store), "frames": 64, "reference_frames": 32}
    with pytest.raises(InputError, match="speaker"):
        ConversionCrops(ConversionData(**settings, augmented_voices=1.0), "train")
    known = ConversionCrops(ConversionData(**settings), "train", describe=True).draw(np.random.default_rng(0), 8)
    data = ConversionData(**settings, augmented_voices=0.5, speaker=str(runs / "speaker" / "last.safetensors"))
    new = ConversionCrops(data, "train", describe=True).draw(np.random.default_rng(0), 8)
    augmented = new["augmented"]
    assert 0 < augmented.sum() < 8
    for name in ("mel", "reference", "speaker", "pitch", "median_pitch"):
        assert torch.equal(new[name][~augmented], known[name][~augmented])
        assert not torch.isclose(new[name][augmented], known[name][augmented]).all()
    ratio = new["median_pitch"] / known["median_pitch"]
    torch.testing.assert_close(new["pitch"], known["pitch"] * ratio[:, None])
    for name in ("source", "content", "reference_content", "crop_content"):
        assert torch.equal(new[name], known[name])
    assert "augmented" not in ConversionCrops(data, "valid").draw(np.random.default_rng(0), 2)


def test_a_short_run_learns(store: Path, tmp_path: Path) -> None:
    run = trainer(store, tmp_path, "teacher", "loop.steps=60", "model.prediction=x0", "loop.learning_rate=5.0e-3")
    before = run.train_step()["x0"]
    while run.step < 60:
        after = run.train_step()["x0"]
    assert after < 0.8 * before


@pytest.mark.parametrize("part", ["vocoder", "teacher", "student"])
def test_a_batch_in_parts_is_the_same_step(runs: Path, store: Path, tmp_path: Path, part: str) -> None:
    for other in ("teacher", "vocoder"):
        (tmp_path / other).symlink_to(runs / other)
    more = ("loop.batch_size=4", "adversary_start=0") if part == "vocoder" else ("loop.batch_size=4",)
    whole = trainer(store, tmp_path, part, *more, name="whole")
    parts = trainer(store, tmp_path, part, *more, "loop.accumulate=2", name="parts")
    expected, found = whole.train_step(), parts.train_step()
    assert expected.keys() == found.keys()
    if part != "vocoder":  # whose losses are not all means over a batch's items
        for module in whole.task.modules:
            pairs = zip(*(r.task.modules[module].parameters() for r in (whole, parts)), strict=True)
            for one, other in pairs:
                torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)
    for name in set(expected) - {"gradient", "stft"}:
        assert found[name] == pytest.approx(expected[name], rel=0.02), name


def test_validation_hears_conversions_and_the_best_step_stays(runs: Path, store: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for other in ("teacher", "vocoder"):
        (tmp_path / other).symlink_to(runs / other)
    checkpoints = {p: runs / p / "last.safetensors" for p in ("speaker", "content")}
    heard = (f"data.speaker={checkpoints['speaker']}", f"content={checkpoints['content']}")
    run = trainer(store, tmp_path, "student", *heard, "loop.keep_best=score", "loop.validate_every=2")
    scores = run.run()
    assert scores["score"] == pytest.approx(scores["quality"] + scores["words"] + scores["voice"])
    assert scores["quality"] < 0
    curves = EventAccumulator(str(tmp_path / "student"), {"scalars": 0, "images": 0, "audio": 0}).Reload()
    best = max(event.value for event in curves.Scalars("valid/score"))
    assert run.best == pytest.approx(best)
    shown = {f"{name}/{i}" for name in ("conversion", "source", "target") for i in range(4)}
    assert shown <= set(curves.Tags()["images"])
    assert shown <= set(curves.Tags()["audio"])
    again = trainer(store, tmp_path, "student", *heard, "loop.keep_best=score", "loop.steps=6")
    assert (again.step, again.best) == (4, run.best)
    assert (tmp_path / "student" / "best.safetensors").exists()


def test_non_finite_loss_stops_with_a_hint(store: Path, tmp_path: Path) -> None:
    run = trainer(store, tmp_path, "teacher")
    next(run.task.modules["teacher"].parameters()).data.fill_(float("nan"))
    with pytest.raises(NonFiniteLoss, match="lower learning_rate"):
        run.train_step()
    assert not run.last.exists()


def test_schedule_of_the_learning_rate() -> None:
    config = LoopConfig(steps=100, batch_size=1, warmup=10, cooldown=0.5)
    factors = [learning_rate_factor(step, config) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9:51] == [1.0] * 42
    assert factors[75] == pytest.approx(0.5)
    assert factors[-1] == pytest.approx(0.05)


def test_shares_of_a_batch_make_the_whole() -> None:
    batch: dict[str, Any] = {"x": torch.arange(7)}
    parts = [share(batch, rank, 3)["x"] for rank in range(3)]
    assert sorted(torch.cat(parts).tolist()) == list(range(7))


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("*.yaml")), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_every_recipe_can_be_read(path: Path) -> None:
    from fastvoicegrad.train import content, pitch, recipe, speaker, student, teacher, vocoder

    kinds: dict[str, Any] = {
        "content": content.ContentRecipe,
        "speaker": speaker.SpeakerRecipe,
        "pitch": pitch.PitchRecipe,
        "vocoder": vocoder.VocoderRecipe,
        "teacher": teacher.TeacherRecipe,
        "student": student.StudentRecipe,
    }
    part = path.stem if path.stem in kinds or path.parent.name != "ablation" else "student"
    if part in kinds:
        recipe.build(kinds[part], read_yaml(path))


def test_no_value_is_an_empty_text() -> None:
    said = overridden({"loop": {"start_from": "init.safetensors"}}, ["loop.start_from=", "loop.steps=3"])
    assert said == {"loop": {"start_from": "", "steps": 3}}


def test_misspelt_settings_are_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lerning_rate"):
        trainer(store, tmp_path, "teacher", "loop.lerning_rate=1")


def test_command_trains_and_bad_recipes_are_one_line(store: Path, tmp_path: Path) -> None:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fastvoicegrad.cli", "train", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    recipe = RECIPES / "smoke" / "speaker.yaml"
    done = run(
        "speaker",
        "--recipe",
        recipe,
        "-o",
        tmp_path / "run",
        "--set",
        f"store={store}",
        "--set",
        "loop.steps=2",
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "last.safetensors").exists()
    for arguments in (
        ("speaker", "--recipe", "none.yaml"),
        ("tenor", "--recipe", recipe),
        ("speaker", "--recipe", recipe),
    ):
        bad = run(*arguments, "-o", tmp_path / "bad")
        assert bad.returncode == 2
        assert len(bad.stderr.strip().splitlines()) == 1
