"""Previews of voices over HTTP: made once, and made again for another voice, bundle or setting."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import soundfile

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from fastvoicegrad import VoiceConverter
from fastvoicegrad.bundle import DEFAULT, BundleConfig
from fastvoicegrad.postfilter import PostFilter
from fastvoicegrad.server import voices as voices_module
from fastvoicegrad.server import work
from fastvoicegrad.server.settings import ServerSettings
from tests.server.conftest import Running, running


@pytest.fixture
def own(start: Callable[..., Running]) -> Running:
    """A server with an empty library."""
    return start()


def test_a_preview_is_made_once(own: Running, voice: Any) -> None:
    own.library.add("Anna", voice)
    url = own.client.get("/v1/voices/Anna").json()["preview_url"]
    assert url == f"{own.url}/v1/voices/Anna/preview"
    first = own.client.get(url)
    assert (first.status_code, first.headers["content-type"]) == (200, "audio/wav")
    assert soundfile.info(io.BytesIO(first.content)).duration > 3
    started = time.monotonic()
    assert own.client.get(url).content == first.content
    assert time.monotonic() - started < 0.5
    assert own.client.get("/v1/voices/nora9/preview").status_code == 404
    behind_a_proxy = own.client.get("/v1/voices/Anna", headers={"X-Forwarded-Proto": "https"}).json()["preview_url"]
    assert behind_a_proxy == url.replace("http:", "https:")


@pytest.fixture
def other(tmp_path: Path) -> VoiceConverter:
    """The default bundle with another temperature, which has the same voices."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    for path in DEFAULT.iterdir():
        (folder / path.name).symlink_to(path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps(config | {"temperature": 0.1}))
    return VoiceConverter.load(folder)


def test_another_bundle_makes_previews_of_its_own(
    own: Running, other: VoiceConverter, tmp_path: Path, voice: Any
) -> None:
    own.library.add("Anna", voice)
    url = "/v1/voices/Anna/preview"
    with running(other, own.library.folder) as second, running(other, tmp_path / "fresh") as third:
        third.library.add("Anna", voice)
        contents = [server.client.get(url).content for server in (own, second, third)]
    assert contents[0] != contents[1]
    assert contents[1] == contents[2]


def maker(config: BundleConfig) -> str:
    """What names a bundle's previews."""
    made = SimpleNamespace(converter=SimpleNamespace(bundle=SimpleNamespace(config=config)), settings=ServerSettings())
    return work.preview_maker(made)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.75},
        {"guidance": 0.5},
        {"corrections": 3},
        {"relaxation": 0.5},
        {"postfilter": PostFilter(sharpening=1.5)},
        {"mel_mean": (0.0,) * 80},
    ],
)
def test_a_setting_that_changes_the_sound_makes_another_preview(
    converter: VoiceConverter, change: dict[str, Any]
) -> None:
    config = converter.bundle.config
    assert maker(replace(config, **change)) != maker(config)
    assert maker(replace(config, version="0.0", notes={"licence": "none"})) == maker(config)


@pytest.mark.parametrize("name", ["content", "pitch", "converter", "vocoder"])
def test_each_network_makes_another_preview(converter: VoiceConverter, name: str) -> None:
    config = converter.bundle.config
    another = {name: replace(config.networks[name], sha256="0" * 64)}
    assert maker(replace(config, networks=config.networks | another)) != maker(config)


def test_a_voice_that_goes_during_its_preview_leaves_none(
    own: Running, voice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.library.add("Anna", voice)
    make = voices_module.make_preview

    def made_late(*arguments: Any) -> Any:
        own.library.remove("Anna")
        return make(*arguments)

    monkeypatch.setattr(voices_module, "make_preview", made_late)
    assert own.client.get("/v1/voices/Anna/preview").status_code == 404
    assert not list((own.library.folder / "previews").glob("*.wav"))
