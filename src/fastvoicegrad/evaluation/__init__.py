"""How good a system is: one file per kind of metric, one protocol, one table."""
