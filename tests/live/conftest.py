"""The tiny stream bundle of tests/stream."""

from tests.stream.conftest import stream_folder, stream_networks, voices

__all__ = ["stream_folder", "stream_networks", "voices"]
