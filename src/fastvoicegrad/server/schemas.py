"""What the server sends as JSON, in the names of the ElevenLabs API."""

from __future__ import annotations

from enum import Enum
from typing import Any

from pydantic import BaseModel, Field

BINARY = {"type": "string", "format": "binary"}


class Category(str, Enum):
    """Where a voice comes from."""

    premade = "premade"
    cloned = "cloned"


class VoiceType(str, Enum):
    """Kinds of voices in a search."""

    default = "default"
    non_default = "non-default"
    personal = "personal"
    community = "community"
    workspace = "workspace"
    saved = "saved"

    @property
    def category(self) -> Category | None:
        """The category of these voices; None: all."""
        kinds = {"default": Category.premade, "non-default": Category.cloned, "personal": Category.cloned}
        return kinds.get(self.value)


class Direction(str, Enum):
    """Of the alphabet."""

    asc = "asc"
    desc = "desc"


class Sample(BaseModel):
    """A recording of which a voice was made. It is not kept."""

    sample_id: str
    file_name: str


class Voice(BaseModel):
    """A voice of the library."""

    voice_id: str = Field(examples=["anna"])
    name: str = Field(examples=["anna"])
    category: Category
    labels: dict[str, str] = {}
    description: str = Field("", examples=["warm, calm"])
    preview_url: str = Field(examples=["http://127.0.0.1:8000/v1/voices/anna/preview"])
    settings: dict[str, Any] = {}
    samples: list[Sample] = []


class Voices(BaseModel):
    """All voices."""

    voices: list[Voice]


class VoicePage(Voices):
    """Some of the voices that were found."""

    has_more: bool
    total_count: int
    next_page_token: str | None = Field(description="For the next page; null on the last.")


class Names(BaseModel):
    """All names of voices."""

    voices: list[str] = Field(examples=[["anna", "ben"]])


class Status(BaseModel):
    """A change was made."""

    status: str = Field(examples=["ok"])


class AddedVoice(BaseModel):
    """A new voice."""

    voice_id: str = Field(examples=["anna"])
    requires_verification: bool = False
    warnings: list[str] = Field([], description="Findings about the recordings, a sentence each.")


class Edited(Status):
    """A changed voice and its id from now on."""

    voice_id: str = Field(examples=["anna"])
    warnings: list[str] = []


class Model(BaseModel):
    """The bundle that converts."""

    model_id: str = Field(examples=["fastvoicegrad"])
    name: str
    description: str
    can_do_voice_conversion: bool = True
    can_do_text_to_speech: bool = False
    can_be_finetuned: bool = False
    can_use_style: bool = False
    can_use_speaker_boost: bool = False
    serves_pro_voices: bool = False
    languages: list[dict[str, str]] = []


class Health(BaseModel):
    """The server is alive."""

    status: str = Field(examples=["ok"])
    version: str
    running: int = Field(description="Conversions that run.")
    waiting: int = Field(description="Jobs that wait for a worker.")
    places: int = Field(description="Jobs that may run or wait.")
