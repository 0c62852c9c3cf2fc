"""The paper's tables on one's own data: train what is missing, evaluate it, compare with the published figures.

`tables.py` lists the tables and their trainings, `trainings.py` runs these, `report.py` and `plots.py` show the result.
"""

from .plan import BUDGETS, Reproduction
from .run import reproduce
from .tables import ALL, TABLES

__all__ = ["ALL", "BUDGETS", "TABLES", "Reproduction", "reproduce"]
