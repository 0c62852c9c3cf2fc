"""``fastvoicegrad dev voices``: preset voices from a recipe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile

from fastvoicegrad import InputError, Voice, VoiceConverter, audio
from fastvoicegrad.cli.dev.voices import MOST_BYTES, Preset, PresetsRecipe, make_presets
from fastvoicegrad.library import VoiceLibrary
from fastvoicegrad.preview import SAMPLE
from tests.cli.test_commands import run
from tests.conftest import vowels

RECIPE = """
frames: 50
voices:
  - {name: nora, description: "high, clear", origin: "made by a test, CC0", references: [high.wav, high.wav]}
  - {name: Ben, description: "low", origin: "made by a test, CC0", references: [low.wav]}
"""


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """A folder with a recipe and its references."""
    soundfile.write(tmp_path / "high.wav", vowels(2.0, pitch=210.0, seed=3), 22050)
    soundfile.write(tmp_path / "low.wav", vowels(2.0, pitch=100.0, seed=4), 22050)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


def recipe(*names: str, frames: int = 50) -> PresetsRecipe:
    return PresetsRecipe([Preset(name, f"the voice {name}", "CC0", ["high.wav"]) for name in names], frames)


def test_presets_are_made_with_the_tiny_bundle(folder: Path, recordings: Path) -> None:
    pytest.importorskip("dacite")
    output = recordings / "voices"
    done = run("dev", "voices", recordings / "recipe.yaml", "-o", output, "--bundle", folder)
    assert done.returncode == 0, done.stderr
    assert "2 voices" in done.stdout
    names = ["Ben.opus", "Ben.voice", "index.json", "nora.opus", "nora.voice"]
    assert sorted(path.name for path in output.iterdir()) == names
    library, converter = VoiceLibrary(recordings / "own", output), VoiceConverter.load(folder)
    assert library.names() == ["nora", "Ben"]  # in the recipe's order
    entry = library.entry("Nora")
    assert (entry.preset, entry.description, entry.sources) == (True, "high, clear", ["made by a test, CC0"])
    assert entry.preview == output / "nora.opus"
    assert len(audio.read(entry.preview)) == len(audio.read(SAMPLE))
    voice = library.voice(converter, "nora(0.5)+ben(0.5)")
    converter.bundle.check_voice(voice)
    assert library.load("nora").mel.shape == (80, 50)


def test_a_preset_is_small(converter: VoiceConverter, recordings: Path) -> None:
    """Ten presets of the default bundle fit into the limit."""
    soundfile.write(recordings / "high.wav", vowels(6.0, pitch=210.0, seed=3), 22050)
    size = make_presets(converter, recipe("nora", frames=PresetsRecipe([]).frames), recordings, recordings / "out")
    assert size < MOST_BYTES / 10
    assert Voice.load(recordings / "out" / "nora.voice").mel.shape == (80, PresetsRecipe([]).frames)


def test_the_same_recipe_may_be_made_again(converter: VoiceConverter, recordings: Path) -> None:
    for names in (["nora"], ["nora", "ben"]):
        make_presets(converter, recipe(*names), recordings, recordings / "out")
        assert json.loads((recordings / "out" / "index.json").read_text()) == names


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (recipe("nora", "NORA"), "the same name"),
        (recipe("a b"), "cannot be the name"),
        (PresetsRecipe([Preset("nora", "", "CC0", ["none.wav"])]), "none.wav: no such file"),
    ],
)
def test_wrong_recipes(converter: VoiceConverter, recordings: Path, wrong: PresetsRecipe, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_presets(converter, wrong, recordings, recordings / "out")


def test_limits(converter: VoiceConverter, recordings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="holds other files"):
        make_presets(converter, recipe("nora"), recordings, recordings)
    monkeypatch.setitem(make_presets.__globals__, "MOST_BYTES", 1000)
    with pytest.raises(InputError, match="lower 'frames'"):
        make_presets(converter, recipe("nora"), recordings, recordings / "out")
    assert not (recordings / "out" / "index.json").exists()
