"""The layout: a tab for each task, with its inputs, its button and its results."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from ..demo import SAMPLES
from .arena import Arena
from .arena_tab import arena_tab, counts
from .parts import (
    PROGRESS,
    QUICK,
    RECORDING,
    WORK,
    Picker,
    Player,
    choice_of,
    choices_of,
    friendly,
    listed,
    recording_input,
    sound_inputs,
    with_recording,
)
from .studio import Studio

TITLE = "FastVoiceGrad"
INTRODUCTION = f"""# {TITLE}
Same words, same timing, another voice. Recordings stay on the computer that runs this page.
Ask people for consent before you convert to their voices."""
EXAMPLE = str(SAMPLES / "source.opus"), RECORDING, str(SAMPLES / "reference.opus")
THEME = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
HOUR = 3600  # seconds; uploads and results are deleted after a day
STYLE = Path(__file__).with_name("page.css")


class Page:
    """The page of a studio and an arena; `blocks` can be launched."""

    def __init__(self, studio: Studio, arena: Arena) -> None:
        self.studio = studio
        self._pickers = list[Picker]()
        with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(HOUR, 24 * HOUR)) as self.blocks:
            gr.Markdown(INTRODUCTION)
            with gr.Tab("Convert"):
                self._convert_tab()
            with gr.Tab("Blend"):
                saved = self._blend_tab()
            with gr.Tab("Files"):
                self._files_tab()
            with gr.Tab("Arena"):
                votes = arena_tab(arena, self._picker)
            lists = [picker.name for picker in self._pickers]
            self.blocks.load(lambda: [*self._fresh_lists(), counts(arena)], None, [*lists, votes], **QUICK)
            saved.success(self._fresh_lists, None, lists, **QUICK)
        self.blocks.queue(max_size=16, api_open=False)

    def _picker(self, label: str, place: int = 0) -> Picker:
        self._pickers.append(Picker.made(label, self.studio.choices(), place))
        return self._pickers[-1]

    def _fresh_lists(self) -> list[Any]:
        """The lists of voices as they are now."""
        choices = with_recording(self.studio.choices())
        return [gr.update(choices=choices) for _ in self._pickers]

    # -- Convert --------------------------------------------------------------------------------------------

    def _convert_tab(self) -> None:
        with gr.Row():
            with gr.Column():
                source, target = recording_input("Source"), self._picker("Target voice")
                settings = sound_inputs()
                button, example = gr.Button("Convert", variant="primary"), gr.Button("Try an example")
            with gr.Column():
                players = [Player.made(title) for title in ("Source", "Target", "Result")]
                notes = gr.HTML()

        @friendly
        def sample(name: str) -> list[Any]:
            return players[1].filled(self.studio.sample(name).path) if name else [gr.update(visible=False)] * 2

        @friendly
        def convert(
            source: str | None,
            name: str,
            recording: str | None,
            semitones: float,
            keep: bool,
            formant: float,
            pauses: str,
            progress: Any = PROGRESS,
        ) -> list[Any]:
            choice, done = choice_of(name, recording), partial(progress, desc="Converting")
            sound = self.studio.convert(source, choice, semitones, keep, formant, pauses, done)
            voice = choice.recording or self.studio.sample(choice.name).path
            paths = (str(source), voice, sound.path)
            filled = [player.filled(path) for player, path in zip(players, paths, strict=True)]
            return [value for pair in filled for value in pair] + [listed(sound.notes)]

        inputs = [source, *target.inputs]
        outputs = [part for player in players for part in player.outputs] + [notes]
        target.name.input(sample, target.name, players[1].outputs, **WORK)
        button.click(convert, [*inputs, *settings], outputs, scroll_to_output=True, **WORK)
        filled = example.click(lambda: EXAMPLE, None, inputs, **QUICK)
        filled.then(convert, [*inputs, *settings], outputs, scroll_to_output=True, **WORK)

    # -- Blend ----------------------------------------------------------------------------------------------

    def _blend_tab(self) -> Any:
        """Gives the event of a voice that was saved."""
        with gr.Row():
            with gr.Column():
                one, other = self._picker("First voice"), self._picker("Second voice", 1)
                share = gr.Slider(0, 100, 50, step=5, label="Share of the second voice in percent")
                button = gr.Button("Blend", variant="primary")
            with gr.Column():
                player = Player.made("A sample sentence in the blended voice")
                name = gr.Textbox(label="Name of the new voice", placeholder="anna", max_lines=1)
                save, report = gr.Button("Save in the library"), gr.HTML()

        @friendly
        def blend(percent: float, *sides: Any) -> list[Any]:
            sound = self.studio.blend(*choices_of(*sides), percent / 100)
            return [*player.filled(sound.path), listed(sound.notes)]

        @friendly
        def keep(name: str, percent: float, *sides: Any) -> str:
            self.studio.save_blend(name, *choices_of(*sides), percent / 100)
            return listed([f"The voice {name.strip()} is in your library."], "done")

        inputs = [share, *one.inputs, *other.inputs]
        button.click(blend, inputs, [*player.outputs, report], scroll_to_output=True, **WORK)
        return save.click(keep, [name, *inputs], report, **WORK)

    # -- Files ----------------------------------------------------------------------------------------------

    def _files_tab(self) -> None:
        with gr.Row():
            with gr.Column():
                sources = gr.File(label="Sources: recordings or videos", file_count="multiple", height=200)
                target, settings = self._picker("Target voice"), sound_inputs()
                button = gr.Button("Convert all", variant="primary")
            with gr.Column():
                archive, report = gr.File(label="Results", interactive=False, visible=False), gr.HTML()

        @friendly
        def convert(
            paths: list[str] | None,
            name: str,
            recording: str | None,
            semitones: float,
            keep: bool,
            formant: float,
            pauses: str,
            progress: Any = PROGRESS,
        ) -> list[Any]:
            done = partial(progress, desc="Converting")
            results = self.studio.convert_files(
                paths, choice_of(name, recording), semitones, keep, formant, pauses, done
            )
            summary = listed([f"{results.converted} converted, {len(results.errors)} failed."], "done")
            file = gr.update(value=results.archive and str(results.archive), visible=results.archive is not None)
            return [file, summary + listed(results.errors, "errors") + listed(results.notes)]

        button.click(convert, [sources, *target.inputs, *settings], [archive, report], scroll_to_output=True, **WORK)
