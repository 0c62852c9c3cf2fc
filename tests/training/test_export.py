from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fastvoicegrad import InputError, Voice, VoiceConverter, synthesis  # noqa: E402
from fastvoicegrad.bundle import Bundle  # noqa: E402
from fastvoicegrad.converter import PITCH_GRID, Timing  # noqa: E402
from fastvoicegrad.training.models.unet import Denoiser  # noqa: E402
from tests.conftest import vowels  # noqa: E402
from tests.tiny import Networks  # noqa: E402


@pytest.mark.parametrize("frames", [16, 100, 640])
@torch.inference_mode()
def test_torch_equals_onnx(networks: Networks, folder: Path, frames: int) -> None:
    content, tracker, speaker, unet, vocoder = networks
    bundle = Bundle.open(folder)
    mel = torch.randn(1, 80, frames) * 2 - 5
    p = bundle.run("content", mel=mel.numpy())[0]
    close = {"atol": 2e-4, "rtol": 1e-3}
    np.testing.assert_allclose(p, content(mel), **close)
    np.testing.assert_allclose(bundle.run("pitch", mel=mel.numpy())[0], tracker.hear(mel), **close)
    np.testing.assert_allclose(bundle.run("speaker", mel=mel.numpy())[0], speaker(mel), **close)
    pitch, magnitude, phase, gain = vocoder.filters(mel)
    outputs = [pitch, magnitude.exp() * phase.cos(), magnitude.exp() * phase.sin(), gain.exp()]
    for ours, theirs in zip(bundle.run("vocoder", mel=mel.numpy()), outputs, strict=True):
        np.testing.assert_allclose(ours, theirs, **close)
    keys, reference = torch.randn(1, 144, frames + 7), torch.randn(1, 80, frames + 7) * 2 - 5
    pitch = torch.rand(1, frames) * 700 * (torch.rand(1, frames) > 0.3)
    hints = unet.hints(torch.from_numpy(p), keys, reference, pitch)
    for t in (1, 500, 950):
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
        )[0]
        theirs = Denoiser(unet)(x, torch.tensor([t]), ab, s, torch.from_numpy(p), hints)[0]
        np.testing.assert_allclose(ours, theirs, atol=2e-3, rtol=1e-3)  # retrieval is sharp: 50 times a cosine


@torch.inference_mode()
def test_rendering_equals_torch(networks: Networks, folder: Path) -> None:
    vocoder, converter = networks[4], VoiceConverter.load(folder)
    mel = torch.randn(1, 80, 64) * 2 - 5
    ours, turns = converter.render(mel[0].numpy(), 0, slice(0, 64), 0.25, seed=3)
    noise = torch.from_numpy(synthesis.noise(3, 0, 64))[None]
    pitch, *filters = vocoder.filters(mel)
    filters = ((pitch / PITCH_GRID).round() * PITCH_GRID, *filters)
    theirs = vocoder.render(mel, filters, noise, 0.25)[0].numpy()
    # The pulses' phase adds up what the two round differently in the pitch.
    np.testing.assert_allclose(ours, theirs, atol=1e-2 * np.abs(theirs).max())
    assert 0 <= turns < 1


def test_a_teachers_bundle_converts_in_any_number_of_steps(folder: Path) -> None:
    converter = VoiceConverter.load(folder)
    random = np.random.default_rng(0)
    embedding, keys, mel = (random.standard_normal(n).astype(np.float32) for n in (192, (144, 40), (80, 40)))
    voice = Voice(embedding / np.linalg.norm(embedding), keys, mel - 5, 150.0, converter.bundle.fingerprint, 1.0)
    wave, render, mels = vowels(6.0), converter.render, []

    def seen(mel: np.ndarray, start: int, kept: slice, *more: Any) -> tuple[np.ndarray, float]:
        mels.append(mel[:, kept])
        return render(mel, start, kept, *more)

    # Untrained, the vocoder renders pulses of full height, so that a rounding shows: mels are compared.
    converter.render = seen  # type: ignore[method-assign]
    results = []
    for steps in (1, 6, 30):
        converted = []
        for chunk in (10**6, 128):
            mels.clear()
            out = np.concatenate(
                list(converter.convert_blocks(iter([wave]), voice, gain=1.0, steps=steps, chunk=chunk))
            )
            assert np.isfinite(out).all()
            converted.append(np.concatenate(mels, axis=1))
        np.testing.assert_allclose(converted[1], converted[0], atol=1e-3)
        results.append(converted[0])
    assert np.abs(results[0] - results[1]).max() > 1e-4


@pytest.mark.parametrize(("initial", "source_counts", "seed_counts"), [("clean", True, False), ("noise", False, True)])
def test_a_bundle_says_what_conversion_starts_from(
    folder: Path, tmp_path: Path, initial: str, source_counts: bool, seed_counts: bool
) -> None:
    made = tmp_path / "bundle"
    shutil.copytree(folder, made)
    config = json.loads((made / "config.json").read_text())
    (made / "config.json").write_text(json.dumps(config | {"initial": initial}))
    converter = VoiceConverter.load(made)
    seen = []
    converter.bundle.run = lambda name, **inputs: seen.append(inputs["x"]) or [inputs["x"]]  # type: ignore[method-assign,func-returns-value]
    converter._content = lambda mel: np.zeros((144, 64), np.float32)  # type: ignore[method-assign]
    converter._pitch = lambda mel: np.zeros(64, np.float32)  # type: ignore[method-assign]
    voice = Voice(np.ones(192, np.float32), np.zeros((144, 8)), np.zeros((80, 8)), 150.0, "", 1.0)
    for level, seed in ((0.0, 0), (1.0, 0), (0.0, 1)):
        converter._convert_mel(np.full((80, 64), level, np.float32), 0, voice, None, 1, seed, Timing())
    assert (not np.array_equal(seen[0], seen[1])) == source_counts
    assert (not np.array_equal(seen[0], seen[2])) == seed_counts
    (made / "config.json").write_text(json.dumps(config | {"initial": "dirty"}))
    with pytest.raises(InputError, match="dirty"):
        VoiceConverter.load(made)


def test_weights_are_stored_in_half_precision(networks: Networks, folder: Path) -> None:
    content = networks[0]
    assert (folder / "content.onnx").stat().st_size < 3.2 * sum(p.numel() for p in content.parameters()) + 60_000
