from __future__ import annotations

import json
import shutil
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
from fastvoicegrad.training.export import with_converter  # noqa: E402
from fastvoicegrad.training.models.unet import Denoiser  # noqa: E402
from fastvoicegrad.voice_file import Adapter  # noqa: E402
from tests.conftest import vowels  # noqa: E402
from tests.tiny import Networks  # noqa: E402


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
            blocks = pipeline.convert_blocks(
                converter.bundle, iter([wave]), voice, None, ConversionSettings(steps), gain=1.0, chunk=chunk
            )
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
    with_converter(tmp_path, base, runs / "student" / "last.safetensors", teacher=False, name="other")
    other = Bundle.open(tmp_path)
    assert other.fingerprint == base.fingerprint
    assert [n for n in base.config.networks if other.graph(n) != base.graph(n)] == ["converter"]
    assert other.config.postfilter == PostFilter()
