"""Uploads as temporary files."""

from __future__ import annotations

import io

import pytest

pytest.importorskip("fastapi")

from fastvoicegrad.audio.streams import FLAC_MARK
from fastvoicegrad.server.errors import ApiError
from fastvoicegrad.server.uploads import Upload, opened


def test_a_file_of_headers_alone_is_a_chain_that_is_too_long() -> None:
    data = FLAC_MARK * (1 << 18)
    with pytest.raises(ApiError) as caught, opened(Upload(io.BytesIO(data), len(data), "talk.flac"), 60.0):
        pass
    assert caught.value.status_code == 400
    assert caught.value.detail["message"].startswith("talk.flac is a chain of more than ")
