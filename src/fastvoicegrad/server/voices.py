"""Routes for voices: list, add, edit, delete, preview. A voice's id is its name in the library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, File, Form, Path, Query, Request, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from ..errors import InputError
from ..library import NameTakenError, UnknownVoiceError, VoiceEntry
from ..library.names import LONGEST_NAME, checked_name, is_name, key, parse_blend
from ..voice import Voice, pool
from . import schemas
from .errors import ApiError, answers, encodable
from .forms import LimitedRoute
from .log import log
from .service import Service, service_of, waiting_for
from .uploads import Upload, reason_for_clients, voice_not_found
from .work import make_preview, make_voice, preview_maker

router = APIRouter(tags=["voices"], route_class=LimitedRoute)
T = TypeVar("T")

MOST_REFERENCES = 25
LONGEST_TEXT = 500  # characters of a description
LONGEST_ID = 1000  # characters; a blend has up to 16 names
PAGE, MOST_PAGE = 10, 100
EXAMPLE_NAME = "anna"

VoiceId = Annotated[str, Path(max_length=LONGEST_ID, description="Name of a voice.", examples=[EXAMPLE_NAME])]
Name = Annotated[
    str, Form(min_length=1, max_length=200, description="Characters that no name has become -.", examples=["Anna"])
]
Description = Annotated[str, Form(max_length=LONGEST_TEXT, description="One line.", examples=["warm, calm"])]
Labels = Annotated[str, Form(max_length=4000, description="A JSON object. It is read, but not kept.")]
References = Annotated[list[UploadFile], File(description="Recordings of the voice, 3 s or more in all.")]
NoNoise = Annotated[bool, Form(description="Without effect: no noise is removed from references.")]


# -- reading --------------------------------------------------------------------------------------------------


@router.get("/v1/voices", responses=answers(), summary="List all voices")
async def list_voices(request: Request) -> schemas.Voices:
    """All voices, presets first."""
    return schemas.Voices(voices=await _voices(request))


@router.get("/v1/audio/voices", responses=answers(), summary="List the names of all voices")
async def list_names(request: Request) -> schemas.Names:
    """Names alone, as several local speech servers list them."""
    return schemas.Names(voices=await run_in_threadpool(service_of(request).library.names))


@router.get("/v2/voices", responses=answers(422), summary="Search voices, page by page")
async def search_voices(
    request: Request,
    search: Annotated[str, Query(max_length=200, description="Part of a name or a description.")] = "",
    page_size: Annotated[int, Query(ge=1, le=MOST_PAGE)] = PAGE,
    next_page_token: Annotated[str, Query(max_length=LONGEST_ID, description="From the page before.")] = "",
    sort_direction: Annotated[schemas.Direction, Query()] = schemas.Direction.asc,
    voice_type: Annotated[schemas.VoiceType | None, Query(description="Which kinds of voices.")] = None,
    category: Annotated[schemas.Category | None, Query()] = None,
    voice_ids: Annotated[list[str] | None, Query(max_length=100, description="These voices only.")] = None,
) -> schemas.VoicePage:
    """Voices by name, in alphabetical order."""
    wanted = search.casefold()
    ids = None if voice_ids is None else {key(voice) for voice in voice_ids}
    kind = category or (voice_type.category if voice_type else None)
    found = [
        voice
        for voice in await _voices(request)
        if (wanted in voice.name.casefold() or wanted in voice.description.casefold())
        and (kind is None or voice.category == kind)
        and (ids is None or key(voice.name) in ids)
    ]
    found.sort(key=lambda voice: key(voice.name), reverse=sort_direction == "desc")
    start = _start(found, next_page_token, sort_direction == "desc")
    page, more = found[start : start + page_size], start + page_size < len(found)
    token = page[-1].name if more else None
    return schemas.VoicePage(voices=page, has_more=more, total_count=len(found), next_page_token=token)


@router.get("/v1/voices/{voice_id}", responses=answers(404, 422), summary="Show a voice")
async def show_voice(request: Request, voice_id: VoiceId) -> schemas.Voice:
    """One voice."""
    return _shown(request, await _library(service_of(request).library.entry, voice_id))


@router.get(
    "/v1/voices/{voice_id}/preview",
    response_class=FileResponse,
    responses={
        200: {"content": {name: {"schema": schemas.BINARY} for name in ("audio/wav", "audio/ogg")}},
        **answers(400, 404, 422, 429),
    },
    summary="Play a sample in a voice",
)
async def preview(request: Request, voice_id: VoiceId) -> FileResponse:
    """A sample sentence in this voice; made at the first request."""
    service = service_of(request)
    entry = await _library(service.library.entry, voice_id)
    if entry.preview is not None:
        return FileResponse(entry.preview, media_type="audio/ogg")
    maker = preview_maker(service)
    path = await _library(partial(service.library.preview_path, maker=maker), entry.name)
    if not path.is_file():
        voice = await load(service, entry.name)
        job = service.queue.submit(partial(make_preview, service, voice, path))
        try:
            await waiting_for(job, request, output=False)
        finally:
            job.close()
        if await _library(partial(service.library.preview_path, maker=maker), entry.name) != path:  # it has changed
            await run_in_threadpool(partial(path.unlink, missing_ok=True))
            return await preview(request, voice_id)
    return FileResponse(path, media_type="audio/wav")


# -- changing -------------------------------------------------------------------------------------------------


@router.post("/v1/voices/add", responses=answers(400, 408, 413, 422, 429), summary="Add a voice from recordings")
async def add_voice(
    request: Request,
    name: Name,
    files: References,
    description: Description = "",
    labels: Labels = "",
    remove_background_noise: NoNoise = False,
) -> schemas.AddedVoice:
    """Makes a voice of one or more recordings and keeps it."""
    service = service_of(request)
    check_labels(labels)
    free = _library_name(name)
    if len(service.library.names()) >= service.settings.most_voices:
        raise ApiError(400, "the library is full; delete a voice first", "voice_limit_reached")
    voice, notes = await _made(request, files)
    kept = await run_in_threadpool(_add, service, free, voice, _line(description))
    return schemas.AddedVoice(voice_id=kept, requires_verification=False, warnings=notes)


@router.post(
    "/v1/voices/{voice_id}/edit",
    responses=answers(400, 404, 408, 409, 413, 422, 429),
    summary="Rename a voice, describe it, or add recordings",
)
async def edit_voice(
    request: Request,
    voice_id: VoiceId,
    name: Name,
    files: References = [],  # noqa: B006
    description: Description = "",
    labels: Labels = "",
    remove_background_noise: NoNoise = False,
) -> schemas.Edited:
    """A voice's id is its name, so a new name is a new id. An empty description leaves the old one."""
    service = service_of(request)
    check_labels(labels)
    entry = await _library(service.library.entry, voice_id)
    new = _library_name(name)
    if entry.preset:
        raise ApiError(403, f"'{entry.name}' is a preset voice, which cannot be changed", "voice_is_preset")
    if key(new) != key(entry.name):
        await _library(service.library.check_free, new)
    more, notes = await _made(request, files) if files else (None, [])
    if more and entry.recordings:
        notes.append("the new recordings are not kept: another bundle will make the voice of the older ones alone")
    await _library(lambda name: _edit(service, entry, more, _line(description)), entry.name)
    if new != entry.name:
        await _library(partial(service.library.rename, entry.name), new)
    return schemas.Edited(status="ok", voice_id=new, warnings=notes)


@router.delete("/v1/voices/{voice_id}", responses=answers(404, 422), summary="Delete a voice")
async def delete_voice(request: Request, voice_id: VoiceId) -> schemas.Status:
    """Deletes a voice. Presets stay."""
    service = service_of(request)

    def remove(name: str) -> None:  # it reads no file, so a damaged voice can be deleted
        try:
            service.library.remove(name)
        except NameTakenError as error:
            raise ApiError(403, f"'{name}' is a preset voice, which cannot be deleted", "voice_is_preset") from error

    await _library(remove, voice_id)
    return schemas.Status(status="ok")


# -- the library ----------------------------------------------------------------------------------------------


async def load(service: Service, text: str) -> Voice:
    """The voice of a name or a blend. The text is never a path.

    Raises:
        ApiError: 404, no such voice; 400, it does not fit the bundle.
    """
    try:
        parse_blend(text)
    except InputError as error:  # too many voices
        raise ApiError(400, str(error), "voice_not_usable") from error
    return await _library(partial(service.library.voice, service.converter), text)


async def _library(call: Callable[[str], T], text: str) -> T:
    """What the library answers about a voice, in a thread. A message that names files goes to the log."""
    try:
        return await run_in_threadpool(call, text)
    except UnknownVoiceError as error:
        raise voice_not_found(error) from error
    except NameTakenError as error:
        raise ApiError(409, f"the name '{text}' is taken; choose another one") from error
    except InputError as error:
        log.warning("the library: %s", error)
        reason = reason_for_clients(error) or "the server's log has the reason"
        raise ApiError(400, f"the voice '{text}' cannot be used; {reason}", "voice_not_usable") from error


async def _made(request: Request, files: list[UploadFile]) -> tuple[Voice, list[str]]:
    """A voice of uploaded recordings, and what was found about them."""
    if len(files) > MOST_REFERENCES:
        raise ApiError(400, f"a voice has at most {MOST_REFERENCES} recordings", "too_many_files")
    service = service_of(request)
    job = service.queue.submit(partial(make_voice, service, [Upload.of(file) for file in files]))
    try:
        return await waiting_for(job, request, output=False), [encodable(note) for note in job.notes]
    finally:
        job.close()


def _add(service: Service, name: str, voice: Voice, description: str) -> str:
    """Keep a voice under a name, or under the name and the first free number. Gives the name."""
    for number in range(1, service.settings.most_voices + 2):
        numbered = name if number == 1 else f"{name[: LONGEST_NAME - 5]}-{number}"
        try:
            service.library.add(numbered, voice, description=description)
        except NameTakenError:
            continue
        except InputError as error:
            log.error("the library: %s", error)
            raise ApiError(500, "the voice cannot be stored; the server's log has the reason") from error
        return numbered
    raise ApiError(409, f"too many voices are named '{name}'; choose another name")


def _edit(service: Service, entry: VoiceEntry, more: Voice | None, description: str) -> None:
    """Store a voice with another description, or with more references. The latter are not kept as recordings."""

    def changed(old: Voice) -> Voice:
        return replace(pool([old, more]) if more else old, description=description or old.description)

    if more or description:
        service.library.change(entry.name, changed)


# -- texts ----------------------------------------------------------------------------------------------------


def _library_name(name: str) -> str:
    """A name that the library takes: other characters become ``-``.

    Raises:
        ApiError: 422, nothing is left.
    """
    kept = "".join(c if c in "-_" or is_name(f"a{c}") else " " for c in name)
    cut = "-".join(kept.split()).strip("-_")[:LONGEST_NAME].strip("-_")
    try:
        return checked_name(cut)
    except InputError as error:
        raise ApiError(422, f"name: {error}") from error


def _line(text: str) -> str:
    """A description on one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in encodable(text)).split())


def check_labels(labels: str) -> None:
    """Raises ApiError (422) where labels are no JSON object of texts."""
    try:
        msgspec.json.decode(labels or "{}", type=dict[str, Any] | None)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ApiError(422, "labels: give a JSON object, such as {}") from error


def _shown(request: Request, entry: VoiceEntry) -> schemas.Voice:
    return schemas.Voice(
        voice_id=entry.name,
        name=entry.name,
        category=schemas.Category.premade if entry.preset else schemas.Category.cloned,
        description=entry.description,
        preview_url=f"{_base(request)}v1/voices/{quote(entry.name)}/preview",
        samples=[schemas.Sample(sample_id=str(n), file_name=name) for n, name in enumerate(entry.sources)],
    )


def _base(request: Request) -> str:
    """This server's address as the client reaches it: a proxy before it may use TLS."""
    secure = request.headers.get("x-forwarded-proto", "").split(",")[0].strip() == "https"
    return str(request.base_url.replace(scheme="https") if secure else request.base_url)


def _start(found: list[schemas.Voice], token: str, falling: bool) -> int:
    """Place of the first voice after a token, which names the last one before; that one may be gone."""
    last = key(token)
    behind = (place for place, v in enumerate(found) if (key(v.name) < last if falling else key(v.name) > last))
    return next(behind, len(found)) if token else 0


async def _voices(request: Request) -> list[schemas.Voice]:
    """All voices of the library but damaged ones."""
    return await run_in_threadpool(_all_voices, request)


def _all_voices(request: Request) -> list[schemas.Voice]:
    library, found = service_of(request).library, []
    for name in library.names():
        try:
            found.append(_shown(request, library.entry(name)))
        except InputError as error:  # damaged, or deleted meanwhile
            log.warning("the library: %s", error)
    return found
