"""Other voices for a batch: what a conversion is asked, beside a reconstruction.

A batch (see `ConversionCrops.draw`) describes crops of voices. Here are its items said in each other's voices, the
same voices speaker_conditions for guidance, and the voice that is unconditional_speaker's.
"""

from __future__ import annotations

import torch

from ..loop import Batch

VOICE = ("speaker", "reference", "reference_content")  # what describes a voice to the networks


def conversion_targets(batch: Batch, count: int) -> Batch:
    """The first `count` items of a batch, at most all but one, each to be said in the voice of the next one: what
    changes, as "to_..."."""
    count = min(count, len(batch["mel"]) - 1)
    names = (*VOICE, "voice", "median_pitch", "augmented")
    other = {f"to_{name}": batch[name].roll(-1, 0)[:count] for name in names if name in batch}
    # In its own voice, as in use.
    other |= {"to_source": batch["mel"][:count], "to_content": batch["crop_content"][:count]}
    other |= {f"to_{name}": batch[f"own_{name}"][:count] for name in ("heard", "source_context_index") if name in batch}
    ratio = other["to_median_pitch"] / batch["median_pitch"][:count]
    return other | {"to_pitch": batch["pitch"][:count] * ratio[:, None]}


def as_conversions(batch: Batch) -> Batch:
    """The conversions that `conversion_targets` asks for, as a batch."""
    count = len(batch["to_speaker"])
    kept = {name: value[:count] for name, value in batch.items() if not name.startswith("to_")}
    return kept | {n.removeprefix("to_"): v for n, v in batch.items() if n.startswith("to_")}


def speaker_conditions(batch: Batch, count: int) -> Batch:
    """What describes the voices of a batch's first items."""
    return {name: batch[name][:count] for name in VOICE if name in batch}


def unconditional_speaker(batch: Batch, count: int) -> Batch:
    """What describes a voice, `count` times, from all voices of a batch at once: what stands for none."""
    mixed = {"speaker": torch.nn.functional.normalize(batch["speaker"].mean(0, keepdim=True), dim=1)}
    for name in ("reference", "reference_content"):
        if name in batch:  # every n-th frame of the n references, one after the other
            mixed[name] = batch[name][:, :, :: len(batch[name])].transpose(0, 1).flatten(1)[None]
    return {name: value.expand(count, *value.shape[1:]) for name, value in mixed.items()}
