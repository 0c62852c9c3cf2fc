"""What is done to checkpoints and bundles, as commands (PyTorch)."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from safetensors.torch import load_file  # noqa: E402

from fastvoicegrad.bundle import Bundle  # noqa: E402
from fastvoicegrad.errors import AudioWarning  # noqa: E402
from fastvoicegrad.training import quantise  # noqa: E402
from fastvoicegrad.training.networks import load_content  # noqa: E402
from fastvoicegrad.version import __version__  # noqa: E402
from tests.cli.conftest import Inside  # noqa: E402

PARTS = ("content", "speaker", "pitch", "vocoder", "student")


def last(runs: Path, part: str) -> Path:
    return runs / part / "last.safetensors"


@pytest.mark.slow
def test_a_bundle_becomes_checkpoints_and_a_bundle_again(
    folder: Path, tmp_path: Path, speech_file: Path, inside: Inside
) -> None:
    done = inside("dev", "restore", "--bundle", folder, "-o", tmp_path / "restored")
    assert done.returncode == 0, done.stderr
    words = [word for part in PARTS for word in (f"--{part}", tmp_path / "restored" / f"{part}.safetensors")]
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: again\nguidance: 0.6\ntemperature: 0.5\npostfilter: {smoothing: 0.1}\n")
    made = tmp_path / "again"
    done = inside("dev", "export", *words, "-o", made, "--recipe", recipe, "--set", "storage=byte")
    assert done.returncode == 0, done.stderr
    assert "again: " in done.stdout.replace("\n", "")
    bundle, config = Bundle.open(made), Bundle.open(made).config
    assert (config.name, config.version, config.max_steps) == ("again", __version__, 1)
    assert (config.guidance, config.temperature, config.postfilter.smoothing) == (0.6, 0.5, 0.1)
    mel = np.random.default_rng(0).standard_normal((1, 80, 32)).astype(np.float32) * 2 - 5
    pitch, expected = (one.run("pitch", mel=mel)[0] for one in (bundle, Bundle.open(folder)))
    np.testing.assert_array_equal(pitch > 0, expected > 0)
    out = tmp_path / "out.wav"
    done = inside("convert", speech_file, "--to", speech_file, "-o", out, "--bundle", made)
    assert done.returncode == 0, done.stderr
    assert soundfile.info(out).frames == soundfile.info(speech_file).frames


def test_a_bundle_of_two_converters_is_refused(runs: Path, tmp_path: Path, inside: Inside) -> None:
    words = [word for part in (*PARTS, "teacher") for word in (f"--{part}", last(runs, part))]
    done = inside("dev", "export", "-o", tmp_path / "bundle", *words)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--student or --teacher" in done.stderr


def test_the_mean_of_a_run_with_itself_is_the_run(runs: Path, tmp_path: Path, inside: Inside) -> None:
    path, out = last(runs, "student"), tmp_path / "mean.safetensors"
    done = inside("dev", "average", path, path, "--share", 0.25, "--share", 0.75, "-o", out)
    assert done.returncode == 0, done.stderr
    mean, one = load_file(out), load_file(path)
    assert mean
    for name, values in mean.items():
        averaged = name.replace("student.", "student_ema.", 1)
        torch.testing.assert_close(values, one.get(averaged, one[name]), msg=name)


def test_an_encoder_aligned_to_itself_stays_as_it_is(runs: Path, store: Path, tmp_path: Path, inside: Inside) -> None:
    path, out = last(runs, "content"), tmp_path / "aligned.safetensors"
    done = inside("dev", "align", path, "--to", path, "--store", store, "-o", out)
    assert done.returncode == 0, done.stderr
    assert "100 % of the other's variance explained" in done.stdout
    mel = torch.randn(1, 80, 20)
    with torch.inference_mode():
        assert load_content(out)(mel)["content"].shape == load_content(path)(mel)["content"].shape


def test_findings_about_calibration_data_are_lines(
    tmp_path: Path, speech_file: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(bundle: object, speech: list[Path], out: Path) -> None:
        out.mkdir()
        for _ in range(2):
            warnings.warn(f"{speech[0].name} is quiet", AudioWarning, stacklevel=1)

    monkeypatch.setattr(quantise, "quantise", found)
    done = inside("dev", "quantise", speech_file, speech_file, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"fastvoicegrad: warning: {speech_file.name} is quiet\n"
