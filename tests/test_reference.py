from __future__ import annotations

import numpy as np

from fastvoicegrad import Voice, VoiceConverter
from fastvoicegrad.frames import peek
from fastvoicegrad.mel import log_mel
from fastvoicegrad.pipeline import SOURCE_SEARCHED, SOURCE_SPEECH
from fastvoicegrad.reference import source_speaker
from tests.conftest import vowels


def test_the_source_speaker_does_not_depend_on_blocks(converter: VoiceConverter, voice: Voice) -> None:
    silence = np.zeros((80, 300), np.float32) + np.log(1e-5).astype(np.float32)
    mel = np.concatenate([silence, log_mel(vowels(9.0))], axis=1)
    found = []
    for pieces in (1, 7, 60):
        beginning, _ = peek(iter(np.array_split(mel, pieces, axis=1)), SOURCE_SPEECH, SOURCE_SEARCHED)
        source = source_speaker(converter.bundle, beginning, voice, SOURCE_SPEECH)
        assert source is not None
        found.append(source)
    for other in found[1:]:
        np.testing.assert_array_equal(other.mel, found[0].mel)
        np.testing.assert_allclose(other.embedding, found[0].embedding, atol=1e-6)
    assert found[0].mel.shape[1] >= 300 + SOURCE_SPEECH
    assert source_speaker(converter.bundle, silence, voice, SOURCE_SPEECH) is None
