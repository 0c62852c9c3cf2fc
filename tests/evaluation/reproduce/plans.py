"""Plans of reproductions with the recipes of this checkout."""

from __future__ import annotations

from pathlib import Path

from fastvoicegrad.evaluation.reproduce.plan import Reproduction

RECIPES = Path(__file__).parents[3] / "recipes"


def plan(tables: list[str], budget: str, out: Path = Path("nowhere")) -> Reproduction:
    nowhere = Path("nowhere")
    return Reproduction(tables, budget, RECIPES, nowhere, nowhere, nowhere, out)
