"""The documentation site: no warning at the build, no dead link, and nothing loaded from other hosts."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[1]
if not all(importlib.util.find_spec(name) for name in ("mkdocs", "material", "mkdocstrings")):
    pytest.skip("needs the extra 'docs'", allow_module_level=True)
pytestmark = pytest.mark.slow


class Reader(HTMLParser):
    """Collects the links of a page, what it loads, and the names to which others can link."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links, self.loaded, self.anchors = set[str](), set[str](), {""}
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.add(values["href"])
        elif tag == "link" and values.get("rel") in ("stylesheet", "icon"):
            self.loaded.add(values["href"])
        elif "src" in values:
            self.loaded.add(values["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # an advertisement
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Reader]:
    return {page: Reader(page) for page in site.rglob("*.html") if page.name != "404.html"}


def target_of(page: Path, link: str) -> Path:
    """The file to which a relative link leads."""
    place = (page.parent / unquote(urlsplit(link).path)).resolve() if urlsplit(link).path else page
    return place / "index.html" if place.is_dir() else place


def test_every_link_of_the_site_leads_somewhere(site: Path, pages: dict[Path, Reader]) -> None:
    dead = []
    for page, reader in pages.items():
        for link in (link for link in reader.links | reader.loaded if not urlsplit(link).scheme):
            target, anchor = target_of(page, link), unquote(urlsplit(link).fragment)
            known = pages[target].anchors if target in pages else {anchor}
            if not target.exists() or anchor not in known:
                dead.append(f"{page.relative_to(site)}: {link}")
    assert not dead, "\n".join(dead[:50])


def test_the_site_loads_nothing_from_other_hosts(pages: dict[Path, Reader]) -> None:
    loaded = {source for reader in pages.values() for source in reader.loaded}
    assert loaded
    assert not [source for source in loaded if urlsplit(source).netloc]


def test_links_to_code_lead_to_the_code(site: Path) -> None:
    assert "cosine_schedule" in (site / "repository/src/fastvoicegrad/diffusion.py/index.html").read_text(
        encoding="utf-8"
    )
    assert "blend.py" in (site / "repository/examples/index.html").read_text(encoding="utf-8")


def test_equations_are_drawn(site: Path) -> None:
    science = (site / "science/index.html").read_text(encoding="utf-8")
    assert science.count('<svg role="img" aria-label=') > 30
    assert "arithmatex" not in science


def test_the_reference_shows_sections_of_docstrings(site: Path) -> None:
    reference = (site / "reference/converter/index.html").read_text(encoding="utf-8")
    for name in ("Parameters:", "Returns:", "Raises:"):
        assert f"<b>{name}</b>" in reference or f"{name}</span>" in reference


def test_every_page_is_in_the_navigation(site: Path, pages: dict[Path, Reader]) -> None:
    start = pages[site / "index.html"]
    linked = {target_of(site / "index.html", link) for link in start.links if not urlsplit(link).scheme}
    written = [page.relative_to(ROOT / "docs").with_suffix("") for page in (ROOT / "docs").rglob("*.md")]
    missing = []
    for page in written:
        built = site / (page.parent if page.name in ("index", "README") else page) / "index.html"
        if built not in linked:
            missing.append(str(page))
    assert not missing
