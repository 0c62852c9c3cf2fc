"""Systems by their names on the command line."""

from __future__ import annotations

from pathlib import Path

from ..bundle import Bundle
from ..errors import InputError
from .baselines import DiffVcConversion
from .cache import digest, fingerprint
from .intermediate import ConvertedEnvelope, PlainConversion, RecordedEnvelope, RetrievedMel
from .streaming import StreamConversion
from .systems import (
    Conversion,
    CopySynthesis,
    Folder,
    HifiGanCopySynthesis,
    LimitedReference,
    Natural,
    Source,
    System,
    bundle_key,
    program_key,
)

OF_BUNDLE: dict[str, type[CopySynthesis | PlainConversion]] = {
    "copy-synthesis": CopySynthesis,
    **{kind.kind: kind for kind in (PlainConversion, RetrievedMel, ConvertedEnvelope, RecordedEnvelope)},
}


def make_system(spec: str, work: Path, base: str | None = None) -> System:
    """A system by its name.

    Args:
        spec: ``natural``, ``source``, ``hifigan:WEIGHTS``, ``folder:PATH``, ``reference:SECONDS:MODEL``,
            ``stream:BUNDLE`` (a stream bundle, with the voices of `base`),
            ``MODEL[@STEPS]`` or ``KIND[:MODEL]``.
            A MODEL is a bundle's folder or zip, ``default``, or a teacher's or student's CHECKPOINT.safetensors. The
            checkpoint of a DiffVC converts too.
            A KIND is a key of `OF_BUNDLE`.
        work: folder for bundles that are made of checkpoints.
        base: the bundle whose other networks complete a checkpoint; None is the default one.
    Raises:
        InputError: there is no such system.
    """
    kind, _, path = spec.partition(":")
    if kind in OF_BUNDLE:
        return OF_BUNDLE[kind](bundle_path(path, work, base))
    match kind:
        case "natural":
            return Natural()
        case "source":
            return Source()
        case "hifigan":
            return HifiGanCopySynthesis(path)
        case "folder":
            return Folder(path)
        case "stream":
            return StreamConversion(path, base)
        case "reference":
            seconds, _, model = path.partition(":")
            if not seconds.replace(".", "", 1).isdecimal():
                raise InputError(f"{spec}: write it as reference:SECONDS:MODEL, e.g. reference:3:default")
            return LimitedReference(bundle_path(model, work, base), float(seconds))
    name, steps = split_steps(spec)
    if steps and not steps.isdecimal():
        raise InputError(f"{spec}: what follows '@' is a number of steps, e.g. {name}@6")
    if _is_diffvc(name):
        return DiffVcConversion(name, base, int(steps or 30))
    return Conversion(bundle_path(name, work, base), int(steps or 1))


def split_steps(spec: str) -> tuple[str, str]:
    """``MODEL@STEPS`` as (model, steps); "@" in the name of a folder is a part of the model."""
    name, _, steps = spec.rpartition("@")
    return (name, steps) if name and Path(steps).name == steps else (spec, "")


def _is_diffvc(model: str) -> bool:
    """Whether a model is a checkpoint of DiffVC."""
    if not (model.endswith(".safetensors") and Path(model).is_file()):
        return False
    from ..training.checkpoint import read_meta

    return bool(read_meta(model)["task"] == "diffvc")


def bundle_path(model: str, work: Path, base: str | None) -> str | None:
    """The bundle of a model; None is the default one. See `make_system`."""
    if model in ("", "default"):
        return None
    return str(bundle_of_checkpoint(Path(model), work, base)) if model.endswith(".safetensors") else model


def bundle_of_checkpoint(path: Path, work: Path, base: str | None) -> Path:
    """A bundle of a teacher's or student's checkpoint and the other networks of `base`. It is made once."""
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint")
    from ..training.checkpoint import read_meta  # only a checkpoint needs the exporter, which loads slowly
    from ..training.export import with_converter

    code = program_key("training/*.py", "training/models/*.py")
    folder = work / digest(fingerprint(str(path)), bundle_key(base), code)[:16]
    if not (folder / "config.json").exists():
        with_converter(folder, Bundle.open(base), path, teacher=read_meta(path)["task"] == "teacher", name=path.stem)
    return folder
