"""The settings of a conversion: what people choose beside the voice."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

from .bundle import Bundle
from .errors import InputError
from .formants import check_formant
from .pauses import check_pauses

MOST_SEED = 2**64  # seeds lie below
MOST_SEMITONES = 24.0  # to each side


@dataclass(frozen=True)
class ConversionSettings:
    """Settings of a conversion; `VoiceConverter.convert` explains each of them."""

    steps: int = 1
    seed: int = 0
    semitones: float = 0.0
    keep_pitch: bool = False
    formant: float = 0.0
    pauses: str = "converted"

    def check_sound(self) -> None:
        """Raises InputError where no bundle can do what is asked."""
        check_seed(self.seed)
        check_semitones(self.semitones)
        check_formant(self.formant)
        check_pauses(self.pauses)

    def check_for(self, bundle: Bundle) -> None:
        """Raises InputError where the bundle cannot do what is asked."""
        allowed = bundle.config.max_steps
        if not (isinstance(self.steps, Integral) and 1 <= self.steps <= allowed):
            most = f"{allowed} step{'s' if allowed > 1 else ''}"
            raise InputError(f"this bundle converts in at most {most}, {self.steps} were asked for; leave steps out")
        self.check_sound()
        if (self.semitones or self.keep_pitch) and not bundle.config.harmonics:
            raise InputError("this bundle has no input for the pitch; leave the pitch options out")


def check_seed(seed: int) -> None:
    """Raises InputError where the noise generator takes no such seed."""
    if not (isinstance(seed, Integral) and 0 <= seed < MOST_SEED):
        raise InputError(f"the seed must be a whole number from 0 to 2**64 - 1, got {seed}")


def check_semitones(semitones: float) -> None:
    """Raises InputError where a melody cannot move so far."""
    if not -MOST_SEMITONES <= semitones <= MOST_SEMITONES:
        raise InputError(f"semitones must lie between -{MOST_SEMITONES:g} and {MOST_SEMITONES:g}, got {semitones:g}")
