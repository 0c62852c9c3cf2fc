from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from fastvoicegrad.errors import InputError  # noqa: E402
from fastvoicegrad.training.loop import NonFiniteLoss, Trainer  # noqa: E402
from fastvoicegrad.training.optimiser import learning_rate_factor, share  # noqa: E402
from fastvoicegrad.training.task import LoopConfig  # noqa: E402
from fastvoicegrad.training.tasks.registry import PARTS  # noqa: E402
from tests.training.tasks.tiny_runs import lend, trainer  # noqa: E402


def test_every_part_leaves_a_checkpoint_curves_and_its_recipe(runs: Path) -> None:
    for part in PARTS:
        names = {path.name.split(".")[0] for path in (runs / part).iterdir()}
        assert {"last", "config", "events"} <= names


@pytest.mark.parametrize("part", PARTS)
def test_killed_and_resumed_equals_uninterrupted(runs: Path, store: Path, tmp_path: Path, part: str) -> None:
    lend(runs, tmp_path)
    (tmp_path / "student").symlink_to(runs / "student")
    trainer(store, tmp_path, part, "loop.steps=4", name="run")
    first = trainer(store, tmp_path, part, name="run")
    for _ in range(2):
        first.train_step()
    first.validate()
    first.save()
    trainer(store, tmp_path, part, name="run").run()
    whole, parts = (
        load_file(runs / part / "last.safetensors"),
        load_file(tmp_path / "run" / "last.safetensors"),
    )
    assert whole.keys() == parts.keys()
    for key in whole:
        assert torch.equal(whole[key], parts[key]), key


def test_a_run_may_start_from_another(runs: Path, store: Path, tmp_path: Path) -> None:
    start = runs / "teacher" / "last.safetensors"
    run = trainer(store, tmp_path, "teacher", f"loop.start_from={start}")
    begun, trained = run.task.modules["teacher"].state_dict(), load_file(start)
    for key, value in begun.items():
        assert torch.equal(value, trained[f"teacher_ema.{key}"])


def test_a_run_of_other_networks_is_refused(runs: Path, store: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    shutil.copy(runs / "pitch" / "last.safetensors", tmp_path / "run")
    with pytest.raises(InputError, match="holds a run of another part or of other networks"):
        trainer(store, tmp_path, "teacher", name="run")
    with pytest.raises(InputError, match="holds another part or other networks"):
        trainer(
            store,
            tmp_path,
            "teacher",
            f"loop.start_from={runs / 'teacher' / 'last.safetensors'}",
            "model.channels=[24, 24, 24]",
        )


def test_a_damaged_run_is_refused(runs: Path, store: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    whole = (runs / "pitch" / "last.safetensors").read_bytes()
    (tmp_path / "run" / "last.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is no checkpoint"):
        trainer(store, tmp_path, "pitch", name="run")


def test_parts_without_items_or_conversions_are_refused(runs: Path, store: Path, tmp_path: Path) -> None:
    lend(runs, tmp_path)
    converting = (f"speaker={runs / 'speaker' / 'last.safetensors'}", "weights.speaker=1")
    for setting in ("loop.accumulate=4", "conversions=1"):
        with pytest.raises(InputError, match="parts of a batch need as many items and conversions"):
            trainer(store, tmp_path, "student", "loop.batch_size=3", "loop.accumulate=2", setting, *converting)


def test_a_batch_without_conversions_is_refused(runs: Path, store: Path, tmp_path: Path) -> None:
    lend(runs, tmp_path)
    converting = (f"speaker={runs / 'speaker' / 'last.safetensors'}", "weights.speaker=1")
    for setting in ("loop.batch_size=1", "conversions=0"):
        with pytest.raises(InputError, match="conversions need two items of a batch"):
            trainer(store, tmp_path, "student", setting, *converting)


def test_only_conversions_that_a_batch_has_count(runs: Path, store: Path, tmp_path: Path) -> None:
    lend(runs, tmp_path)
    four = ("loop.batch_size=4", "loop.accumulate=4", "conversions=4")
    speaker = (f"speaker={runs / 'speaker' / 'last.safetensors'}", "weights.speaker=1")
    with pytest.raises(InputError, match="not 4 and 3"):  # no item is converted to itself
        trainer(store, tmp_path, "student", *four, *speaker)
    trainer(store, tmp_path, "student", *four, name="reconstructing")


@pytest.mark.parametrize(
    ("part", "score", "advice"),
    [
        ("speaker", "scores", "choose one of cosine"),
        ("speaker", "eer", "choose one of cosine"),
        ("teacher", "v", "losses only"),
    ],
)
def test_only_a_score_names_the_best_step(store: Path, tmp_path: Path, part: str, score: str, advice: str) -> None:
    with pytest.raises(InputError, match=f"there is no score '{score}'; .*{advice}"):
        trainer(store, tmp_path, part, f"loop.keep_best={score}")


def test_a_short_run_learns(store: Path, tmp_path: Path) -> None:
    run = trainer(store, tmp_path, "teacher", "loop.steps=60", "model.prediction=x0", "loop.learning_rate=5.0e-3")
    before = run.train_step()["x0"]
    while run.step < 60:
        after = run.train_step()["x0"]
    assert after < 0.8 * before


@pytest.mark.parametrize(("part", "number"), [("vocoder", 2), ("teacher", 2), ("teacher", 3), ("student", 2)])
def test_a_batch_in_parts_is_the_same_step(runs: Path, store: Path, tmp_path: Path, part: str, number: int) -> None:
    lend(runs, tmp_path)
    more = ("loop.batch_size=4", "adversary_start=0") if part == "vocoder" else ("loop.batch_size=4",)
    whole = trainer(store, tmp_path, part, *more, name="whole")
    parts = trainer(store, tmp_path, part, *more, f"loop.accumulate={number}", name="parts")
    expected, found = whole.train_step(), parts.train_step()
    assert expected.keys() == found.keys()
    if part != "vocoder":  # whose losses are not all means over a batch's items
        for module in whole.task.modules:
            pairs = zip(*(r.task.modules[module].parameters() for r in (whole, parts)), strict=True)
            for one, other in pairs:
                torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)
    for name in set(expected) - {"gradient", "stft"}:
        assert found[name] == pytest.approx(expected[name], rel=0.02), name


def test_every_item_counts_alike(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a batch has another number of items than the recipe: those of short windows are more."""
    for number in (1, 2):
        settings = ("loop.batch_size=4", f"loop.accumulate={number}")
        run = trainer(store, tmp_path, "speaker", *settings, name=str(number))
        shares: list[float] = []
        monkeypatch.setattr(
            run, "_descend", lambda _, losses, weights, kept=shares: kept.extend(weights) or {"speaker": 0.0}
        )
        for _ in range(3):
            shares.clear()
            run.train_step()
            assert sum(shares) == pytest.approx(1)


def test_non_finite_loss_stops_with_a_hint(store: Path, tmp_path: Path) -> None:
    run = trainer(store, tmp_path, "teacher")
    next(run.task.modules["teacher"].parameters()).data.fill_(float("nan"))
    with pytest.raises(NonFiniteLoss, match="lower learning_rate or clip and start again$"):
        run.train_step()
    assert not run.last.exists()
    run.save()
    with pytest.raises(NonFiniteLoss, match=r"start again \(it resumes from .*last\.safetensors\)$"):
        run.train_step()


def test_the_speed_of_a_run_leaves_its_first_steps_out(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They also start threads and fill caches, so a trial of a few steps would promise too little."""
    run = trainer(store, tmp_path, "pitch", "loop.steps=8", "loop.save_every=8", "loop.validate_every=8")

    def step() -> dict[str, float]:
        time.sleep(0.5 if run.step < 2 else 0.01)
        run.step += 1
        return {}

    monkeypatch.setattr(run, "train_step", step)
    run.run()
    assert run.cost["steps_per_second"] > 20


@pytest.mark.parametrize(("size", "parts"), [(1, 1), (2, 2), (3, 2)])
def test_batches_of_long_windows_must_not_be_empty(store: Path, tmp_path: Path, size: int, parts: int) -> None:
    """They have half as many items as the recipe names."""
    settings = (f"loop.batch_size={size}", f"loop.accumulate={parts}")
    with pytest.raises(InputError, match=f"may have {size // 2} items for {parts} parts; raise loop.batch_size"):
        trainer(store, tmp_path, "speaker", *settings)


def test_parts_without_items_are_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="may have 2 items for 3 parts; raise loop.batch_size"):
        trainer(store, tmp_path, "pitch", "loop.batch_size=2", "loop.accumulate=3")


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


def test_a_run_that_cannot_continue_keeps_its_recipe(runs: Path, store: Path, tmp_path: Path) -> None:
    trainer(store, tmp_path, "pitch").run()
    before = (tmp_path / "pitch" / "config.yaml").read_text()
    with pytest.raises(InputError, match="of other networks; name another folder"):
        trainer(store, tmp_path, "pitch", "model.width=24")
    assert (tmp_path / "pitch" / "config.yaml").read_text() == before
    trainer(store, tmp_path, "pitch", "loop.steps=6")
    assert yaml.safe_load((tmp_path / "pitch" / "config.yaml").read_text())["loop"]["steps"] == 6


def test_an_error_in_validation_leaves_the_trained_weights_in_place(store: Path, tmp_path: Path) -> None:
    run = trainer(store, tmp_path, "pitch")
    run.train_step()
    trained = run.task.modules["pitch"]

    def fail() -> dict[str, float]:
        assert run.task.modules["pitch"] is run.averages["pitch_ema"]
        raise ValueError("no recordings")

    run.task.validate = fail  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="no recordings"):
        run.validate()
    assert run.task.modules["pitch"] is trained
    assert trained.training


def test_a_run_that_starts_from_another_is_validated_before_its_first_step(
    runs: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validated = list[int]()
    monkeypatch.setattr(Trainer, "validate", lambda self, log: validated.append(self.step))
    start = f"loop.start_from={runs / 'pitch' / 'last.safetensors'}"
    cases = [("new", "", 2, [2]), ("begun", start, 2, [0, 2]), ("begun", start, 4, [4])]  # the last one is resumed
    for name, begin, steps, expected in cases:
        validated.clear()
        settings = [f"loop.steps={steps}", "loop.validate_every=2", *filter(None, [begin])]
        trainer(store, tmp_path, "pitch", *settings, name=name).run()
        assert validated == expected
