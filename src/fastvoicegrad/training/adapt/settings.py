"""Every setting of an adaptation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ..data.perturb import PerturbConfig
from ..schedule import ScheduleConfig
from ..task import LoopConfig

VALIDATE_EVERY, VALIDATIONS = 25, 40  # least steps between two validations; validations of a long run
MOST_USED = 0.5  # share of a trained adapter that a voice takes at most; more loses words, and DNSMOS does not show it
WEIGHTS = {
    "speaker": 30.0,
    "consistency": 40.0,
    "features": 10.0,
    "style": 20.0,
}


@dataclass(frozen=True)
class AdaptConfig:
    """Settings that the package chooses. A run saves them beside its checkpoint."""

    loop: LoopConfig
    schedule: ScheduleConfig
    reconstructions: int = 4  # crops of the voice in a batch, given in another voice
    conversions: int = 4  # crops of shipped speech in a batch
    frames: int = 96  # of a crop
    reference_frames: int = 384  # of the voice, for retrieval and attention
    view: float = 0.5  # probability of a view in another voice as the source of a reconstruction
    # Of the sources: voices change much where the voice itself is the source, and little where a view is. Shipped
    # speech was made in silence, so it gets rooms, noise and narrow bands.
    own_perturbation: PerturbConfig = field(default_factory=PerturbConfig)
    other_perturbation: PerturbConfig = field(
        default_factory=lambda: PerturbConfig(formant=1.12, pitch=1.2, equaliser=0.3, gain=0.2, noise=0.1)
    )
    shipped_perturbation: PerturbConfig = field(
        default_factory=lambda: PerturbConfig(
            formant=1.25, pitch=1.4, equaliser=0.5, gain=0.35, noise=0.4, colour=0.7, room=0.2, narrow=0.15
        )
    )
    weights: dict[str, float] = field(default_factory=lambda: dict(WEIGHTS))
    patience: int = 10  # validations without a better score after which training stops


class Plan(NamedTuple):
    """What fits one machine and one budget: number of steps, CPU threads, and the precision of the arithmetic."""

    steps: int
    threads: int
    precision: str = "no"  # or "bf16"


def adapter_loop(plan: Plan) -> LoopConfig:
    """The loop for an adapter: few values, so large steps."""
    return LoopConfig(
        steps=plan.steps,
        batch_size=0,  # see AdaptConfig
        learning_rate=4e-3,
        betas=(0.8, 0.99),
        warmup=10,
        cooldown=0.4,
        clip=100.0,
        ema=0.95,
        validate_every=max(VALIDATE_EVERY, plan.steps // VALIDATIONS),
        keep_best="score",
        threads=plan.threads,
        mixed_precision=plan.precision,
    )


def converter_loop(plan: Plan) -> LoopConfig:
    """The loop for a whole converter."""
    return replace(adapter_loop(plan), learning_rate=2e-4, ema=0.99)
