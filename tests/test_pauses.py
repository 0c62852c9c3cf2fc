"""Pauses of a source: found with and without noise, and filled with silence or with the source itself."""

from __future__ import annotations

import numpy as np
import pytest

from fastvoicegrad import InputError, Voice, VoiceConverter
from fastvoicegrad.audio.level import TARGET_LEVEL, LevelMeter
from fastvoicegrad.audio.loudness import HOP
from fastvoicegrad.mel import Array
from fastvoicegrad.pauses import AFTER, BEFORE, FADE, PauseFiller, check_pauses, speech_shares
from fastvoicegrad.pipeline import Request, convert_blocks
from fastvoicegrad.settings import ConversionSettings
from tests.conftest import RATE, vowels
from tests.test_pipeline import noted_windows

HOPS = 600
SPOKEN = slice(200, 300)  # hops


@pytest.fixture(scope="module")
def talk() -> Array:
    """1.5 s of speech between two pauses of 1.5 s, with a background 40 dB below."""
    pause = np.zeros(int(1.5 * RATE), np.float32)
    wave = np.concatenate([pause, vowels(1.5), pause])
    return wave + 0.0006 * np.random.default_rng(1).standard_normal(len(wave)).astype(np.float32)


def filled(pauses: str, source: Array, converted: Array, voiced: np.ndarray, pieces: int = 1) -> Array:
    """What a filler makes of whole hops."""
    meter = LevelMeter()
    meter.add(source)
    filler = PauseFiller(pauses, np.array_split(source, pieces), TARGET_LEVEL / meter.level, meter.background)
    for _ in filler:
        pass
    for part in np.array_split(voiced, pieces):
        filler.add_pitch(part.astype(np.float32) * 100)
    parts = np.array_split(converted.reshape(-1, HOP), pieces)
    return np.concatenate(list(filler.filled(part.reshape(-1) for part in parts)))


@pytest.fixture(scope="module")
def signals() -> tuple[Array, Array, np.ndarray]:
    """A source, a conversion, and where it is voiced."""
    random = np.random.default_rng(0)
    source = random.normal(0, 0.001, HOPS * HOP).astype(np.float32)
    source[SPOKEN.start * HOP : SPOKEN.stop * HOP] += random.normal(0, 0.1, 100 * HOP).astype(np.float32)
    voiced = np.zeros(HOPS, bool)
    voiced[SPOKEN] = True
    return source, np.full(HOPS * HOP, 0.25, np.float32), voiced


def test_what_is_far_from_speech_is_replaced(signals: tuple[Array, Array, np.ndarray]) -> None:
    source, converted, voiced = signals
    edge = AFTER + FADE + 2
    speech = slice((SPOKEN.start - BEFORE + FADE + 1) * HOP, (SPOKEN.stop + AFTER - FADE - 1) * HOP)
    before, after = slice((SPOKEN.start - edge) * HOP), slice((SPOKEN.stop + edge) * HOP, None)
    silence, background = (filled(pauses, source, converted, voiced) for pauses in ("silence", "source"))
    np.testing.assert_array_equal(filled("converted", source, converted, voiced), converted)
    for result in (silence, background):
        assert len(result) == len(converted)
        np.testing.assert_allclose(result[speech], converted[speech], atol=1e-6)
    for part in (before, after):
        assert not silence[part].any()
        np.testing.assert_allclose(background[part], source[part], atol=1e-7)
    assert np.abs(np.diff(silence)).max() < 0.002  # no click


@pytest.mark.parametrize("pauses", ["silence", "source"])
@pytest.mark.parametrize("pieces", [3, 17, HOPS])
def test_blocks_change_nothing(signals: tuple[Array, Array, np.ndarray], pauses: str, pieces: int) -> None:
    np.testing.assert_array_equal(filled(pauses, *signals), filled(pauses, *signals, pieces=pieces))


def test_a_click_is_no_speech_and_a_short_gap_no_pause() -> None:
    speech = np.zeros(200, bool)
    speech[100:102] = True
    assert not speech_shares(speech).any()
    speech[:] = True
    speech[90:120] = False  # 0.35 s
    assert speech_shares(speech)[50:150].min() == pytest.approx(1.0)


def test_without_a_pitch_loud_hops_are_speech(signals: tuple[Array, Array, np.ndarray]) -> None:
    source, converted, voiced = signals
    whispered = filled("silence", source, converted, np.zeros_like(voiced))
    np.testing.assert_allclose(whispered, filled("silence", source, converted, voiced))


def test_steady_noise_is_background(signals: tuple[Array, Array, np.ndarray]) -> None:
    source, converted, voiced = signals
    noisy = source + np.random.default_rng(2).normal(0, 0.03, len(source)).astype(np.float32)  # 10 dB below the speech
    result = filled("silence", noisy, converted, voiced)
    assert not result[: 150 * HOP].any()
    np.testing.assert_allclose(result[200 * HOP : 300 * HOP], 0.25, atol=1e-6)


# -- in conversions -------------------------------------------------------------------------------------------


def test_pauses_of_a_conversion(converter: VoiceConverter, voice: Voice, talk: Array) -> None:
    plain, silence, source = (
        converter.convert(talk, RATE, voice, pauses=pauses) for pauses in ("converted", "silence", "source")
    )
    lead, spoken = slice(0, RATE), slice(int(1.7 * RATE), int(2.8 * RATE))
    assert np.abs(plain[lead]).max() > 0
    assert not silence[lead].any()
    assert np.corrcoef(source[lead], talk[lead])[0, 1] > 0.99
    for result in (silence, source):
        np.testing.assert_allclose(result[spoken], plain[spoken], atol=1e-5)


@pytest.mark.parametrize("pauses", ["silence", "source"])
def test_chunks_equal_the_whole(
    converter: VoiceConverter, voice: Voice, talk: Array, monkeypatch: pytest.MonkeyPatch, pauses: str
) -> None:
    longer, made_windows = np.tile(talk, 2), noted_windows(monkeypatch)

    def converted(pieces: int, chunk: int) -> np.ndarray:
        blocks, request = np.array_split(longer, pieces), Request(voice, None, ConversionSettings(pauses=pauses))
        made = convert_blocks(converter.bundle, blocks, request, gain=1.0, background=0.0006, chunk=chunk)
        return np.concatenate(list(made))

    one = converted(1, 10**6)
    assert len(made_windows) == 1
    np.testing.assert_allclose(converted(9, 128), one, atol=1e-3)  # bytes are rounded
    assert len(made_windows) > 3


def test_other_pauses_are_refused(converter: VoiceConverter, voice: Voice, talk: Array) -> None:
    with pytest.raises(InputError, match="pauses must be one of converted, silence, source, got 'music'"):
        converter.convert(talk, RATE, voice, pauses="music")


@pytest.mark.parametrize("pauses", ["music", "a\nb", "\x1b[31m", "x" * 10_000, 3, None])
def test_what_fills_no_pauses_is_named_in_one_line(pauses: object) -> None:
    with pytest.raises(InputError, match="pauses must be one of converted, silence, source, got '.*'") as error:
        check_pauses(pauses)  # type: ignore[arg-type]
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 200
