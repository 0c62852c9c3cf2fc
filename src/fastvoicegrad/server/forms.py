"""Limits on the parts of a form. Files go to the disk; texts stay in memory, so they are kept small."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from .errors import ApiError

MOST_FILES, MOST_FIELDS = 50, 50
MOST_TEXT = 1 << 16  # bytes of a text
URL_ENCODED = "application/x-www-form-urlencoded"  # older versions of Starlette have no limits on such forms


class _LimitedRequest(Request):
    def form(self, **_: Any) -> Any:
        length = int(self.headers.get("content-length", MOST_FIELDS * MOST_TEXT + 1))
        if self.headers.get("content-type", "").startswith(URL_ENCODED) and length > MOST_FIELDS * MOST_TEXT:
            raise ApiError(413, "the form is too large; send multipart/form-data")
        return super().form(max_files=MOST_FILES, max_fields=MOST_FIELDS, max_part_size=MOST_TEXT)


class LimitedRoute(APIRoute):
    """A route whose forms have limits."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def limited(request: Request) -> Response:
            return await handler(_LimitedRequest(request.scope, request.receive))

        return limited
