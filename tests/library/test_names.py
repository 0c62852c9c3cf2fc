from __future__ import annotations

import time
import unicodedata

import pytest

from fastvoicegrad import InputError
from fastvoicegrad.library.names import LONGEST_NAME, checked_name, is_name, key, nearest, parse_blend


@pytest.mark.parametrize("name", ["anna", "Anna-2", "a_b", "7", "Zoë", "अनीता", "李雷", "Ёлка", "x" * LONGEST_NAME])
def test_names(name: str) -> None:
    assert is_name(name)
    assert checked_name(name) == unicodedata.normalize("NFC", name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "a b",
        "-o",
        "_a",
        ".",
        "..",
        "a.voice",
        "a/b",
        "a\\b",
        "a\x00",
        "a\n",
        "\udcff",
        "\u202ea",
        "a" * 61,
        "con",
        "Lpt1",
        "\u0301a",
    ],
)
def test_texts_that_are_no_names(text: str) -> None:
    assert not is_name(text)
    with pytest.raises(InputError, match=r"^'[^\n]*' cannot be the name of a voice: a name has letters"):
        checked_name(text)


def test_names_are_compared_without_case_and_encoding() -> None:
    assert key("ZOË") == key("zoë") == key("zoe\u0308")
    assert key("anna") != key("anne")
    assert checked_name("zoe\u0308") == "zoë"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("anna", [("anna", 1)]),
        ("anna(0.7)+ben(0.3)", [("anna", 0.7), ("ben", 0.3)]),
        ("anna(2)+ben", [("anna", 2), ("ben", 1)]),
        (" anna ( .5 ) + ben(1.) ", [("anna", 0.5), ("ben", 1)]),
        ("Zoë+李雷+x-1", [("Zoë", 1), ("李雷", 1), ("x-1", 1)]),
        ("anna(0)+ben(2)", [("anna", 0), ("ben", 2)]),
        ("anna(0,7)+ben(,3)", [("anna", 0.7), ("ben", 0.3)]),
    ],
)
def test_blends(text: str, expected: list[tuple[str, float]]) -> None:
    assert parse_blend(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+",
        "anna+",
        "anna(-1)",
        "anna(1e3)",
        "anna(nan)",
        "anna(0.7",
        "anna 0.7",
        "a/b(1)+c",
        "a.wav",
        "(1)",
        "a(1)(2)",
        "a" * 3000,
    ],
)
def test_texts_that_are_no_blends(text: str) -> None:
    assert parse_blend(text) is None


def test_a_blend_has_a_limit() -> None:
    assert len(parse_blend("+".join(["a"] * 16)) or []) == 16
    with pytest.raises(InputError, match="at most 16"):
        parse_blend("+".join(["a"] * 17))


@pytest.mark.parametrize("text", ["anna(0)+ben(0)", "anna(0.0)"])
def test_one_weight_is_above_0(text: str) -> None:
    with pytest.raises(InputError, match=r"are all 0; give one voice a weight above 0, as in 'anna\(0\.7\)"):
        parse_blend(text)


@pytest.mark.parametrize("text", [" " * 2000, "a" + " " * 1990 + "x", "(" * 2000, "a(" * 1000, "a(1" + " " * 1990])
def test_no_text_takes_long(text: str) -> None:
    started = time.perf_counter()
    assert parse_blend(text) is None
    assert time.perf_counter() - started < 1


def test_nearest_names() -> None:
    known = ["Anna", "Ben", "Nora", "anne-2"]
    assert nearest("ana", known)[0] == "Anna"
    assert nearest("NORA1", known) == ["Nora"]
    assert nearest("xyz", known) == []
