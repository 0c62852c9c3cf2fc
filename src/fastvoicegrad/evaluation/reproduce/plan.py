"""What to reproduce, and at which budget."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ...errors import InputError
from .tables import ALL, ANCHORS, FULL, LANGUAGES, TABLES, TableRow

# Budget -> folder with the recipes of every part; the ablations change the student's.
BUDGETS = {"smoke": "smoke", "small": "ablation", "paper": "paper"}


@dataclass(frozen=True)
class Reproduction:
    """What to reproduce.

    Attributes:
        tables: some of `ALL`; "all" names every one.
        budget: key of `BUDGETS`.
        recipes: folder of the recipes.
        store: feature store to train on.
        pairs: protocol file to evaluate on.
        metric_weights: folder of the metrics' weights.
        out: folder of the runs, the reports and the tables.
        base: bundle with content encoder, speaker encoder and vocoder; None is the default one.
        teacher: a teacher's checkpoint; None trains one.
        manifest: recordings of many languages, for the table of languages.
        jobs: trainings at once; they share the CPU's threads.
        longest: hours above which an optional training is left out.
        settings: ``a.b=value`` overrides of every student's recipe.
    """

    tables: list[str]
    budget: str
    recipes: Path
    store: Path
    pairs: Path
    metric_weights: Path
    out: Path
    base: str | None = None
    teacher: Path | None = None
    manifest: Path | None = None
    jobs: int = 1
    longest: float = 3.0
    settings: list[str] = field(default_factory=list)

    @property
    def wanted(self) -> tuple[str, ...]:
        """The tables by name, in the order of `ALL`."""
        return ALL if "all" in self.tables else tuple(name for name in ALL if name in self.tables)

    @property
    def rows(self) -> dict[str, TableRow]:
        """The rows of all tables with trainings by their systems' names, each system once; {} without such a table."""
        rows = [row for name in self.wanted if name in TABLES for row in TABLES[name].rows]
        return {row.key: row for row in (*ANCHORS, FULL, *rows)} if rows else {}

    def check(self) -> None:
        """Raises InputError where a table, a budget or an input does not exist."""
        if unknown := set(self.tables) - {*ALL, "all"}:
            raise InputError(f"no table '{sorted(unknown)[0]}'; there are {', '.join(ALL)}, and all")
        if self.budget not in BUDGETS:
            raise InputError(f"no budget '{self.budget}'; there are {', '.join(BUDGETS)}")
        if LANGUAGES in self.wanted and self.manifest is None:
            raise InputError(f"the table '{LANGUAGES}' needs recordings of many languages; name them with --manifest")
