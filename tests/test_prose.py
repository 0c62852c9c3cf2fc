"""The manuals and the names: short sentences, short files, the field's terms, one version."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "fastvoicegrad"
MANUALS = [ROOT / name for name in ("README.md", "MODEL_CARD.md", "CONTRIBUTING.md")]

MOST_WORDS = 18  # in a sentence
MOST_SOURCE_LINES = 350

# Each of these is a private name for something that the field has a word for.
PRIVATE = re.compile(
    r"(?<![a-z])(?:drafts?|combs?|twins?|nobody|hears?|heard|told|says|said|varied|rulers?|workshop"
    r"|new_voices|recognised_apart|own_guidance|content_learns)(?![a-z])",
    re.IGNORECASE,
)
OLD_NAMES_ALLOWED = [
    SOURCE / "training" / "legacy.py",  # reads the names of older checkpoints
    ROOT / "tests" / "training" / "test_legacy.py",
    Path(__file__),
]

ABBREVIATION = re.compile(r"\b(e\.g|i\.e|et al|vs|cf|Fig|Eq)\.")
LIST_ITEM = re.compile(r"\s*(?:[-*+]|\d+\.)\s+")
SENTENCE_END = re.compile(r"(?<=[.!?])[\"')*_]*\s+(?=[\"'(*_`]*[A-Z0-9`])")


@dataclass(frozen=True)
class Sentence:
    """A sentence of a manual and where it starts."""

    path: Path
    line: int
    text: str

    @property
    def words(self) -> int:
        return sum(any(c.isalnum() for c in word) for word in self.text.split())

    def __str__(self) -> str:
        return f"{self.path.name}:{self.line}: {self.words} words: {self.text}"


def documents() -> list[Path]:
    return [path for path in MANUALS if path.exists()] + sorted((ROOT / "docs").rglob("*.md"))


def prose_lines(text: str) -> Iterator[str]:
    """Every line of a document; an empty one stands for what is not prose (code, tables, headings, formulas, HTML)."""
    fence, comment, kept = "", False, ""
    for line in text.splitlines():
        stripped = line.strip()
        opening = re.match(r"`{3,}|~{3,}", stripped)
        indented_code = line.startswith("    ") and not kept.strip() and not LIST_ITEM.match(line)
        if fence or opening:
            closed = fence and stripped.startswith(fence)
            fence = "" if closed else fence or (opening.group(0) if opening else "")
            kept = ""
        elif comment or stripped.startswith("<!--"):
            comment, kept = "-->" not in stripped, ""
        else:
            kept = "" if indented_code or stripped.startswith(("|", "#", "<", "---", "$$")) else line
        yield kept


def plain(text: str) -> str:
    """Markdown as it is read: no pictures, no link targets, no tags, inline code as one word."""
    text = re.sub(r"`[^`\n]*`", lambda match: re.sub(r"\s", "_", match.group(0)), text)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"<[^>]+>", "", text)
    return ABBREVIATION.sub(lambda match: match.group(0).replace(".", ""), text)


def paragraphs(lines: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    """(number of the first line, lines). A list item is a paragraph of its own."""
    start, block = 0, list[str]()
    for number, line in enumerate([*lines, ""], 1):
        item = LIST_ITEM.match(line)
        if block and (item or not line.strip()):
            yield start, block
            block = []
        if line.strip():
            start = start if block else number
            block.append(line[item.end() :] if item else line)


def sentences(path: Path) -> list[Sentence]:
    found = []
    for start, block in paragraphs(prose_lines(path.read_text(encoding="utf-8"))):
        text = plain("\n".join(block))  # `plain` keeps line breaks outside code, so lines can be counted
        position = 0
        for part in SENTENCE_END.split(text):
            position = text.index(part, position)
            words = " ".join(part.split())
            if words:
                leading = len(part) - len(part.lstrip())
                found.append(Sentence(path, start + text.count("\n", 0, position + leading), words))
            position += len(part)
    return found


def listed(items: list[str]) -> str:
    return "\n".join(["", *items])


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_no_sentence_is_long() -> None:
    long = [str(sentence) for path in documents() for sentence in sentences(path) if sentence.words > MOST_WORDS]
    assert not long, listed(long)


def test_the_readme_has_at_most_900_words() -> None:
    words = len((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert words <= 900, f"README.md has {words} words, code and tables included"


@pytest.mark.parametrize(("name", "most"), [("MODEL_CARD.md", 90), ("docs/training.md", 200)])
def test_a_manual_is_short(name: str, most: int) -> None:
    lines = len((ROOT / name).read_text(encoding="utf-8").splitlines())
    assert lines <= most, f"{name} has {lines} lines, at most {most} are allowed"


def test_no_source_file_is_long() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sorted(SOURCE.rglob("*.py"))}
    long = [f"{shown(path)}: {lines} lines" for path, lines in lengths.items() if lines > MOST_SOURCE_LINES]
    assert not long, listed([*long, f"at most {MOST_SOURCE_LINES} lines are allowed: split the file by idea"])


def test_no_private_word_is_used() -> None:
    files = [path for folder in ("src", "docs", "tests") for path in (ROOT / folder).rglob("*")]
    files = [path for path in files if path.suffix in {".py", ".md", ".html"}]
    files += [*(ROOT / "recipes").rglob("*.yaml"), *(path for path in MANUALS if path.exists())]
    found = []
    for path in sorted(set(files) - set(OLD_NAMES_ALLOWED)):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.startswith("RENAMED"):  # a table from a file format's old names to today's
                continue
            found += [f"{shown(path)}:{number}: '{m.group(0)}' in: {line.strip()}" for m in PRIVATE.finditer(line)]
    assert not found, listed([f"{len(found)} private words:", *found])


def test_there_is_one_version() -> None:
    def first(pattern: str, path: Path) -> str:
        match = re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE) if path.exists() else None
        return match.group(1) if match else f"none in {shown(path)}"

    code = first(r'^__version__ = "([^"]+)"', SOURCE / "version.py")
    package = first(r'^path = "src/fastvoicegrad/(version.py)"', ROOT / "pyproject.toml")  # of [tool.hatch.version]
    versions = {
        "src/fastvoicegrad/version.py": code,
        "pyproject.toml": code if package == "version.py" else package,
        "CITATION.cff": first(r"^version: \"?([\w.]+)", ROOT / "CITATION.cff"),
        "CHANGELOG.md, first section": first(r"^## \[?v?(\d[\w.]*)", ROOT / "CHANGELOG.md"),
        "recipes/release/export.yaml": first(r"^name: FastVoiceGrad ([\d.]+) ", ROOT / "recipes/release/export.yaml"),
        "bundles/default/config.json": json.loads((SOURCE / "bundles/default/config.json").read_text()).get("version"),
    }
    assert len(set(versions.values())) == 1, versions


def anchors(path: Path) -> set[str]:
    """The names under which a document's headings can be linked, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", plain(heading.replace("`", "")).lower()).replace(" ", "-") for heading in headings}


def test_every_link_leads_somewhere() -> None:
    dead = []
    for path in documents():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for target in re.findall(r"\]\(([^)\s]+)\)", line):
                if "://" in target:
                    continue
                name, _, anchor = target.partition("#")
                aim = path.parent / name if name else path
                if not aim.exists() or (anchor and anchor not in anchors(aim)):
                    dead.append(f"{shown(path)}:{number}: {target}")
    assert not dead, listed(dead)


def commands(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, words) of every ``fastvoicegrad`` command in a document's shell blocks."""
    text = path.read_text(encoding="utf-8")
    for block in re.finditer(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        number = text.count("\n", 0, block.start(1)) + 1
        for line in re.split(r"(?<!\\)\n", block.group(1)):
            for part in line.replace("\\\n", " ").split("&&"):
                words = shlex.split(part, comments=True)
                if words[:1] == ["fastvoicegrad"]:
                    yield number, words
            number += 1 + line.count("\n")


@cache
def command_line() -> Any:
    import typer

    from fastvoicegrad.cli import app

    return typer.main.get_command(app)


def mistake(words: list[str]) -> str:
    """What the command line does not know of a command; empty where all is known."""
    command, words = command_line(), words[1:]
    while hasattr(command, "commands"):  # a group
        name = words.pop(0) if words else ""
        if name not in command.commands:
            return "" if name.startswith("-") else f"no command '{name}'"
        command = command.commands[name]
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}
    options = [word for word in words if re.match(r"--?[^\d.]", word)]  # not -2, a value, nor -, a pipe
    unknown = [word for word in options if word.partition("=")[0] not in known]
    return f"no option {', '.join(unknown)}" if unknown else ""


def test_every_command_of_the_documents_exists() -> None:
    found = [(path, number, words) for path in documents() for number, words in commands(path)]
    assert found
    wrong = [f"{shown(p)}:{n}: {problem}: {' '.join(w)}" for p, n, w in found if (problem := mistake(w))]
    assert not wrong, listed(wrong)


def test_figures_of_the_questions_are_those_of_the_results() -> None:
    results = set(re.findall(r"\d+(?:\.\d+)?", (ROOT / "docs" / "results.md").read_text(encoding="utf-8")))
    answers = (ROOT / "docs" / "faq.md").read_text(encoding="utf-8").split("\n\n")
    rows = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8").splitlines()
    texts = [plain(text) for text in (*answers, *rows) if "(results.md" in text]
    figures = {figure for text in texts for figure in re.findall(r"\d+(?:\.\d+)?", text)}
    assert figures
    assert figures <= results, f"not in docs/results.md: {sorted(figures - results)}"


def test_the_comparison_has_the_size_of_the_bundle() -> None:
    size = sum(path.stat().st_size for path in (SOURCE / "bundles" / "default").iterdir()) / 1e6
    assert f"[{size:.1f} MB]" in (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")


def test_sentences_are_found_as_a_reader_finds_them(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A heading. It is not counted\n\nOne [link. here](https://x.y/z.html) and `a. B c`.\nTwo, e.g. Three\n"
        "goes on. 4 is next.\n\n| a | table |\n|---|---|\n\n```sh\ncode. More code.\n```\n\n"
        "<!-- a comment\nof two lines -->\n- an item\n  of two lines\n- another\n"
    )
    assert [(s.line, s.text) for s in sentences(page)] == [
        (3, "One link. here and `a._B_c`."),
        (4, "Two, eg Three goes on."),
        (5, "4 is next."),
        (16, "an item of two lines"),
        (18, "another"),
    ]
    assert sentences(page)[0].words == 5


@pytest.mark.parametrize("name", ["draft", "Drafts", "towards_draft", "_heard", "comb_of", "new_voices"])
def test_private_words_are_found_in_names_too(name: str) -> None:
    assert PRIVATE.search(f"x = {name}(1)")


@pytest.mark.parametrize("word", ["combine", "drafty", "shear", "unsaid", "nobodys", "twinkle"])
def test_other_words_are_left_alone(word: str) -> None:
    assert not PRIVATE.search(word)
