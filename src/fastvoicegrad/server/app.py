"""The application: routes, limits and errors around one converter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.security import APIKeyHeader, HTTPBearer

from ..converter import VoiceConverter
from ..library import VoiceLibrary
from ..version import __version__
from . import conversion, schemas, stream, voices
from .errors import add_handlers, answers
from .guard import Guard, HeadAsGet
from .jobs import JobQueue
from .metrics import Metrics
from .service import MODEL, Service, service_of
from .settings import ServerSettings
from .streams import Streams

DESCRIPTION = """Voice conversion in the shape of the ElevenLabs API.

Errors have the form `{"detail": {"status": "...", "message": "..."}}`.
"""
# `Guard` checks the key; these tell the documentation where it goes.
KEY_HEADERS = [
    Depends(APIKeyHeader(name="xi-api-key", auto_error=False)),
    Depends(HTTPBearer(auto_error=False, description="The same key.")),
]
router = APIRouter(tags=["server"])
open_router = APIRouter(tags=["server"])  # needs no key


@router.get("/v1/models", responses=answers(), summary="List models")
async def models(request: Request) -> list[schemas.Model]:
    """The one bundle that this server has."""
    config = service_of(request).converter.bundle.config
    return [schemas.Model(model_id=MODEL, name=config.name, description="One-step diffusion voice conversion")]


@open_router.get("/", include_in_schema=False)
async def start_page() -> RedirectResponse:
    """A browser that knows only the address finds the documentation."""
    return RedirectResponse("docs")


@open_router.get("/health", responses=answers(), summary="Ask whether the server is alive")
async def health(request: Request) -> schemas.Health:
    """Needs no key."""
    queue = service_of(request).queue
    return schemas.Health(
        status="ok", version=__version__, running=queue.running, waiting=queue.waiting, places=queue.places
    )


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **answers()},
    summary="Figures for Prometheus",
)
async def metrics(request: Request) -> Response:
    """Counters of requests, refusals, jobs and seconds."""
    return Response(service_of(request).metrics.text(), media_type="text/plain; version=0.0.4")


def create_app(converter: VoiceConverter, settings: ServerSettings) -> FastAPI:
    """A server's application. It can be run by any ASGI server; `run.serve` adds limits on connections."""
    queue = JobQueue(settings.workers, settings.waiting)
    streams = Streams.of(settings, converter.bundle.fingerprint)
    service = Service(settings, converter, VoiceLibrary(settings.voices), queue, Metrics(queue), streams)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        queue.close()
        streams.close()

    app = FastAPI(
        title="FastVoiceGrad",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,  # it would lead to http behind a proxy with TLS, and the key with it
    )
    app.state.service = service
    add_handlers(app)
    keys = KEY_HEADERS if settings.api_key else []
    for routes in (conversion.router, voices.router, router):
        app.include_router(routes, dependencies=keys)
    app.include_router(open_router)
    app.include_router(stream.router)  # checks the key itself: browsers cannot send headers with a WebSocket
    app.add_middleware(HeadAsGet)
    app.add_middleware(Guard, settings=settings, queue=queue, metrics=service.metrics)
    return app
