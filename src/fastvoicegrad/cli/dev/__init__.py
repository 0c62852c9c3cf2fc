"""``fastvoicegrad dev``: data, training, export, evaluation (needs ``fastvoicegrad[train]`` or ``[eval]``)."""

from __future__ import annotations

import typer

from . import bundles, data, evaluation, training, voices

dev = typer.Typer(no_args_is_help=True, help="For developers: prepare data, train, export, evaluate, reproduce.")
for group in (data, training, bundles, voices, evaluation):
    for command in group.COMMANDS:
        dev.command()(command)
