"""Limits on the parts of a form. Files go to the disk; texts stay in memory, so they are kept small."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from python_multipart.multipart import parse_options_header

from .errors import ApiError

MOST_FILES, MOST_FIELDS = 50, 50
MOST_TEXT = 1 << 16  # bytes of a text
ENCODINGS = ("utf-8", "utf-16", "ascii", "iso8859", "cp125")  # beginnings of Python's names
URL_ENCODED = "application/x-www-form-urlencoded"  # older versions of Starlette have no limits on such forms


class _LimitedRequest(Request):
    def form(self, **_: Any) -> Any:
        kind = self.headers.get("content-type", "")
        if not _is_text_encoding(kind):
            raise ApiError(400, "send the form in UTF-8; this server does not know its charset")
        length = int(self.headers.get("content-length", MOST_FIELDS * MOST_TEXT + 1))
        if kind.lower().startswith(URL_ENCODED) and length > MOST_FIELDS * MOST_TEXT:
            raise ApiError(413, "the form is too large; send multipart/form-data")
        return super().form(max_files=MOST_FILES, max_fields=MOST_FIELDS, max_part_size=MOST_TEXT)


def _is_text_encoding(content_type: str) -> bool:
    """Whether a form's charset is one of those that are decoded in linear time. Punycode and others are not."""
    _, options = parse_options_header(content_type)
    try:
        return codecs.lookup(options.get(b"charset", b"utf-8").decode("latin-1")).name.startswith(ENCODINGS)
    except (LookupError, ValueError):
        return False


class LimitedRoute(APIRoute):
    """A route whose forms have limits."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def limited(request: Request) -> Response:
            return await handler(_LimitedRequest(request.scope, request.receive))

        return limited
