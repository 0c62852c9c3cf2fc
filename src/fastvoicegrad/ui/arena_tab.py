"""The tab of the arena."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gradio as gr

from ..errors import InputError
from .arena import EQUAL, FIRST, SECOND, Arena, Pair, Round, Side
from .parts import PROGRESS, QUICK, WORK, Picker, Player, choices_of, friendly, listed, recording_input

VOTES = {FIRST: "1 is better", EQUAL: "No difference", SECOND: "2 is better"}


def arena_tab(arena: Arena, picker: Callable[[str, int], Picker]) -> gr.HTML:
    """Fills the tab, and gives the part that shows the votes.

    Args:
        picker: makes inputs for a target, by a label and the place of the voice that is chosen at first.
    """
    bundles = list(arena.studio.converters)
    gr.Markdown("Two voices or bundles convert one recording. You vote before you know which is which.")
    source, sides, chosen, players = recording_input("Source"), list[Any](), list[Any](), list[Player]()
    with gr.Row():
        for place, letter in enumerate("AB"):
            with gr.Column():
                sides += picker(f"Voice {letter}", place).inputs
                bundle = bundles[min(place, len(bundles) - 1)]
                chosen.append(gr.Dropdown(bundles, value=bundle, label=f"Bundle {letter}", visible=len(bundles) > 1))
    button = gr.Button("Play blind", variant="primary")
    with gr.Row():
        for number in (1, 2):
            with gr.Column():
                players.append(Player.made(f"Number {number}"))
    with gr.Row():
        votes = {kind: gr.Button(text, interactive=False) for kind, text in VOTES.items()}
    verdict, played = gr.HTML(), gr.State()

    @friendly
    def play(
        source: str | None,
        bundle_1: str,
        bundle_2: str,
        name_1: str,
        recording_1: str | None,
        name_2: str,
        recording_2: str | None,
        progress: Any = PROGRESS,
    ) -> list[Any]:
        one, other = choices_of(name_1, recording_1, name_2, recording_2)
        pair = Side(one, bundle_1), Side(other, bundle_2)
        made = arena.play(source, pair, partial(progress, desc="Converting"))
        filled = [player.filled(path) for player, path in zip(players, made.paths, strict=True)]
        return [*filled[0], *filled[1], *_buttons(True), listed(made.notes), made]

    @friendly
    def vote(kind: str, made: Round) -> list[Any]:
        arena.vote(made, kind)
        revealed = f"Number 1 was {made.labels[0]}. Number 2 was {made.labels[1]}."
        return [*_buttons(False), listed([revealed], "done") + counts(arena)]

    outputs = [*players[0].outputs, *players[1].outputs, *votes.values(), verdict, played]
    # A vote during the next conversion would count for the next round.
    waiting = button.click(lambda: _buttons(False), None, [*votes.values()], **QUICK)
    playing = waiting.then(play, [source, *chosen, *sides], outputs, scroll_to_output=True, **WORK)
    playing.failure(lambda made: _buttons(made is not None), played, [*votes.values()], **QUICK)
    for kind, choice in votes.items():
        choice.click(partial(vote, kind), played, [*votes.values(), verdict], **WORK)
    return verdict


def _buttons(active: bool) -> list[Any]:
    """Whether one can vote."""
    return [gr.update(interactive=active)] * len(VOTES)


def counts(arena: Arena) -> str:
    """HTML: the votes so far, or why they cannot be read."""
    try:
        return listed(map(_counted, arena.votes.pairs()), "votes")
    except InputError as error:
        return listed([str(error)], "errors")


def _counted(pair: Pair) -> str:
    return f"Votes: {pair.one} {pair.one_better}, {pair.other} {pair.other_better}, no difference {pair.equal}."
