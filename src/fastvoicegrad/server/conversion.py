"""Routes that convert: the ElevenLabs shape under two names, and one route that needs no stored voice."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, File, Form, Query, Request, UploadFile
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from ..audio import check_channel
from ..errors import InputError
from ..formants import MOST_FORMANT
from ..settings import MOST_SEMITONES, ConversionSettings
from ..voice import Voice
from . import schemas
from .errors import ApiError, answers
from .formats import MEDIA_TYPES, AnyFormat, Format, OutputFormat
from .forms import LimitedRoute
from .jobs import Job
from .service import MODEL, Service, service_of, waiting_for
from .uploads import Upload
from .voices import VoiceId, load
from .work import Conversion, convert, make_voice

router = APIRouter(tags=["conversion"], route_class=LimitedRoute)

MOST_SEED = 2**32 - 1
WARNINGS = "x-warnings"  # header with findings about the recording

Source = Annotated[UploadFile, File(description="The recording to convert: any sound file.")]
Pause = Literal["converted", "silence", "source"]


async def sound(
    seed: Annotated[
        int, Form(ge=0, le=MOST_SEED, description="Of the initial noise: equal seeds give equal results.")
    ] = 0,
    semitones: Annotated[
        float,
        Form(
            ge=-MOST_SEMITONES,
            le=MOST_SEMITONES,
            allow_inf_nan=False,
            description="Moves the pitch away from the target's.",
        ),
    ] = 0.0,
    keep_pitch: Annotated[bool, Form(description="Keeps the height of the recording's pitch.")] = False,
    formant: Annotated[
        float,
        Form(
            ge=-MOST_FORMANT,
            le=MOST_FORMANT,
            allow_inf_nan=False,
            description="Semitones: higher sounds like a smaller, brighter speaker, lower like a larger one.",
        ),
    ] = 0.0,
    pauses: Annotated[Pause, Form(description="What stands where the recording has no speech.")] = "converted",
) -> ConversionSettings:
    """The fields of a conversion that change its sound."""
    return ConversionSettings(seed=seed, semitones=semitones, keep_pitch=keep_pitch, formant=formant, pauses=pauses)


def channel(
    channel: Annotated[
        str,
        Form(
            max_length=10,
            description="Of the recording: left, right, mix or a number; each converts all, side by side. "
            "Empty: those with sound.",
            examples=["each"],
        ),
    ] = "",
) -> str | None:
    """Which channel of the recording is converted.

    Raises:
        ApiError: 422, no recording has such a channel.
    """
    name = channel.strip().lower()
    if not name:
        return None
    try:
        check_channel(name)
    except InputError as error:
        raise ApiError(422, f"channel: {error}") from error
    return name


Sound = Annotated[ConversionSettings, Depends(sound)]
Channel = Annotated[str | None, Depends(channel)]
AUDIO: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The converted recording, in chunks.",
        "content": {name: {"schema": schemas.BINARY} for name in sorted(set(MEDIA_TYPES.values()))},
        "headers": {WARNINGS: {"description": "Findings about the recording.", "schema": {"type": "string"}}},
    },
    **answers(400, 404, 408, 413, 422, 429),
}


async def speech_to_speech(
    request: Request,
    voice_id: VoiceId,
    audio: Source,
    settings: Sound,
    channel: Channel,
    output_format: Annotated[
        OutputFormat, Query(description="Codec, rate in Hz and bitrate in kbit/s.", examples=["mp3_44100_128"])
    ] = OutputFormat("mp3_44100_128"),
    enable_logging: Annotated[bool, Query(description="Without effect: recordings are never kept.")] = True,
    optimize_streaming_latency: Annotated[int, Query(ge=0, le=4, description="Without effect.")] = 0,
    model_id: Annotated[str, Form(max_length=200, description="Ours, or any of ElevenLabs'.")] = MODEL,
    voice_settings: Annotated[str, Form(max_length=4000, description="A JSON object, without effect.")] = "",
    remove_background_noise: Annotated[bool, Form(description="Without effect.")] = False,
    file_format: Annotated[
        Literal["pcm_s16le_16", "other"], Form(description="The first: samples alone, 16 kHz, mono, 16 bit.")
    ] = "other",
) -> Response:
    """Converts a recording to a stored voice. The answer begins while the conversion goes on.

    A blend takes the place of the voice's id too, such as `anna(0.7)+ben(0.3)`. The same routes exist under
    `/v1/voice-changer`.
    """
    service = service_of(request)
    if model_id != MODEL and not model_id.startswith("eleven_"):
        raise ApiError(400, f"there is no such model; leave model_id out, or send {MODEL}", "model_not_found")
    check_settings(voice_settings)
    form = Format.of(output_format.value)
    form.check()
    voice = await load(service, voice_id)
    source = Upload.of(audio, pcm=file_format == "pcm_s16le_16")
    return await answer(request, service, Conversion(source, voice, form, settings, channel))


for name in ("speech-to-speech", "voice-changer"):  # SDKs up to 2026 use the first name, newer ones the second
    for suffix in ("", "/stream"):
        router.add_api_route(
            f"/v1/{name}/{{voice_id}}{suffix}",
            speech_to_speech,
            methods=["POST"],
            response_class=StreamingResponse,
            responses=AUDIO,
            summary="Convert a recording to a stored voice",
            operation_id=f"{name}{suffix}".replace("-", "_").replace("/", "_"),
            include_in_schema=name == "speech-to-speech",
        )


@router.post(
    "/v1/audio/voice-conversion",
    response_class=StreamingResponse,
    responses=AUDIO,
    summary="Convert a recording to a voice or to another recording's voice",
)
async def voice_conversion(
    request: Request,
    source_audio: Source,
    settings: Sound,
    channel: Channel,
    target_voice: Annotated[UploadFile | str, File(description="Id of a voice, a blend, or a recording.")],
    response_format: Annotated[
        AnyFormat, Form(description="wav, mp3, opus, pcm, or a format with rate and bitrate.", examples=["wav"])
    ] = AnyFormat("wav"),
    model: Annotated[str, Form(max_length=200, description="Without effect.")] = MODEL,
) -> Response:
    """Converts a recording. The target may be a recording itself; then no voice is stored."""
    service = service_of(request)
    form = Format.of(response_format.value)
    form.check()
    notes = list[str]()
    if isinstance(target_voice, str):
        voice = await load(service, target_voice)
    else:
        voice, notes = await _voice_of(request, service, Upload.of(target_voice))
    return await answer(request, service, Conversion(Upload.of(source_audio), voice, form, settings, channel), notes)


async def _voice_of(request: Request, service: Service, reference: Upload) -> tuple[Voice, list[str]]:
    """A voice of one recording, and what was found about it."""
    job = service.queue.submit(partial(make_voice, service, [reference]))
    try:
        return await waiting_for(job, request, output=False), job.notes
    finally:
        job.close()


class JobResponse(StreamingResponse):
    """A job's output. The job ends with the answer, whatever ends that."""

    def __init__(self, job: Job, **more: Any) -> None:
        super().__init__(job.output(), **more)
        self.job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.job.close()


async def answer(request: Request, service: Service, wanted: Conversion, notes: Sequence[str] = ()) -> Response:
    """Starts a conversion, waits for its first bytes, and streams them and the rest.

    Args:
        notes: what was found about the target.
    Raises:
        ApiError: it cannot be done, or no place is free.
    """
    job = service.queue.submit(partial(convert, service, wanted))
    try:
        await waiting_for(job, request, output=True)
    except BaseException:
        job.close()
        raise
    found = [*notes, *job.notes]
    headers = {WARNINGS: _header(found)} if found else {}
    return JobResponse(job, media_type=wanted.form.media_type, headers=headers)


def _header(notes: list[str]) -> str:
    """Sentences as one header: ASCII, one line."""
    return " | ".join(notes).encode("ascii", "backslashreplace").decode().replace("\n", " ")


def check_settings(text: str) -> None:
    """Raises ApiError (422) where voice settings are no JSON object."""
    try:
        msgspec.json.decode(text or "{}", type=dict[str, Any] | None)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ApiError(422, "voice_settings: give a JSON object, such as {}") from error
