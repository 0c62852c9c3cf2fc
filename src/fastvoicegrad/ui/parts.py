"""Parts that the tabs share: inputs, results with their mels, lists of voices, and errors as sentences."""

from __future__ import annotations

import base64
import functools
import html
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from ..errors import InputError
from .pictures import MOST_SECONDS, mel_picture
from .studio import Choice

RECORDING = ""  # the entry of a list of voices that stands for a recording
MOST_SEMITONES, MOST_FORMANT = 12, 6
PAUSES = [("as converted", "converted"), ("silence", "silence"), ("the source itself", "source")]
PRIVATE = {"api_visibility": "private"}  # the page alone calls its functions
QUICK = {**PRIVATE, "queue": False, "show_progress": "hidden"}
WORK = {**PRIVATE, "concurrency_id": "work", "concurrency_limit": 1}
PROGRESS = gr.Progress()  # as a default value it makes Gradio show the share that is done


def friendly(action: Callable[..., Any]) -> Callable[..., Any]:
    """Turns errors into sentences on the page."""

    @functools.wraps(action)
    def wrapped(*arguments: Any, **more: Any) -> Any:
        try:
            return action(*arguments, **more)
        except InputError as error:
            raise gr.Error(html.escape(str(error)), title="Please check", print_exception=False) from error
        except MemoryError as error:
            raise gr.Error("There is too little memory; close other programs and try again.") from error
        except Exception as error:
            raise gr.Error(f"An unexpected {type(error).__name__} happened; please report it.") from error

    return wrapped


def listed(sentences: Iterable[str], kind: str = "notes") -> str:
    """HTML: a list of sentences; empty where there is none."""
    items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences)
    return f'<ul class="{kind}">{items}</ul>' if items else ""


def recording_input(label: str, visible: bool = True) -> gr.Audio:
    """Where a recording is dropped or made."""
    return gr.Audio(
        label=label,
        sources=["upload", "microphone"],
        type="filepath",
        editable=False,
        visible=visible,
        interactive=True,
        buttons=["download"],  # the others include one that uploads to a public site
    )


def sound_inputs() -> list[Any]:
    """Semitones, whether the source's pitch stays, semitones of the formants, and what stands in pauses."""
    semitones = gr.Slider(
        -MOST_SEMITONES, MOST_SEMITONES, 0, step=1, label="Pitch in semitones", info="0 is the target's own height"
    )
    keep = gr.Checkbox(label="Keep the height of the source's pitch")
    size = "higher sounds like a smaller, brighter speaker, lower like a larger one"
    formant = gr.Slider(-MOST_FORMANT, MOST_FORMANT, 0, step=0.5, label="Formants in semitones", info=size)
    pauses = gr.Radio(PAUSES, value=PAUSES[0][1], label="Pauses", info="what stands where the source has no speech")
    return [semitones, keep, formant, pauses]


# -- targets ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Picker:
    """Inputs for a target: a list of voices, and a recording for its last entry."""

    name: gr.Dropdown
    recording: gr.Audio

    @classmethod
    def made(cls, label: str, voices: list[tuple[str, str]], place: int = 0) -> Picker:
        """A new one.

        Args:
            voices: shown text and name of each.
            place: of the voice that is chosen at first; after the last one comes the recording.
        """
        choices = with_recording(voices)
        first = choices[min(place, len(voices))][1]
        name = gr.Dropdown(choices, value=first, label=label, filterable=False)
        recording = recording_input(f"{label}: a recording", visible=first == RECORDING)
        name.change(lambda chosen: gr.update(visible=chosen == RECORDING), name, recording, **QUICK)
        return cls(name, recording)

    @property
    def inputs(self) -> list[Any]:
        return [self.name, self.recording]


def with_recording(voices: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The entries of a list of voices."""
    return [*voices, ("A recording", RECORDING)]


def choice_of(name: str | None, recording: str | None) -> Choice:
    """What a picker's inputs choose."""
    return Choice(name) if name else Choice(recording=recording)


def choices_of(
    name_1: str | None, recording_1: str | None, name_2: str | None, recording_2: str | None
) -> tuple[Choice, Choice]:
    """What the inputs of two pickers choose."""
    return choice_of(name_1, recording_1), choice_of(name_2, recording_2)


# -- results ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Player:
    """A recording with its mel above it. It appears when it is filled."""

    title: str
    mel: gr.HTML
    audio: gr.Audio

    @classmethod
    def made(cls, title: str) -> Player:
        """A new one."""
        with gr.Column(elem_classes="result"):
            mel = gr.HTML(visible=False, padding=False)
            audio = gr.Audio(
                label=title,
                show_label=False,
                interactive=False,
                visible=False,
                buttons=["download"],
                waveform_options=gr.WaveformOptions(show_recording_waveform=False),
            )
        return cls(title, mel, audio)

    @property
    def outputs(self) -> list[Any]:
        return [self.mel, self.audio]

    def filled(self, path: str | Path) -> list[Any]:
        """Values for the outputs."""
        return [gr.update(value=figure(path, self.title), visible=True), gr.update(value=str(path), visible=True)]


def figure(path: str | Path, title: str) -> str:
    """HTML: the mel of a recording with its title."""
    picture = base64.b64encode(mel_picture(path)).decode()
    alt = f"Mel spectrogram, {MOST_SECONDS:g} seconds at most: {title}"
    return f'<figure><figcaption>{title}</figcaption><img alt="{alt}" src="data:image/png;base64,{picture}"></figure>'
