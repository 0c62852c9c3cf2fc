"""Names of voices, and blends of them as text: ``anna(0.7)+ben(0.3)``."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable

from ..errors import InputError
from ..files import shown
from ..voice_file import LONGEST_DESCRIPTION

LONGEST_NAME = 60  # characters
BLEND = "'anna(0.7)+ben(0.3)'"
MOST_TERMS, LONGEST_BLEND = 16, 2000  # voices in a blend, characters of its text
RULE = f"a name has letters, digits, - and _, begins with a letter or digit, and has at most {LONGEST_NAME} characters"
# Windows gives these names to devices, whatever their suffix.
DEVICES = re.compile(r"con|prn|aux|nul|(com|lpt)\d")
TERM = re.compile(r"\s*(?P<name>[^\s()+]+)\s*(?:\(\s*(?P<weight>\d{1,9}(?:[.,]\d{0,9})?|[.,]\d{1,9})\s*\))?\s*")


def is_name(text: str) -> bool:
    """Whether a voice may have this name. Letters of all scripts count, with their marks."""
    kinds = [unicodedata.category(c)[0] for c in text]
    if not 1 <= len(text) <= LONGEST_NAME or kinds[0] not in "LN" or DEVICES.fullmatch(text.casefold()):
        return False
    return all(kind in "LMN" or c in "-_" for kind, c in zip(kinds, text, strict=True))


def checked_name(text: str) -> str:
    """A name in the form in which it is stored (NFC).

    Raises:
        InputError: no name.
    """
    name = unicodedata.normalize("NFC", text)
    if not is_name(name):
        raise InputError(f"'{shown(text)}' cannot be the name of a voice: {RULE}")
    return name


def key(name: str) -> str:
    """What two names have in common that differ only in case or in how accents are encoded."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def parse_blend(text: str) -> list[tuple[str, float]] | None:
    """Names and weights of a blend; a name alone is a blend of one, and a term without a weight has weight 1.

    None: the text is neither a name nor a blend.

    Raises:
        InputError: too many voices, or all weights are 0.
    """
    if len(text) > LONGEST_BLEND:
        return None
    if text.count("+") >= MOST_TERMS:
        raise InputError(f"a blend has at most {MOST_TERMS} voices")
    terms = [TERM.fullmatch(term) for term in text.split("+")]
    if not all(term and is_name(unicodedata.normalize("NFC", term["name"])) for term in terms):
        return None
    blend = [(term["name"], float((term["weight"] or "1").replace(",", "."))) for term in terms if term]
    if not any(weight for _, weight in blend):
        raise InputError(f"the weights in '{shown(text)}' are all 0; give one voice a weight above 0, as in {BLEND}")
    return blend


def nearest(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Known names that look like `name`, the nearest first."""
    spelled = {key(k): k for k in known}
    return [spelled[k] for k in difflib.get_close_matches(key(name), spelled, most)]


JOINERS = dict.fromkeys((0x200C, 0x200D))  # within words of some scripts, and within emoji


def one_line(description: str) -> str:
    """A description without line breaks.

    Raises:
        InputError: it is too long, or holds characters that control a terminal.
    """
    line = " ".join(description.split())
    if len(line) > LONGEST_DESCRIPTION or not line.translate(JOINERS).isprintable():
        raise InputError(f"a description is one line of at most {LONGEST_DESCRIPTION} characters")
    return line
