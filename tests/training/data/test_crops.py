from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from fastvoicegrad import InputError  # noqa: E402
from fastvoicegrad.training.data.crops import Crops, require_multiple  # noqa: E402
from fastvoicegrad.training.data.store import Store  # noqa: E402
from fastvoicegrad.training.recipe import read_yaml  # noqa: E402
from fastvoicegrad.training.tasks.registry import part_recipe  # noqa: E402
from tests.training.tasks.tiny_runs import RECIPES  # noqa: E402


@pytest.mark.parametrize(
    ("part", "setting", "stride"),
    [
        ("content", "frames", 2),
        ("teacher", "data.frames", 4),
        ("student", "data.frames", 4),
        ("diffvc", "data.frames", 4),
        ("stream-converter", "data.frames", 4),
    ],
)
def test_crops_that_do_not_fit_the_rates_of_a_network_are_refused(part: str, setting: str, stride: int) -> None:
    streams = part.startswith("stream-")
    path = RECIPES / "smoke" / ("streaming.yaml" if streams else f"{part}.yaml")
    change = f"{part}.{setting}" if streams else setting
    for frames in (48 + stride // 2, 49):
        with pytest.raises(InputError, match=f"{setting} must be a multiple of {stride}, got {frames}; set it to "):
            part_recipe(part, read_yaml(path, [f"{change}={frames}"]))
    part_recipe(part, read_yaml(path, [f"{change}={48 + stride}"]))


def test_the_message_names_the_next_number_that_fits() -> None:
    with pytest.raises(InputError, match="got 3; set it to 4"):
        require_multiple(3, 4, "frames")
    require_multiple(0, 4, "frames")


@pytest.mark.parametrize("frames", [0, -8])
def test_crops_without_frames_are_refused(store: Path, frames: int) -> None:
    with pytest.raises(InputError, match=f"a crop needs 1 frame or more, not {frames}"):
        Crops(Store(store), "train", frames)
