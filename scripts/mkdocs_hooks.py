"""Hooks of the documentation site (mkdocs.yml).

- The pages link to files of the repository outside docs/, as a repository browser shows them. On the site these links
  lead to pages below repository/, which this file generates: Markdown as it is, code with colours, folders as lists.
- Patterns in the navigation become pages.
- Equations become pictures (SVG) at the size of the text, so that no script and no font is needed.
- Sections of docstrings follow each other without blank lines; griffe wants some.
"""

from __future__ import annotations

import ast
import fnmatch
import html
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import griffe
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import MathTextParser
from matplotlib.textpath import TextPath
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
DOCS, PLACE = "docs", "repository"  # folder of the written pages, and that of the generated ones below it
ALWAYS = ("MODEL_CARD.md", "CONTRIBUTING.md", "CHANGELOG.md")  # in the navigation
LINK = re.compile(r"(?<=\]\()(?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?(?=\))")
EQUATION = re.compile(r'<(span|div) class="arithmatex">\s*\\[(\[](.*?)\\[)\]]\s*</\1>', re.DOTALL)
SECTION = re.compile(r"\n(?=(?:Args|Returns|Raises|Attributes):\n)")
SIZE = 40  # of the letters of an equation, in units of its picture
LANGUAGES = {".py": "python", ".yaml": "yaml", ".toml": "toml"}


# -- navigation ---------------------------------------------------------------------------------------------------


def on_config(config: Any) -> Any:
    written = sorted(path.relative_to(config.docs_dir).as_posix() for path in Path(config.docs_dir).rglob("*.md"))
    named = set(_entries(config.nav))
    config.nav = _expanded(config.nav, [page for page in written if page not in named])
    return config


def _entries(nav: Any) -> Iterator[str]:
    """All pages and patterns of a navigation."""
    if isinstance(nav, str):
        yield nav
    else:
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from _entries(part)


def _expanded(nav: list[Any], others: list[str]) -> list[Any]:
    """A navigation whose patterns are replaced by those of the other pages that they match."""
    found: list[Any] = []
    for entry in nav:
        if isinstance(entry, str) and "*" in entry:
            found += fnmatch.filter(others, entry)
        elif isinstance(entry, dict):
            found.append({k: _expanded(v, others) if isinstance(v, list) else v for k, v in entry.items()})
        else:
            found.append(entry)
    return found


# -- files of the repository --------------------------------------------------------------------------------------


def on_files(files: Files, config: Any) -> Files:
    wanted, done = [*ALWAYS], set[str]()
    for file in files.documentation_pages():
        wanted += _outside(f"{DOCS}/{file.src_uri}", file.content_string)
    while wanted:
        name = wanted.pop()
        if name in done:
            continue
        done.add(name)
        content = _content(ROOT / name)
        files.append(File.generated(config, _page(name), content=content, inclusion=InclusionLevel.NOT_IN_NAV))
        if not name.endswith((".py", ".yaml")):
            wanted += _outside(name if (ROOT / name).is_file() else f"{name}/index.md", content)
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Leads links to the generated pages, and those of generated pages to the written ones."""
    here = page.file.src_uri

    def led(match: re.Match[str]) -> str:
        target = _resolved(_origin(here), match["target"])
        if target is None or (not here.startswith(f"{PLACE}/") and target.startswith(f"{DOCS}/")):
            return match[0]
        there = _written(target) if target.startswith(f"{DOCS}/") else _page(target)
        return os.path.relpath(there, PurePosixPath(here).parent) + (match["anchor"] or "")

    return markdown if _is_code(here) else LINK.sub(led, markdown)


def _outside(origin: str, text: str) -> list[str]:
    """The files and folders outside docs/ to which a text links."""
    targets = [_resolved(origin, match["target"]) for match in LINK.finditer(text)]
    return [target for target in targets if target is not None and not target.startswith(f"{DOCS}/")]


def _resolved(origin: str, target: str) -> str | None:
    """The place in the repository to which a link leads; None where it leads elsewhere."""
    if ":" in target:
        return None
    place = os.path.normpath(PurePosixPath(origin).parent / target)
    return place if not place.startswith("..") and (ROOT / place).exists() else None


def _written(name: str) -> str:
    """The page of a file or a folder in docs/."""
    page = name.removeprefix(f"{DOCS}/")
    return f"{page}/README.md" if (ROOT / name).is_dir() else page


def _page(name: str) -> str:
    """The generated page of a file or a folder."""
    if (ROOT / name).is_dir():
        return f"{PLACE}/{name}/index.md"
    return f"{PLACE}/{name}" if name.endswith(".md") else f"{PLACE}/{name}.md"


def _origin(page: str) -> str:
    """The file in the repository of which a page was made; only its folder matters."""
    return page.removeprefix(f"{PLACE}/") if page.startswith(f"{PLACE}/") else f"{DOCS}/{page}"


def _is_code(page: str) -> bool:
    return page.startswith(f"{PLACE}/") and Path(page.removesuffix(".md")).suffix in LANGUAGES


def _content(path: Path) -> str:
    """The Markdown of a generated page."""
    name = path.relative_to(ROOT).as_posix()
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    if path.is_dir():
        return f"# {name}/\n\n{_listing(path)}\n"
    code = path.read_text(encoding="utf-8").rstrip()
    language = LANGUAGES.get(path.suffix, "text")
    return f"---\nsearch:\n  exclude: true\n---\n# {name}\n\n~~~~~~{{ .{language} }}\n{code}\n~~~~~~\n"


def _listing(folder: Path) -> str:
    """A folder's files, each with the first line of its docstring."""
    lines = []
    for path in sorted(folder.iterdir()):
        if path.suffix in LANGUAGES or (path.is_dir() and any(path.glob("*.py"))):
            lines.append(f"- [{path.name}{'/' * path.is_dir()}]({path.name}){_summary(path)}")
    return "\n".join(lines)


def _summary(path: Path) -> str:
    source = path / "__init__.py" if path.is_dir() else path
    text = source.read_text(encoding="utf-8") if source.suffix == ".py" and source.is_file() else ""
    lines = (ast.get_docstring(ast.parse(text)) or "").splitlines()
    return f": {lines[0]}" if lines else ""


# -- equations ----------------------------------------------------------------------------------------------------


def on_page_content(content: str, page: Page, config: Any, files: Files) -> str:
    return EQUATION.sub(lambda match: _drawn(html.unescape(match[2]).strip(), match[1] == "div"), content)


def _drawn(latex: str, block: bool) -> str:
    """An equation as SVG; its text is there for those who cannot see it."""
    font = FontProperties(size=SIZE, math_fontfamily="dejavusans")
    text = f"${latex}$".replace(r"\frac", r"\dfrac" if block else r"\frac")
    width, height, depth, *_ = MathTextParser("path").parse(text, dpi=72, prop=font)
    outline = "".join(_curves(TextPath((0, 0), text, prop=font)))
    style = f"height:{height / SIZE:.3f}em;vertical-align:{-depth / SIZE:.3f}em;fill:currentColor;font-size:1.15em"
    picture = (
        f'<svg role="img" aria-label="{html.escape(latex)}" style="{style}" '
        f'viewBox="0 {depth - height:.1f} {width:.1f} {height:.1f}"><path d="{outline}"/></svg>'
    )
    return f'<div style="text-align:center;overflow-x:auto;margin:1em 0">{picture}</div>' if block else picture


def _curves(path: TextPath) -> Iterator[str]:
    for points, code in path.iter_segments(curves=True, simplify=False):
        numbers = [f"{number:.1f}" for number in (points.reshape(-1, 2) * (1, -1)).ravel()]
        letter = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}[int(code)]
        yield letter if letter == "Z" else letter + " ".join(numbers)


# -- docstrings ---------------------------------------------------------------------------------------------------


class Sections(griffe.Extension):
    """Blank lines between the sections of docstrings."""

    def on_instance(self, *, obj: griffe.Object, **more: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = SECTION.sub("\n\n", obj.docstring.value)
