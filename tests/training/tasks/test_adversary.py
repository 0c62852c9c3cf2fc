"""Every input of the discriminator, on real tiny runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fastvoicegrad.diffusion import cosine_schedule  # noqa: E402
from fastvoicegrad.training.tasks.adversary import Adversary, AdversaryConfig  # noqa: E402
from tests.tiny import Networks  # noqa: E402
from tests.training.tasks.tiny_runs import lend, trainer  # noqa: E402

SMALL = ("adversary.wave.periods=[2, 3]", "adversary.wave.period_channels=[2, 4]")
SMALL += ("adversary.wave.resolutions=[[512, 128, 512]]", "adversary.wave.resolution_channels=2")


def adversary(networks: Networks, kind: str, conditional: bool = False) -> Adversary:
    alpha_bar = torch.from_numpy(cosine_schedule()).float()
    config = AdversaryConfig(input=kind, channels=8, conditional=conditional)  # type: ignore[arg-type]
    return Adversary(config, networks[4], networks[3], alpha_bar)


@pytest.mark.parametrize("kind", ["features", "wave", "mel", "mel conditional", "features conditional"])
def test_the_gradient_reaches_the_student_alone(runs: Path, store: Path, tmp_path: Path, kind: str) -> None:
    lend(runs, tmp_path)
    kind, *conditional = kind.split()
    more = ("adversary.conditional=true", "guidance.unconditional=1.0", "conversions=2") if conditional else ()
    more = (f"adversary.input={kind}", *SMALL, *more, "weights.dist=0.0", "weights.fm=0.0")
    run = trainer(store, tmp_path, "student", *more)
    frozen = {n: {k: v.clone() for k, v in m.state_dict().items()} for n, m in run.task.frozen.items()}
    before = {n: [p.clone() for p in m.parameters()] for n, m in run.task.modules.items()}
    run.train_step()
    for name, module in run.task.modules.items():
        assert any(not torch.equal(a, b) for a, b in zip(before[name], module.parameters(), strict=True)), name
    for name, module in run.task.frozen.items():
        assert all(p.grad is None for p in module.parameters())
        assert all(torch.equal(value, frozen[name][key]) for key, value in module.state_dict().items())


@pytest.mark.parametrize("kind", ["wave", "mel"])
def test_an_item_and_its_conversion_get_the_same_noise(networks, kind: str) -> None:  # type: ignore[no-untyped-def]
    made = adversary(networks, kind)
    mel = torch.randn(3, 80, 16)
    batch = {"mel": mel, **made.draw(np.random.default_rng(0), mel)}
    for part in made.inputs(torch.cat([mel, mel[:2]]), batch):
        torch.testing.assert_close(part[3:], part[:2])


def test_the_mel_discriminator_depends_on_the_step(networks) -> None:  # type: ignore[no-untyped-def]
    discriminator, mel = adversary(networks, "mel").discriminator(), torch.randn(2, 80, 16)
    near, far = (discriminator(mel, torch.full((2,), t))[0] for t in (10, 900))
    assert [score.shape[:2] for score in near] == [(2, 1), (2, 1)]
    assert not torch.allclose(near[0], far[0])


def test_a_mel_at_step_0_is_not_diffused(networks) -> None:  # type: ignore[no-untyped-def]
    made, mel = adversary(networks, "mel"), torch.randn(2, 80, 16)
    batch = {"mel": mel, **made.draw(np.random.default_rng(0), mel)} | {
        "adversary_step": torch.zeros(2, dtype=torch.long)
    }
    torch.testing.assert_close(made.inputs(mel, batch)[0], mel)


@pytest.mark.parametrize("kind", ["features", "mel"])
def test_a_conditional_discriminator_compares_content_and_speaker(networks: Networks, kind: str) -> None:
    made, mel = adversary(networks, kind, conditional=True), torch.randn(2, 80, 16)
    batch = {"mel": mel, **made.draw(np.random.default_rng(0), mel)}
    batch |= {
        "crop_content": torch.randn(2, 144, 16),
        "speaker": torch.randn(2, 192),
        "to_speaker": torch.randn(1, 192),
    }
    *inputs, content, speaker = made.inputs(torch.cat([mel, mel[:1]]), batch)
    discriminator = made.discriminator()
    scores = discriminator(*inputs, content, speaker)[0]
    for score in scores:  # the conversion differs from its reconstruction by the speaker alone
        assert not torch.allclose(score[0], score[2])
    assert torch.equal(content[0], content[2])
    assert torch.equal(speaker[2], batch["to_speaker"][0])
    others = discriminator(*inputs, content.roll(1, 0), speaker)[0]
    assert not torch.allclose(others[0], scores[0])
