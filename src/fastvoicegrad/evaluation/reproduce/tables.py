"""The tables, their rows, and the trainings behind them.

FastVoiceGrad (arXiv 2409.02245) section 4 compares VoiceGrad in 1, 6 and 30 steps and DiffVC with the student in one
step. It leaves out the adversarial loss or the distillation loss, and varies S_K and the initial state. The authors'
later work compares discriminators. The other tables are this project's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...diffusion import cosine_schedule, noise_schedule, signal_to_noise, step_at_snr

STEPS, START = 1000, 950  # T and S_K of the paper
SCHEDULES = {"cosine": 1.0, "linear": 1.0, "sigmoid": 1.0, "laplace": 1.0}  # kind -> scale, see `noise_schedule`
HALVES = (1, STEPS // 2), (STEPS // 2 + 1, STEPS)  # of all t
STARTS = (*range(100, 1000, 100), START, 990, STEPS)


@dataclass(frozen=True)
class Training:
    """A training that a row needs.

    Attributes:
        part: of `dev train`.
        change: recipe with its changes to the budget's recipe; "" for none.
        settings: ``a.b=value`` overrides.
        teacher: the training that a student distils, or that a teacher continues; "" for none.
        as_long_as: the training whose time it gets instead of the recipe's steps.
        optional: it is left out where it would take too long.
    """

    part: str = "student"
    change: str = ""
    settings: tuple[str, ...] = ()
    teacher: str = ""
    as_long_as: str = ""
    optional: bool = False

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the trainings that come before it."""
        named = {"student": self.teacher or "teacher", "teacher": self.teacher, "diffvc": "diffvc-encoder"}
        return tuple(name for name in (named.get(self.part, ""), self.as_long_as) if name)


@dataclass(frozen=True)
class TableRow:
    """A row of a table.

    Attributes:
        name: in the table.
        run: key of `TRAININGS`.
        steps: of the sampler.
        anchor: name of a system that needs no training.
        published: figures of the papers (VCTK, unseen to unseen, 8,100 pairs).
    """

    name: str
    run: str = "student"
    steps: int = 1
    anchor: str = ""
    published: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Its name in the evaluation; rows of several tables with the same system share it."""
        return self.anchor or (self.run if self.run not in ("teacher", "diffvc") else f"{self.run}{self.steps}")


def matched_start(kind: str) -> int:
    """S_K of a schedule, at the SNR of the paper's S_K = 950."""
    alpha_bar = noise_schedule(kind, STEPS, scale=SCHEDULES[kind])  # type: ignore[arg-type]
    return step_at_snr(alpha_bar, float(signal_to_noise(cosine_schedule(STEPS)[START])))


def _schedule(kind: str) -> tuple[str, ...]:
    return f"schedule.kind={kind}", f"schedule.scale={SCHEDULES[kind]}", f"schedule.start={matched_start(kind)}"


TRAININGS: dict[str, Training] = {
    "teacher": Training("teacher"),
    "student": Training(),
    **{name: Training(change=name) for name in ("adv", "dist", "clean", "noise", "mel")},
    "wave": Training(change="wave", optional=True),
    **{f"{name}-time": Training(change=name, as_long_as="student") for name in ("mel", "wave")},
    **{f"start{s}": Training(settings=(f"schedule.start={s}",)) for s in STARTS if s != START},
    **{f"fm{weight}": Training(settings=(f"weights.fm={weight}",)) for weight in (0, 10)},
    **{f"fm-{layers}": Training(settings=(f"fm_layers={layers}",)) for layers in ("early", "late")},
    **{f"c-{kind}": Training(settings=(f"weighting={kind}",)) for kind in ("alpha_bar", "const")},
    **{f"t{a}-{b}": Training(settings=(f"distill_steps=[{a}, {b}]",)) for a, b in HALVES},
    **{f"teacher-{kind}": Training("teacher", settings=_schedule(kind), teacher="teacher") for kind in SCHEDULES},
    **{kind: Training(settings=_schedule(kind), teacher=f"teacher-{kind}") for kind in SCHEDULES},
    "diffvc-encoder": Training("diffvc-encoder"),
    "diffvc": Training("diffvc"),
}

# Our students have VPFD unless a row names another discriminator, and so do the published figures beside them.
# The paper does not name the model of its DNSMOS. Its natural speech has 3.75, as by P.808; by P.835 it has about 3.1.
FULL = TableRow("FastVoiceGrad", published={"UTMOS": "3.99", "DNSMOS P.808": "3.79", "CER": "1.2", "cosine": ".888"})
AS_PUBLISHED = {"UTMOS": "3.96", "DNSMOS P.808": "3.77", "CER": "1.3", "cosine": ".888"}
GROUND_TRUTH = {"UTMOS": "4.15", "DNSMOS P.808": "3.75", "CER": "0.1", "cosine": ".940"}
DIFFVC = {30: {"UTMOS": "3.76", "DNSMOS P.808": "3.75", "CER": "5.4", "cosine": ".880"}}
MEL_GAN = {"UTMOS": "4.04", "CER": "1.5", "cosine": ".885"}  # MeanVoiceFlow2's, of conversions too
ANCHORS = (
    TableRow("natural", anchor="natural", published=GROUND_TRUTH),
    TableRow("copy-synthesis", anchor="copy-synthesis"),
)


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        text: what it compares, for the reader.
        cost: whether it shows what the trainings cost.
        grouped: whether it has a part for each kind of pair and each corpus.
        against: the row that the others are compared with.
    """

    text: str
    rows: tuple[TableRow, ...]
    cost: bool = False
    grouped: bool = False
    against: TableRow = FULL


# At S_K = 0 the initial state is the source itself, so the result is copy synthesis.
BY_START = {0: ANCHORS[1]} | {s: TableRow(f"S_K = {s}", "student" if s == START else f"start{s}") for s in STARTS}
BY_SCHEDULE = {kind: TableRow(f"{kind}, S_K = {matched_start(kind)}", kind) for kind in SCHEDULES}

TABLES: dict[str, Table] = {
    "systems": Table(
        "Steps of the sampler, without distillation and with it.",
        (
            *ANCHORS,
            *(TableRow(f"VoiceGrad-{k}", "teacher", k) for k in (1, 6, 30)),
            FULL,
            *(TableRow(f"DiffVC-{k}", "diffvc", k, published=DIFFVC.get(k, {})) for k in (6, 30)),
        ),
        grouped=True,
    ),
    "losses": Table(
        "Each loss alone.", (FULL, TableRow("FastVoiceGrad_adv", "adv"), TableRow("FastVoiceGrad_dist", "dist"))
    ),
    "starts": Table(
        "The step S_K at which conversion starts. S_K = 0 is copy synthesis of the source.",
        tuple(TableRow(f"S_K = {s}", row.run, anchor=row.anchor) for s, row in BY_START.items()),
        grouped=True,
    ),
    "initial": Table(
        "The state from which one step starts.",
        (TableRow("diffused source"), TableRow("source", "clean"), TableRow("noise", "noise")),
    ),
    "discriminators": Table(
        "The discriminator's input. 'Equal time' trains as long as VPFD does, else the steps are equal.",
        (
            TableRow("VPFD", published=FULL.published),
            TableRow("mel", "mel", published=MEL_GAN),
            TableRow("waveform", "wave", published=AS_PUBLISHED),
            TableRow("mel, equal time", "mel-time"),
            TableRow("waveform, equal time", "wave-time"),
        ),
        cost=True,
    ),
    "matching": Table(
        "The weight of feature matching, and the half of each discriminator's layers that it compares.",
        (
            TableRow("weight 2, all layers"),
            TableRow("weight 0", "fm0"),
            TableRow("weight 10, all layers", "fm10"),
            TableRow("weight 2, early layers", "fm-early"),
            TableRow("weight 2, late layers", "fm-late"),
        ),
    ),
    "distillation": Table(
        "The weight c(t) of the distillation loss, and the steps t from which it draws.",
        (
            TableRow("c = sqrt(alpha_bar), all t"),
            TableRow("c = alpha_bar, all t", "c-alpha_bar"),
            TableRow("c = 1, all t", "c-const"),
            *(TableRow(f"c = sqrt(alpha_bar), t = {a} to {b}", f"t{a}-{b}") for a, b in HALVES),
        ),
    ),
    "schedules": Table(
        "The noise schedule. All start at the SNR of the cosine schedule's S_K = 950. Each has a teacher of its own, "
        "which continues the common one for an eighth of its steps.",
        tuple(BY_SCHEDULE.values()),
        against=BY_SCHEDULE["cosine"],
    ),
}
SPEED, LANGUAGES = "speed", "languages"  # tables without a training
ALL = (*TABLES, SPEED, LANGUAGES)


def trainings_of(rows: list[TableRow]) -> list[str]:
    """Names of the trainings that rows need, each after those that it needs itself."""
    wanted = {row.run for row in rows if not row.anchor}
    for name in reversed(list(TRAININGS)):  # a training is listed after what it needs
        if name in wanted:
            wanted.update(TRAININGS[name].needs)
    return [name for name in TRAININGS if name in wanted]
