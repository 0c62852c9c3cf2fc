"""What the two encoders of a bundle know: how much voice is left in the content, how well voices are told apart."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ..audio import files as audio
from ..audio.level import TARGET_LEVEL, speech_level
from ..bundle import Bundle
from ..converter import VoiceConverter
from ..mel import log_mel
from ..training.data.corpus import Recording
from ..training.data.teachers import SpeakerTeacher
from ..training.tasks.speaker import equal_error_rate, verification_scores


def _statistics(frames: np.ndarray) -> np.ndarray:
    """(C, T) -> (2 C,): mean and standard deviation over time."""
    return np.concatenate([frames.mean(axis=1), frames.std(axis=1)])


def _identification(features: np.ndarray, voices: list[str]) -> float:
    """Accuracy in per cent of a linear probe: every second recording of a voice teaches, the others test."""
    seen: dict[str, int] = defaultdict(int)
    teaches = []
    for voice in voices:
        teaches.append(seen[voice] % 2 == 0)
        seen[voice] += 1
    known, names = np.array(teaches), np.array(voices)
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    probe.fit(features[known], names[known])
    return 100 * float(probe.score(features[~known], names[~known]))


def content_probe(bundle: Bundle, recordings: list[Recording]) -> dict[str, float]:
    """Speaker identification by a linear probe on the content embedding, beside the raw mel and chance (per cent)."""
    content, raw = [], []
    for recording in recordings:
        wave = audio.read(recording.path)
        mel = log_mel(wave * np.float32(TARGET_LEVEL / speech_level(wave)))
        mel = mel[:, : mel.shape[1] // 2 * 2]
        content.append(_statistics(bundle.run("content", mel=mel[None])[0][0]))
        raw.append(_statistics(mel))
    voices = [r.voice for r in recordings]
    return {
        "content %": _identification(np.array(content), voices),
        "mel %": _identification(np.array(raw), voices),
        "chance %": 100 / len(set(voices)),
        "voices": len(set(voices)),
        "recordings": len(voices),
    }


def speaker_probe(converter: VoiceConverter, recordings: list[Recording], teacher: SpeakerTeacher) -> dict[str, float]:
    """Cosine of the speaker encoder to its teacher, and both equal-error rates (per cent) over all pairs."""
    ours = np.array([converter.voice([r.path]).embedding for r in recordings])
    theirs = np.array([teacher(audio.read(r.path, 16000)) for r in recordings])
    voices = [r.voice for r in recordings]
    return {
        "cosine to teacher": float((ours * theirs).sum(axis=1).mean()),
        "EER %": 100 * equal_error_rate(*verification_scores(ours, voices)),
        "teacher's EER %": 100 * equal_error_rate(*verification_scores(theirs, voices)),
        "recordings": len(voices),
    }
