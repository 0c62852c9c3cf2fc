"""``fastvoicegrad serve``: voice conversion over HTTP."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .common import BundleOption, StreamBundleOption, console, finite, friendly, path_of


@friendly
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; others than loopback need a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 is any free one.")] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="FASTVOICEGRAD_API_KEY", help="Key that requests must carry as xi-api-key."),
    ] = None,
    voices: Annotated[
        Path | None,
        typer.Option(parser=path_of, help="Folder of the voice library; default: your own."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Conversions that run at once.")] = 2,
    waiting: Annotated[int, typer.Option(min=0, max=1000, help="Conversions that may wait.")] = 16,
    max_upload: Annotated[int, typer.Option(min=1, max=4096, help="MiB that a request may have.")] = 64,
    max_minutes: Annotated[
        float, typer.Option(min=0.1, max=600, callback=finite, help="Minutes that a recording may have.")
    ] = 5.0,
    per_minute: Annotated[int, typer.Option(min=1, help="Conversions and new voices of a client in a minute.")] = 240,
    watermark: Annotated[bool, typer.Option("--watermark", help="Add an inaudible mark to every conversion.")] = False,
    stream_bundle: StreamBundleOption = None,
    streams: Annotated[int, typer.Option(min=0, max=64, help="WebSocket streams at once.")] = 8,
    quiet: Annotated[bool, typer.Option("--quiet", help="Log warnings only.")] = False,
    bundle: BundleOption = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of a conversion; default: the cores divided by the workers.")
    ] = None,
) -> None:
    """Answer HTTP requests in the shape of the ElevenLabs API, until Ctrl-C."""
    from ..converter import VoiceConverter
    from ..threads import default_threads

    try:
        from ..server.run import serve as run
        from ..server.settings import ServerSettings
    except ModuleNotFoundError as error:
        raise InputError(f"this command needs '{error.name}': run pip install \"fastvoicegrad[serve]\"") from error
    if voices is not None:
        _refuse_unusable(voices)
    settings = ServerSettings(
        host=host,
        port=port,
        api_key=api_key and api_key.strip(),  # a secret often ends in a line break
        voices=voices,
        stream_bundle=stream_bundle,
        most_streams=streams,
        workers=workers,
        waiting=waiting,
        most_bytes=max_upload << 20,
        most_seconds=60 * max_minutes,
        per_minute=per_minute,
        watermark=watermark,
    )

    def ready(number: int) -> None:
        name = f"[{host}]" if ":" in host else host
        console.print(f"Listening on http://{name}:{number}, documentation on http://{name}:{number}/docs")

    # Several conversions with one thread each do more than one with several: 1.6 times on two cores.
    threads = threads or max(1, default_threads() // workers)
    run(VoiceConverter.load(bundle, threads), settings, ready, "warning" if quiet else "info")


def _refuse_unusable(voices: Path) -> None:
    """Refuses at once what would only fail when the first voice is stored. A missing folder is made then."""
    try:
        is_folder = stat.S_ISDIR(os.stat(voices).st_mode)
    except FileNotFoundError:
        nearest = next(folder for folder in voices.absolute().parents if folder.exists())
        if nearest.is_dir():
            return
        raise InputError(f"--voices {voices} cannot be used ({nearest} is a file); name another folder") from None
    except OSError as error:
        raise InputError(f"--voices {voices} cannot be used ({error.strerror}); name another folder") from error
    if not is_folder:
        raise InputError(f"--voices {voices} is not a folder; name one, which is made where it is missing")
