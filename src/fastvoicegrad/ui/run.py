"""Opens the page on a port, and closes it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ..converter import VoiceConverter
from ..demo import SAMPLES
from ..errors import InputError
from ..files import scratch_folder
from ..library import VoiceLibrary
from ..library.voice_library import PRESETS
from ..server.origin import is_foreign, is_loopback
from ..stopping import until_stopped
from .arena import FILE, Arena, Votes
from .page import STYLE, THEME, Page
from .studio import Studio

LARGEST_UPLOAD = "2gb"


class OwnPages:
    """ASGI middleware of a page for this machine alone: no other site may use it, whatever its name resolves to."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and is_foreign(Headers(scope=scope)):
            refusal = "this page answers only requests to localhost from itself; see --host"
            await PlainTextResponse(refusal, 403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def serve(
    converters: Mapping[str, VoiceConverter], host: str, port: int, ready: Callable[[str], None] = lambda url: None
) -> None:
    """Show the page until SIGINT or SIGTERM.

    Args:
        converters: by the names of their bundles; the first one converts.
        port: 0 is any free one.
        ready: is called with the address of the page.
    Raises:
        InputError: the address is taken, or not this machine's.
    """
    with opened(converters, VoiceLibrary(), host, port) as url:
        ready(url)
        with until_stopped():
            while True:
                time.sleep(1)


@contextmanager
def opened(
    converters: Mapping[str, VoiceConverter], library: VoiceLibrary, host: str = "127.0.0.1", port: int = 0
) -> Iterator[str]:
    """The page while the block runs; gives its address. Uploads and results are deleted at the end.

    Raises:
        InputError: see `serve`.
    """
    port = _checked_port(host, port)
    with scratch_folder("fastvoicegrad-ui-") as scratch:
        folder = os.path.realpath(scratch)
        os.environ["GRADIO_TEMP_DIR"] = folder  # for uploads; Gradio reads it at each of them
        studio = Studio(converters, library, Path(folder))
        page = Page(studio, Arena(studio, Votes(library.folder / FILE))).blocks
        try:
            page.launch(
                server_name=f"[{host}]" if ":" in host else host,
                server_port=port,
                share=False,
                ssr_mode=False,
                mcp_server=False,
                enable_monitoring=False,
                prevent_thread_lock=True,
                quiet=True,
                show_error=False,
                footer_links=[],
                allowed_paths=[str(SAMPLES), str(PRESETS)],
                max_file_size=LARGEST_UPLOAD,
                theme=THEME,
                css_paths=STYLE,
                app_kwargs={"middleware": [Middleware(OwnPages)] if is_loopback(host) else []},
            )
            yield f"http://{f'[{host}]' if ':' in host else host}:{port}"
        finally:
            page.close(verbose=False)
            del os.environ["GRADIO_TEMP_DIR"]


def _checked_port(host: str, port: int) -> int:
    """The port, or a free one instead of 0.

    Raises:
        InputError: it cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family) as listener:
            number: int = listener.getsockname()[1]
            return number
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot listen on {host} port {port} ({reason}); choose another --port") from error
