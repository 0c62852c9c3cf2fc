"""Probes of a bundle's encoders: speaker identity left in the content, verification by the speaker embedding."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .. import audio
from ..audio.level import TARGET_LEVEL, speech_level
from ..bundle import Bundle
from ..converter import VoiceConverter
from ..errors import InputError
from ..mel import log_mel
from ..training.data.corpus import Recording, limit_per_voice, read_manifest
from ..training.data.teachers import SpeakerTeacher
from ..training.verification import equal_error, verification_scores
from .metrics import RATE


def probe(
    manifest: str | Path, campplus: str | Path, bundle: str | Path | None = None, per_voice: int = 10
) -> dict[str, dict[str, float]]:
    """Both probes on the test split of a manifest.

    Args:
        campplus: weights of CAM++.
        per_voice: recordings of each voice at most.
    Raises:
        InputError: the split has no two voices with two recordings each.
    """
    recordings = [r for r in read_manifest(manifest) if r.split == "test"]
    recordings = limit_per_voice(recordings, dict.fromkeys({r.corpus for r in recordings}, per_voice))
    counts = Counter(recording.voice for recording in recordings)
    if sum(count > 1 for count in counts.values()) < 2:
        raise InputError(f"{manifest} needs two test voices with two recordings each, and --per-voice 2 or more")
    converter = VoiceConverter.load(bundle)
    return {
        "content": content_probe(converter.bundle, recordings),
        "speaker": speaker_probe(converter, recordings, SpeakerTeacher(str(campplus))),
    }


def content_probe(bundle: Bundle, recordings: list[Recording]) -> dict[str, float]:
    """Speaker identification by a linear probe on the content embedding, beside the mel and chance (per cent)."""
    content, mels = [], []
    for recording in recordings:
        wave = audio.read(recording.path)
        mel = log_mel(wave * np.float32(TARGET_LEVEL / speech_level(wave)))
        mel = mel[:, : mel.shape[1] // 2 * 2]  # the content encoder reads pairs of frames
        content.append(_statistics(bundle.content(mel)))
        mels.append(_statistics(mel))
    voices = [r.voice for r in recordings]
    return {
        "content %": _identification(np.array(content), voices),
        "mel %": _identification(np.array(mels), voices),
        "chance %": 100 / len(set(voices)),
        "voices": len(set(voices)),
        "recordings": len(voices),
    }


def speaker_probe(converter: VoiceConverter, recordings: list[Recording], teacher: SpeakerTeacher) -> dict[str, float]:
    """Cosine of the speaker encoder to its teacher, and both equal-error rates (per cent) over all pairs."""
    student = np.array([converter.voice([r.path]).embedding for r in recordings])
    taught = np.array([teacher(audio.read(r.path, RATE)) for r in recordings])
    voices = [r.voice for r in recordings]
    return {
        "cosine to teacher": float((student * taught).sum(axis=1).mean()),
        "EER %": 100 * equal_error(*verification_scores(student, voices))[0],
        "teacher's EER %": 100 * equal_error(*verification_scores(taught, voices))[0],
        "recordings": len(voices),
    }


def _statistics(frames: np.ndarray) -> np.ndarray:
    """(C, T) -> (2 C,): mean and standard deviation over time."""
    return np.concatenate([frames.mean(axis=1), frames.std(axis=1)])


def _identification(features: np.ndarray, voices: list[str]) -> float:
    """Accuracy in per cent of a linear classifier. Every second recording of a voice trains it, the others test it."""
    counts: dict[str, int] = defaultdict(int)
    alternate = []
    for voice in voices:
        alternate.append(counts[voice] % 2 == 0)
        counts[voice] += 1
    train, names = np.array(alternate), np.array(voices)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    classifier.fit(features[train], names[train])
    return 100 * float(classifier.score(features[~train], names[~train]))
