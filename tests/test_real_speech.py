"""End to end on real recordings: run where FASTVOICEGRAD_SPEECH names a folder with manifest.jsonl."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fastvoicegrad import VoiceConverter, audio
from fastvoicegrad.audio.level import TARGET_LEVEL
from fastvoicegrad.mel import MEL
from fastvoicegrad.pipeline import CHUNK, Request, convert_blocks
from fastvoicegrad.settings import ConversionSettings

pytestmark = pytest.mark.speech


def of_speaker(folder: Path, speaker: str, count: int) -> list[Path]:
    rows = map(json.loads, (folder / "manifest.jsonl").read_text().splitlines())
    return [folder / row["path"] for row in rows if row["speaker"] == speaker][:count]


@pytest.mark.parametrize(("source", "target"), [("tsp-MB", "tsp-FB"), ("tsp-FL", "tsp-ML")])
def test_converted_speech_is_nearer_to_the_target(
    converter: VoiceConverter, recordings: Path, tmp_path: Path, source: str, target: str
) -> None:
    source_file, *own = of_speaker(recordings, source, 4)
    references = of_speaker(recordings, target, 8)[5:]
    out = tmp_path / "out.wav"
    result = converter.convert_file(source_file, out, converter.voice(references))
    assert soundfile.info(out).frames == soundfile.info(source_file).frames
    assert result.samples == soundfile.info(out).frames
    embedding = converter.voice([out]).embedding
    to_target, to_source = (
        embedding @ converter.voice(references).embedding,
        embedding @ converter.voice(own).embedding,
    )
    assert to_target > to_source


def test_unlike_voices_have_unlike_embeddings(converter: VoiceConverter, recordings: Path) -> None:
    speakers = ["tsp-MB", "tsp-FB", "tsp-ML", "tsp-FL"]
    first = np.stack([converter.voice(of_speaker(recordings, s, 6)[:3]).embedding for s in speakers])
    second = np.stack([converter.voice(of_speaker(recordings, s, 6)[3:]).embedding for s in speakers])
    assert ((first @ second.T).argmax(axis=1) == np.arange(4)).all()


@pytest.mark.parametrize("speaker", ["tsp-MB", "tsp-FL"])
def test_chunks_of_real_speech_equal_the_whole(converter: VoiceConverter, recordings: Path, speaker: str) -> None:
    waves = [audio.read(path, MEL.sample_rate) for path in of_speaker(recordings, speaker, 5)]
    wave = np.concatenate(waves)
    assert len(wave) > 10 * MEL.sample_rate  # else a chunk holds it all
    request = Request(converter.voice("nora"), None, ConversionSettings())
    gain = TARGET_LEVEL / float(np.sqrt(np.square(wave).mean()))
    one, chunked = (
        np.concatenate(list(convert_blocks(converter.bundle, [wave], request, gain=gain, chunk=chunk)))
        for chunk in (CHUNK, 128)
    )
    np.testing.assert_allclose(chunked, one, atol=1e-3)
