from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors import SafetensorError  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from fastvoicegrad import InputError  # noqa: E402
from fastvoicegrad.training import checkpoint  # noqa: E402
from fastvoicegrad.training.align import align  # noqa: E402
from fastvoicegrad.training.checkpoint import average, load_matching, read_meta, save, write  # noqa: E402
from fastvoicegrad.training.deepen import deepen  # noqa: E402
from fastvoicegrad.training.networks import load_content  # noqa: E402
from fastvoicegrad.training.stream_networks import load_stream_content  # noqa: E402
from tests.training.tasks.tiny_runs import lend, trainer  # noqa: E402


def test_the_mean_of_two_runs_is_a_run_to_start_from(runs: Path, store: Path, tmp_path: Path) -> None:
    lend(runs, tmp_path)
    first = runs / "student" / "last.safetensors"
    trainer(store, tmp_path, "student", "loop.seed=5", "loop.ema=0.0", name="plain").run()
    second, mean = tmp_path / "plain" / "last.safetensors", tmp_path / "mean.safetensors"
    average([first, second], mean)
    a, b, m = load_file(first), load_file(second), load_file(mean)
    names = [key for key in m if key.startswith("student.")]
    assert names == [key for key in a if key.startswith("student.")]
    for key in names:
        torch.testing.assert_close(m[key], (a[key.replace("student.", "student_ema.")] + b[key]) / 2)
    started = trainer(store, tmp_path, "student", f"loop.start_from={mean}", name="on").task.modules
    for name in ("student", "discriminator"):
        for key, value in started[name].state_dict().items():
            assert torch.equal(value, m[f"{name}.{key}"])
    with pytest.raises(InputError, match="differ"):
        average([runs / "vocoder" / "last.safetensors", first], mean)


def test_a_network_of_only_some_runs_is_the_mean_of_those(tmp_path: Path) -> None:
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


def test_networks_that_were_trained_together_are_loaded_together(tmp_path: Path) -> None:
    """The averaged weights of each network, where the run kept any; a raw one where it kept none."""
    stored = {name: torch.nn.Linear(2, 2) for name in ("student", "student_ema", "content", "content_ema", "critic")}
    save(tmp_path / "run.safetensors", stored, {}, {"task": "student", "model": {}, "ema": True})
    modules = {name: torch.nn.Linear(2, 2) for name in ("content", "critic")}
    load_matching(tmp_path / "run.safetensors", modules)
    torch.testing.assert_close(modules["content"].weight, stored["content_ema"].weight)
    torch.testing.assert_close(modules["critic"].weight, stored["critic"].weight)


def test_a_content_run_takes_part_in_the_mean_of_students_with_content(tmp_path: Path) -> None:
    made = {name: {name: torch.nn.Linear(2, 2)} for name in ("student", "content")}
    joint = {"student": torch.nn.Linear(2, 2), "content": torch.nn.Linear(2, 2)}
    runs = [*made.items(), ("joint", joint)]
    for name, modules in runs:
        meta = {"task": "content" if name == "content" else "student", "model": {"dim": 2}, "ema": False}
        others = {"content": {"dim": 2}} if name == "joint" else {}
        save(tmp_path / f"{name}.safetensors", modules, {}, meta | {"others": others})
    out = tmp_path / "mean.safetensors"
    average([tmp_path / f"{name}.safetensors" for name, _ in runs], out, [0.4, 0.4, 0.6])
    mean = load_file(out)
    for name in made:
        torch.testing.assert_close(mean[f"{name}.weight"], 0.4 * made[name][name].weight + 0.6 * joint[name].weight)
    with pytest.raises(InputError, match="differ"):
        average([tmp_path / "content.safetensors", tmp_path / "student.safetensors"], out)


def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.safetensors").write_text("notes")
    with pytest.raises(InputError, match=r"notes\.safetensors is no checkpoint"):
        read_meta(tmp_path / "notes.safetensors")
    with pytest.raises(InputError, match="is no checkpoint"):
        read_meta(tmp_path)
    with pytest.raises(InputError, match=r"none\.safetensors: no such file"):
        read_meta(tmp_path / "none.safetensors")
    write(
        tmp_path / "speaker.safetensors", {"speaker.x": torch.zeros(1)}, {"task": "speaker", "model": {}, "ema": False}
    )
    for load_one in (load_content, load_stream_content):
        with pytest.raises(InputError, match=r"speaker\.safetensors holds no content encoder"):
            load_one(tmp_path / "speaker.safetensors")
    with pytest.raises(InputError, match="all above 0 and finite"):
        average([tmp_path / "a", tmp_path / "b"], tmp_path / "mean", [1.0, float("nan")])


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise SafetensorError("I/O error: No space left on device")

    path = tmp_path / "last.safetensors"
    write(path, {"a": torch.zeros(3)}, {"step": 1})
    monkeypatch.setattr(checkpoint, "save_file", failing)
    with pytest.raises(InputError, match="cannot be written .*No space"):
        write(path, {"a": torch.ones(3)}, {"step": 2})
    assert read_meta(path)["step"] == 1


def test_what_cannot_be_written_is_known_before_the_work(tmp_path: Path) -> None:
    none = tmp_path / "none.safetensors"
    for command in (
        lambda: average([none, none], tmp_path),
        lambda: deepen(none, tmp_path, []),
        lambda: align(none, none, tmp_path, tmp_path),
        lambda: write(tmp_path, {"a": torch.zeros(3)}, {"step": 1}),
    ):
        with pytest.raises(InputError, match="is a folder; name a file in it"):
            command()
    with pytest.raises(InputError, match="is not a folder; make it first"):
        write(tmp_path / "nowhere" / "a.safetensors", {"a": torch.zeros(3)}, {"step": 1})
    assert not list(tmp_path.parent.glob("*.part"))


def test_a_checkpoint_that_cannot_take_its_place_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied", str(target))

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(InputError, match=r"last\.safetensors cannot be written .*Permission denied"):
        write(tmp_path / "last.safetensors", {"a": torch.zeros(3)}, {"step": 1})
    assert not list(tmp_path.iterdir())


def test_a_link_to_another_runs_checkpoint_leaves_that(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    old, new = tmp_path / "old/last.safetensors", tmp_path / "new/last.safetensors"
    old.write_bytes(b"of another run")
    new.symlink_to(old)
    write(new, {"x": torch.zeros(1)}, {"task": "x"})
    assert old.read_bytes() == b"of another run"
    assert not new.is_symlink()


def layers(*trained: int) -> tuple[dict[str, torch.nn.Module], dict[str, torch.optim.Optimizer]]:
    """Three layers, some of which are trained, and their optimiser after a step."""
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2), torch.nn.Linear(2, 3))
    for number, layer in enumerate(network):
        layer.requires_grad_(number in trained)
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad])
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return {"a": network}, {"a": optimizer}


OTHERS = [((1, 2), (0, 1, 2)), ((0, 1, 2), (1, 2)), ((0, 2), (0, 1)), ((0, 1), (0, 2))]
OF_EQUAL_SHAPES = [((0,), (1,)), ((0,), (0, 1))]  # weights without a gradient look alike


@pytest.mark.parametrize(
    ("before", "now", "names"),
    [(*pair, True) for pair in (*OTHERS, *OF_EQUAL_SHAPES)] + [(*pair, False) for pair in OTHERS],
)
def test_an_optimiser_of_other_weights_is_refused(
    tmp_path: Path, before: tuple[int, ...], now: tuple[int, ...], names: bool
) -> None:
    """Older checkpoints do not name the weights: there, shapes and numbers must fit."""
    path = tmp_path / "last.safetensors"
    save(path, *layers(*before), {"step": 1})
    if not names:
        write(path, load_file(path), {name: value for name, value in read_meta(path).items() if name != "trained"})
    with pytest.raises(InputError, match="is of a run that trained other weights; freeze what it froze, or name"):
        checkpoint.load(path, *layers(*now))


@pytest.mark.parametrize("names", [True, False])
def test_an_optimiser_continues_where_some_weights_have_no_gradient_yet(tmp_path: Path, names: bool) -> None:
    path, (modules, optimizers) = tmp_path / "last.safetensors", layers(0, 1, 2)
    state = optimizers["a"].state
    for weight in modules["a"][1].parameters():  # type: ignore[index]
        del state[weight]
    save(path, modules, optimizers, {"step": 7})
    if not names:
        write(path, load_file(path), {name: value for name, value in read_meta(path).items() if name != "trained"})
    again = layers(0, 1, 2)
    assert checkpoint.load(path, *again) == 7
    assert len(again[1]["a"].state_dict()["state"]) == 4
