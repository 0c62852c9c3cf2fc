"""What a person does on the page."""

from __future__ import annotations

import io
import os
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

PHONE, DESKTOP = (390, 844), (1280, 900)
SHOTS = "FASTVOICEGRAD_SCREENSHOTS"  # environment variable: a folder for pictures of the page


def shoot(page: Any, name: str) -> None:
    """A picture of the whole page, where a folder for pictures is named."""
    if folder := os.environ.get(SHOTS):
        page.wait_for_timeout(1000)  # players draw
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def tab(page: Any, name: str) -> Any:
    page.get_by_role("tab", name=name).click()
    return page.get_by_role("tabpanel").filter(visible=True)


def drop(panel: Any, place: int, *paths: Path) -> None:
    """Give files to the upload field with this place among those that can be seen."""
    with panel.page.expect_response(lambda response: "/upload" in response.url):
        panel.locator("input[type=file]").nth(place).set_input_files([str(path) for path in paths])


def choose(panel: Any, label: str, text: str) -> None:
    """Choose an entry of a list."""
    panel.get_by_label(label, exact=True).first.click()
    panel.page.get_by_role("option", name=text).click()


def played(panel: Any, place: int) -> tuple[np.ndarray, int]:
    """The samples and the rate of a result's player."""
    player = panel.locator(".result audio").nth(place)
    player.wait_for(state="attached")
    return sound_at(player.get_attribute("src"))


def sound_at(url: str) -> tuple[np.ndarray, int]:
    with urllib.request.urlopen(url, timeout=60) as answer:
        wave, rate = soundfile.read(io.BytesIO(answer.read()))
    return wave, rate


def fits(page: Any) -> bool:
    """Whether nothing is wider than the window."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))
