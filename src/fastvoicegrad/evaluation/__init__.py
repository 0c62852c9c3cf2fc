"""Evaluation of conversion systems: one file per kind of metric, one protocol of pairs, one report."""
