"""``python -m fastvoicegrad`` is the command line."""

from .cli import app

app(prog_name="fastvoicegrad")
