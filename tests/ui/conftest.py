"""A studio without a browser, and the page in a headless one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastvoicegrad import Voice, VoiceConverter, VoiceLibrary
from tests.ui.hands import DESKTOP

PATIENCE = 60_000  # milliseconds: machines that run tests can be slow
BROWSER = "FASTVOICEGRAD_BROWSER"  # environment variable: the path of a Chromium
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# No sandbox in containers, no look at the outside, and a microphone that plays tones.
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-sync "
    "--disable-component-update --use-fake-device-for-media-stream --use-fake-ui-for-media-stream"
)


@pytest.fixture(scope="session")
def tiny(folder: Path) -> VoiceConverter:
    """The tiny bundle; needs PyTorch."""
    return VoiceConverter.load(folder)


@pytest.fixture
def library(tmp_path: Path, voice: Voice) -> VoiceLibrary:
    """With one voice, anna."""
    made = VoiceLibrary(tmp_path / "voices", presets=tmp_path / "no-presets")
    made.add("anna", voice, description="calm")
    return made


@pytest.fixture(scope="module")  # Playwright keeps an event loop in this thread, which other tests may need
def browser() -> Iterator[Any]:
    """Chromium by Playwright; tests without one are skipped."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = os.environ.get(BROWSER) or next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"there is no Chromium; name one in {BROWSER}")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def voices(
    tmp_path_factory: pytest.TempPathFactory, voice: Voice, converter: VoiceConverter, speech_file: Path
) -> VoiceLibrary:
    """A library with two voices."""
    root = tmp_path_factory.mktemp("library")
    made = VoiceLibrary(root / "voices", presets=root / "no-presets")
    made.add("anna", voice, description="calm")
    made.add("ben", converter.voice(speech_file))
    return made


@pytest.fixture(scope="module")
def bundles(converter: VoiceConverter) -> dict[str, VoiceConverter]:
    """What the page is opened with."""
    return {"built-in": converter}


@pytest.fixture(scope="module")
def address(bundles: dict[str, VoiceConverter], voices: VoiceLibrary) -> Iterator[str]:
    """Of the running page."""
    pytest.importorskip("gradio")
    from fastvoicegrad.ui.run import opened

    with opened(bundles, voices) as url:
        yield url


@pytest.fixture
def open_page(browser: Any, address: str) -> Iterator[Any]:
    """Opens the page with a window of a size. At the end, no request may have gone elsewhere."""
    contexts, requests, problems = list[Any](), list[str](), list[str]()

    def begin(size: tuple[int, int] = DESKTOP) -> Any:
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, permissions=["microphone"])
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: problems.append(str(error)))
        with page.expect_response(lambda response: "/gradio_api/run" in response.url):  # fills the lists of voices
            page.goto(address)
        page.get_by_role("button", name="Try an example").wait_for()
        return page

    yield begin
    for context in contexts:
        context.close()
    assert not [url for url in requests if not url.startswith((address, "data:", "blob:"))]
    assert not problems
