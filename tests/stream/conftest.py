"""A tiny stream bundle for voices of the default bundle, and two such voices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import vowels


@pytest.fixture(scope="session")
def stream_networks():  # type: ignore[no-untyped-def]
    """See tiny_stream.py; needs PyTorch."""
    pytest.importorskip("torch")
    from tests.tiny_stream import make_stream_networks

    return make_stream_networks()


@pytest.fixture(scope="session")
def stream_folder(tmp_path_factory: pytest.TempPathFactory, converter: Any, stream_networks: Any) -> Path:
    """A stream bundle of tiny networks for voices of the default bundle."""
    from tests.tiny_stream import make_stream_bundle

    return make_stream_bundle(tmp_path_factory.mktemp("stream"), converter.bundle.fingerprint, stream_networks)


@pytest.fixture(scope="session")
def voices(converter: Any) -> list[Any]:
    """A high and a low one."""
    return [converter.voice_of(vowels(3.0, pitch, seed=seed), 22050) for seed, pitch in ((1, 210.0), (2, 90.0))]
