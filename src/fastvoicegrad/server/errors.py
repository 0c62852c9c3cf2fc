"""Answers to what cannot be done, in the shape ``{"detail": {"status": "...", "message": "..."}}``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, HTTPException, Request, WebSocket
from fastapi.exceptions import RequestValidationError, ValidationException, WebSocketRequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.routing import compile_path

STATUSES = {
    400: "bad_request",
    401: "invalid_api_key",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    409: "voice_name_taken",
    413: "upload_too_large",
    422: "validation_error",
    429: "too_many_requests",
    500: "internal_error",
}
MEANINGS = {
    400: "The recording or a field cannot be used.",
    401: "The API key is missing or wrong.",
    403: "This is not allowed.",
    404: "There is no such voice.",
    408: "The body arrives too slowly.",
    409: "The name belongs to another voice.",
    413: "The upload has too many bytes, or the recording is too long.",
    422: "A field is missing or has another form.",
    429: "All places are taken, or the client sends too many requests. Try again after `Retry-After` seconds.",
}


class ErrorDetail(BaseModel):
    """What went wrong."""

    status: str = Field(description="A short name for programs.", examples=["voice_not_found"])
    message: str = Field(description="A sentence for people.", examples=["there is no voice 'anna'"])


class ErrorAnswer(BaseModel):
    """The body of every answer from 400 on."""

    detail: ErrorDetail


class ApiError(HTTPException):
    """Becomes an answer.

    Args:
        code: HTTP status.
        status: short name for programs; empty: the usual one of the code.
        message: a sentence for people, without paths of this machine.
    """

    def __init__(self, code: int, message: str, status: str = "", headers: Mapping[str, str] | None = None) -> None:
        self.status = status or STATUSES[code]
        super().__init__(code, {"status": self.status, "message": encodable(message)}, dict(headers or {}))


def too_many(message: str, status: str, seconds: float) -> ApiError:
    """429 with the whole seconds after which a client may try again."""
    return ApiError(429, message, status, {"Retry-After": str(max(1, math.ceil(seconds)))})


def encodable(text: str) -> str:
    """Text without lone surrogates, which JSON in UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def answers(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI description of the errors that a route gives."""
    return {code: {"model": ErrorAnswer, "description": MEANINGS[code]} for code in (401, 403, *codes)}


def add_handlers(app: FastAPI) -> None:
    """All errors of an application take one shape."""
    app.add_exception_handler(StarletteHTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(WebSocketRequestValidationError, _on_invalid_stream)
    app.add_exception_handler(Exception, _on_failure)


def _answer(code: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": {"status": STATUSES.get(code, "error"), "message": message}}, code, headers)


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StarletteHTTPException)
    if isinstance(error, ApiError):
        return JSONResponse({"detail": error.detail}, error.status_code, error.headers)
    headers = {"Allow": _methods(request, error)} if error.status_code == 405 else error.headers
    return _answer(error.status_code, encodable(str(error.detail)), headers)


def _methods(request: Request, error: StarletteHTTPException) -> str:
    """The methods of a path. The framework gives those of one route only, though routes may share a path."""
    paths: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    path = request.url.path
    matching = [path] if path in paths else [p for p in paths if compile_path(p)[0].match(path)]
    documented = {method.upper() for name in matching for method in paths[name]}
    methods = documented or set((error.headers or {}).get("Allow", "").split(", "))
    return ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))


async def _on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    """The first problem, without the value that was sent."""
    assert isinstance(error, RequestValidationError)
    return _first_problem(error)


async def _on_invalid_stream(websocket: WebSocket, error: Exception) -> None:
    """The first problem, in place of the handshake."""
    assert isinstance(error, WebSocketRequestValidationError)
    await websocket.send_denial_response(_first_problem(error))


def _first_problem(error: ValidationException) -> JSONResponse:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    return _answer(422, encodable(f"{where}: {first['msg']}"))


async def _on_failure(request: Request, error: Exception) -> JSONResponse:
    return _answer(500, "the server failed; its log has the reason")
