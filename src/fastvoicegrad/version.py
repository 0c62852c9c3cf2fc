"""The version of the package, of its default bundle and of the changelog."""

__version__ = "0.21.0"
TOOL = f"fastvoicegrad {__version__}"  # as files name it
