"""From recordings to an adapted voice, or to a bundle that is trained on: prepare, plan, train, compare."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import torch
from accelerate.state import AcceleratorState
from safetensors import safe_open

from ...audio.folders import REPORT
from ...converter import VoiceConverter
from ...errors import InputError
from ...files import check_target, shown
from ...stream.bundle import StreamBundle
from ...threads import default_threads
from ...version import __version__
from ...voice import Voice
from ..alone import alone
from ..checkpoint import read_meta
from ..loop import NonFiniteLoss
from ..models.stream import StreamConverter
from ..models.unet import UNet
from ..restore_stream import restored_stream_converter
from ..schedule import ScheduleConfig
from .features import FrozenFeatures
from .networks import BundleNetworks, restored_networks
from .plan import Purpose, check_purpose, save_plan, saved_plan
from .recordings import Recordings, Warn, read_voice
from .report import Judges, Report, compare
from .settings import AdaptConfig, Plan, adapter_loop, converter_loop
from .shipped import Shipped, shipped_speech, with_views
from .streams import StreamNetworks, stream_adapter
from .strength import Weakened, strongest
from .task import ADAPTER, AdaptTask
from .trainer import AdaptTrainer

TIMED = 4  # steps on which a step's duration is measured, the first left out
SHARE = 0.9  # of the minutes that training steps take; validations take the rest
FEWEST = 20  # steps
HOPELESS = 3.0  # times as long as in float32: a bfloat16 step that long ends its trial


class NoGain(Exception):
    """The adapted voice is no better than the plain one, so it is not written."""


@dataclass(frozen=True)
class Budget:
    """How long to train: for a number of minutes on this machine, or of steps.

    Attributes:
        threads: CPU threads; None: see `default_threads`.
    """

    minutes: float = 10.0
    steps: int | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Work:
    """What a training needs, ready: the same inputs give the same work."""

    converter: VoiceConverter
    voices: list[Recordings]
    sources: Shipped
    folder: Path
    name: str = ADAPTER

    def config(self, plan: Plan) -> AdaptConfig:
        loop = adapter_loop(plan) if self.name == ADAPTER else converter_loop(plan)
        return AdaptConfig(loop, ScheduleConfig.of(self.converter.bundle.config))

    def trainer(self, bundle: str | Path | None, out: Path, plan: Plan) -> AdaptTrainer:
        """A trainer that continues from what is in `out`."""
        torch.set_num_threads(plan.threads)  # from the first sum on: another number would round differently
        config = self.config(plan)
        networks = restored_networks(bundle, self.folder / "networks")
        task = AdaptTask(self.converter.bundle, networks, self.voices, self.sources, config, self.name)
        AcceleratorState._reset_state()  # it would keep the precision of an earlier trainer
        return AdaptTrainer(task, out, config)

    @property
    def digest(self) -> str:
        """Identifies bundle and speech: every network, the settings of conversions, and how clips are held back."""
        config = replace(self.converter.bundle.config, name="", version="", notes={})
        found = hashlib.sha256(msgspec.json.encode(config))
        for voice in self.voices:
            found.update(repr((len(voice.train), len(voice.held))).encode())
            for clip in (*voice.train, *voice.held):
                found.update(clip.mel.tobytes())
        return found.hexdigest()


def adapt(
    recordings: Sequence[str | os.PathLike[str]],
    output: Path,
    budget: Budget,
    *,
    bundle: str | Path | None = None,
    stream_bundle: str | Path | None = None,
    judges: Judges | None = None,
    warn: Warn = print,
    note: Callable[[str], None] = print,
) -> Report:
    """Adapt a bundle to the voice of some recordings and write the voice.

    The folder ``NAME.adapt`` beside the output keeps the state, so that a killed run continues, and then the report.

    Args:
        output: the ``.voice`` file.
        stream_bundle: whose streams are adapted too, if it takes voices of the bundle.
        judges: measure the result; None: the bundle's own speaker encoder does.
        warn, note: receive sentences about the recordings, and about what is being done.
    Raises:
        InputError: bad recordings, a bundle without adapters, another adaptation's folder, one in which another run
            works, or a training that diverges.
        NoGain: the voice did not get better. The report is written all the same.
    """
    check_target(output)
    with alone(output.with_suffix(REPORT)) as folder:
        converter = VoiceConverter.load(bundle, threads_of(folder, budget))
        if not converter.bundle.config.adapter:
            raise InputError("this bundle takes no adapted voices; use the built-in one")
        streams = StreamBundle.open(stream_bundle)
        if streams.config.encoder == converter.bundle.fingerprint:
            stream_converter = restored_stream_converter(streams)
        else:
            stream_converter = None
            note("the stream bundle takes no voices of this bundle, so streams are not adapted")
        voice = read_voice(converter.bundle, recordings, output.stem, warn)
        note(f"{voice.seconds:.0f} s of speech to train on; clips that are held back: {len(voice.held)}")
        work = prepared(converter, [voice], folder)
        trained(work, bundle, budget, note)
        gained = bool(read_meta(folder / "best.safetensors")["step"])
        with tempfile.TemporaryDirectory() as restored:
            networks = restored_networks(bundle, Path(restored))
        note("finding how much of the adapter leaves speech natural")
        strength, adapted = strongest(converter, voice.voice, _best(work, networks.unet), work.sources.held, note)
        note(f"{strength:.0%} of the adapter is used")
        if gained and stream_converter is not None:
            adapted = _with_streams(work, networks, adapted, streams, stream_converter, note)
        report = compare(converter, voice, adapted, work.sources.held, judges or Judges(), folder, gained, streams)
        if report.problem:
            raise NoGain(f"the voice is not written: {report.problem}; see {shown(folder / 'index.html')}")
        adapted.save(output)
    return report


def prepared(converter: VoiceConverter, voices: Sequence[Recordings], folder: Path, name: str = ADAPTER) -> Work:
    """Shipped speech, and views of the clips in its voices."""
    sources = shipped_speech(converter)
    viewed = [replace(voice, train=with_views(converter, voice.train, sources.train)) for voice in voices]
    return Work(converter, viewed, sources, folder, name)


def trained(work: Work, bundle: str | Path | None, budget: Budget, note: Callable[[str], None]) -> None:
    """Train to the budget, from where an earlier run was killed. The best step is ``best.safetensors`` then.

    Raises:
        InputError: the folder belongs to another adaptation, or the training diverges.
    """
    try:
        plan = _planned(work, bundle, budget, note)
        work.trainer(bundle, work.folder, plan).run()
    except NonFiniteLoss as error:
        raise InputError(
            f"the training diverged; delete {shown(work.folder)}, and train for fewer --steps or on other recordings"
        ) from error
    finally:
        shutil.rmtree(work.folder / "networks", ignore_errors=True)


def threads_of(folder: Path, budget: Budget) -> int:
    """Of a run that continues, its own: another number would round differently."""
    saved = saved_plan(folder)
    return saved[1].threads if saved else budget.threads or default_threads()


def _planned(work: Work, bundle: str | Path | None, budget: Budget, note: Callable[[str], None]) -> Plan:
    """The plan, which is saved: a continued run keeps it, and so its result.

    Raises:
        InputError: the folder belongs to other recordings, another bundle, version or budget.
    """
    minutes = None if budget.steps else budget.minutes
    purpose = Purpose(__version__, work.name, work.digest, budget.steps, minutes)
    if saved := saved_plan(work.folder):
        check_purpose(work.folder, saved[0], purpose)
        if budget.threads not in (None, saved[1].threads):
            note(f"the run continues with {_threads(saved[1])}: another --threads would round differently")
        return saved[1]
    threads = threads_of(work.folder, budget)
    plan = Plan(budget.steps, threads) if budget.steps else _fastest(budget.minutes, work, bundle, threads)
    save_plan(work.folder, purpose, plan)
    how = " in bfloat16" if plan.precision == "bf16" else ""
    note(f"training for {plan.steps} steps with {_threads(plan)}{how}")
    return plan


def _threads(plan: Plan) -> str:
    return f"{plan.threads} thread{'s' if plan.threads > 1 else ''}"


def _fastest(minutes: float, work: Work, bundle: str | Path | None, threads: int) -> Plan:
    """The precision that is faster on this machine, and the steps that it takes in so many minutes.

    Both are measured on a training that is thrown away.
    """
    with tempfile.TemporaryDirectory() as folder:
        trainer = work.trainer(bundle, Path(folder), Plan(2 * TIMED, threads))
        device = trainer.accelerator.device.type
        seconds = {"no": _seconds_a_step(trainer)}
        with torch.autocast(device, torch.bfloat16):
            seconds["bf16"] = _seconds_a_step(trainer, HOPELESS * seconds["no"])
    precision = min(seconds, key=lambda name: seconds[name])
    return Plan(max(FEWEST, int(SHARE * 60 * minutes / seconds[precision])), threads, precision)


def _seconds_a_step(trainer: AdaptTrainer, most: float = math.inf) -> float:
    """Median of a few steps, or the first duration above `most`: CPUs without bfloat16 imitate it very slowly."""
    durations = list[float]()
    while len(durations) < TIMED:
        started = time.perf_counter()
        trainer.train_step()
        durations.append(time.perf_counter() - started)
        if durations[-1] > most:
            return durations[-1]
    return float(np.median(durations[1:]))


def _with_streams(
    work: Work,
    networks: BundleNetworks,
    adapted: Voice,
    streams: StreamBundle,
    stream_converter: StreamConverter,
    note: Callable[[str], None],
) -> Voice:
    """The adapted voice with an adapter for streams, where this gains."""
    note("adapting streams")
    lent = StreamNetworks(streams, stream_converter, networks.speaker, FrozenFeatures(networks))
    found = stream_adapter(lent, work.converter, work.voices[0], adapted, work.sources.train)
    if found is None:
        note("streams gain nothing, so they keep the plain voice")
    assert adapted.adapter is not None
    return replace(adapted, adapter=replace(adapted.adapter, stream=found))


def _best(work: Work, unet: UNet) -> Weakened:
    """The adapter of the best step, at any strength, rounded as a voice's file rounds it."""
    with safe_open(work.folder / "best.safetensors", "pt") as file:
        adapter = cast(torch.Tensor, file.get_tensor(f"{ADAPTER}_ema.values"))
    return lambda strength: unet.weakened(adapter, strength)[0].half().float().numpy()
