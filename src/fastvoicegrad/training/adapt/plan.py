"""The plan of an adaptation in its folder: a run that continues keeps it, and so its result."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from ...errors import InputError
from ...files import replacing, shown
from .settings import Plan

PLAN = "plan.json"
DIFFERS = {  # what a plan was made for, and another one is not
    "version": "by another version of the package",
    "trains": "of another kind",
    "digest": "to other recordings, or of another bundle",
    "asked": "with other --steps",
    "minutes": "with other --minutes",
}

Count = Annotated[int, msgspec.Meta(ge=1)]


@dataclass(frozen=True)
class Purpose:
    """What a plan is made for.

    Attributes:
        version: of the package.
        trains: name of the network.
        digest: of bundle and recordings.
        asked: steps, or None.
        minutes: of training, or None where steps count.
    """

    version: str = ""
    trains: str = ""
    digest: str = ""
    asked: int | None = None
    minutes: float | None = None


@dataclass(frozen=True)
class _Saved(Purpose):
    """The file: a purpose and a `Plan`."""

    steps: Count = field(kw_only=True)
    threads: Count = field(kw_only=True)
    precision: Literal["no", "bf16"] = "no"


def saved_plan(folder: Path) -> tuple[Purpose, Plan] | None:
    """The plan of an earlier run in a folder, and what it was made for; None where there is none.

    Raises:
        InputError: it is damaged.
    """
    try:
        saved = msgspec.json.decode((folder / PLAN).read_bytes(), type=_Saved)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{shown(folder)} is damaged ({PLAN} cannot be read); delete it") from error
    return saved, Plan(saved.steps, saved.threads, saved.precision)


def save_plan(folder: Path, purpose: Purpose, plan: Plan) -> None:
    """Write the plan; a killed run leaves a whole one, or none."""
    with replacing(folder / PLAN) as part:
        part.write_text(json.dumps(asdict(purpose) | plan._asdict()) + "\n")


def check_purpose(folder: Path, saved: Purpose, asked: Purpose) -> None:
    """Raises InputError where a folder's plan was made for something else."""
    for name, difference in DIFFERS.items():
        if getattr(saved, name) != getattr(asked, name):
            raise InputError(
                f"{shown(folder)} belongs to an adaptation {difference}; delete it, or name another output"
            )
