"""From a manifest to a feature store, one stage for each array. A stage whose array exists is skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
import soxr
from rich.progress import track

from ...audio.level import TARGET_LEVEL, speech_level
from ...mel import MEL, log_mel
from .corpus import Recording, limit_per_voice, read_manifest
from .store import Entry, Store, create, finish, write_index


@dataclass(frozen=True)
class PrepareConfig:
    """Which recordings of a manifest to use, and the pretrained teachers."""

    manifest: str
    store: str
    limits: dict[str, int] = field(default_factory=dict)  # largest number of recordings per voice, by corpus
    content_weights: str = "tiny.en"  # Whisper: path of a checkpoint, or a name that `whisper` knows
    content_layer: int = 3  # transformer blocks before the features
    content_components: int = 96  # principal components of the features that the store keeps
    units: int = 512  # k-means classes
    speaker_weights: str = ""  # path of CAM++'s checkpoint
    speaker_recordings: int = 8  # recordings per voice that get a speaker teacher's embedding
    speaker_seconds: float = 6.0  # length of each that it reads
    seed: int = 0


def load(recording: Recording, rate: int) -> np.ndarray:
    """The recording at `rate` Hz, mono, at the common speech level, shape ``(N,)``."""
    wave, original = soundfile.read(recording.path, dtype="float32")
    if wave.ndim > 1:
        wave = wave.mean(axis=1)
    wave = soxr.resample(wave, original, rate)
    return np.asarray(wave * (TARGET_LEVEL / max(speech_level(wave), 1e-6)), dtype=np.float32)


def frame_times(frames: int) -> np.ndarray:
    """Middle of each mel frame in seconds."""
    return (np.arange(frames) + 0.5) * MEL.hop_length / MEL.sample_rate


def prepare_index(config: PrepareConfig) -> None:
    """Stage "index": the recordings and the place of each in the arrays. The split "test" is left out."""
    recordings = [r for r in read_manifest(config.manifest) if r.split in ("train", "valid")]
    entries: list[Entry] = []
    start = 0
    for recording in track(limit_per_voice(recordings, config.limits), "index"):
        info = soundfile.info(recording.path)
        frames = int(info.frames * MEL.sample_rate / info.samplerate) // MEL.hop_length
        if frames >= 32:
            entries.append(Entry(recording, start, frames))
            start += frames
    write_index(Path(config.store), entries)


def prepare_mel(config: PrepareConfig, store: Store) -> None:
    """Stage "mel": mel.npy and wave.npy."""
    mel = create(store.root / "mel.npy", (store.total_frames, MEL.n_mels), np.float16)
    wave = create(store.root / "wave.npy", (store.total_frames * MEL.hop_length,), np.int16)
    for entry in track(store.entries, "mel"):
        samples = load(entry.recording, MEL.sample_rate)
        samples = np.pad(samples, (0, max(0, entry.frames * MEL.hop_length - len(samples))))
        mel[entry.slice] = log_mel(samples)[:, : entry.frames].T
        first, count = entry.start * MEL.hop_length, entry.frames * MEL.hop_length
        wave[first : first + count] = np.clip(samples[:count] * 32767, -32768, 32767).astype(np.int16)
    finish(store.root / "wave.npy", wave)
    finish(store.root / "mel.npy", mel)


def prepare_pitch(config: PrepareConfig, store: Store) -> None:
    """Stage "pitch": F0 from the waveform."""
    from .teachers import TEACHER_RATE, pitch

    f0 = create(store.root / "pitch.npy", (store.total_frames,), np.float16)
    for entry in track(store.entries, "pitch"):
        f0[entry.slice] = pitch(load(entry.recording, TEACHER_RATE), frame_times(entry.frames))
    finish(store.root / "pitch.npy", f0)


def teacher_features(config: PrepareConfig, entries: list[Entry]) -> Iterator[tuple[Entry, np.ndarray]]:
    """The content teacher's features of each recording at the mel rate, ``(frames, D)``."""
    from .teachers import TEACHER_RATE, ContentTeacher

    teacher = ContentTeacher(config.content_weights, config.content_layer)
    for entry in entries:
        wave, most = load(entry.recording, TEACHER_RATE), 30 * TEACHER_RATE  # that the teacher reads at once
        starts = range(0, max(1, len(wave) - TEACHER_RATE // 10), most)
        features = np.concatenate([teacher(wave[start : start + most]) for start in starts])
        index = np.rint(frame_times(entry.frames) * TEACHER_RATE / 320).astype(int)
        yield entry, features[np.minimum(index, len(features) - 1)]


def prepare_content_teacher(config: PrepareConfig, store: Store) -> None:
    """Stage "content-teacher": principal components of the content teacher's features, minus each voice's mean.

    That mean is voice, not content. Every feature has unit variance before the projection, so no single one dominates.
    The variance of all components together is 1.
    """
    from sklearn.decomposition import PCA

    path = store.root / "features.npy"
    features = create(path, (store.total_frames, _content_width(config, store)), np.float16)
    for entry, values in track(teacher_features(config, store.entries), "content teacher", total=len(store.entries)):
        features[entry.slice] = values
    _remove_voice_means(features, store)
    sample = _sample(features, config.seed)
    scale = sample.std(0)
    pca = PCA(config.content_components, random_state=config.seed).fit(sample / scale)
    scale *= np.sqrt(pca.explained_variance_.sum())
    components = create(store.root / "content_teacher.npy", (store.total_frames, pca.n_components_), np.float16)
    for block in track(_blocks(store.total_frames), "principal components"):
        components[block] = (features[block].astype(np.float32) / scale) @ pca.components_.T
    finish(store.root / "content_teacher.npy", components)
    path.with_suffix(".part").unlink()


def prepare_units(config: PrepareConfig, store: Store) -> None:
    """Stage "units": k-means classes of the stage before."""
    from sklearn.cluster import MiniBatchKMeans

    features = store.array("content_teacher")
    kmeans = MiniBatchKMeans(config.units, batch_size=8192, max_iter=20, n_init=1, random_state=config.seed)
    kmeans.fit(_sample(features, config.seed))
    units = create(store.root / "units.npy", (store.total_frames,), np.int16)
    for block in track(_blocks(store.total_frames), "units"):
        units[block] = kmeans.predict(np.asarray(features[block], dtype=np.float32))
    finish(store.root / "units.npy", units)


def _sample(features: np.ndarray, seed: int, count: int = 250_000) -> np.ndarray:
    """Random frames of an array (F, D): (`count`, D) at most, float32."""
    total = len(features)
    picks = np.random.default_rng(seed).choice(total, min(count, total), replace=False)
    return np.asarray(features[np.sort(picks)], dtype=np.float32)


def _blocks(total: int, length: int = 65536) -> list[slice]:
    return [slice(first, first + length) for first in range(0, total, length)]


def _remove_voice_means(features: np.ndarray, store: Store) -> None:
    """Subtract from each recording's features (F, D) the mean of its voice, in place."""
    by_voice: dict[str, list[Entry]] = {}
    for entry in store.entries:
        by_voice.setdefault(entry.recording.voice, []).append(entry)
    for entries in track(list(by_voice.values()), "voice means"):
        mean = np.mean([features[e.slice].mean(axis=0, dtype=np.float32) for e in entries], axis=0)
        for entry in entries:
            features[entry.slice] -= mean.astype(np.float16)


def _content_width(config: PrepareConfig, store: Store) -> int:
    return int(next(teacher_features(config, store.entries[:1]))[1].shape[1])


def prepare_speaker(config: PrepareConfig, store: Store) -> None:
    """Stage "speaker": the speaker teacher's embeddings of some recordings of each voice."""
    from .teachers import TEACHER_RATE, SpeakerTeacher

    teacher = SpeakerTeacher(config.speaker_weights)
    chosen = {r.id for r in _spread(store, config.speaker_recordings)}
    embeddings = create(store.root / "speaker_teacher.npy", (len(store.entries), 192), np.float32)
    embeddings[:] = np.nan
    for row, entry in enumerate(track(store.entries, "speaker teacher")):
        if entry.recording.id in chosen:
            wave = load(entry.recording, TEACHER_RATE)
            embeddings[row] = teacher(wave[: int(config.speaker_seconds * TEACHER_RATE)])
    finish(store.root / "speaker_teacher.npy", embeddings)


def _spread(store: Store, per_voice: int) -> list[Recording]:
    recordings = [e.recording for e in store.entries]
    corpora = {r.corpus for r in recordings}
    return limit_per_voice(recordings, dict.fromkeys(corpora, per_voice))


STAGES: dict[str, tuple[str, Callable[[PrepareConfig, Store], None]]] = {
    "mel": ("mel", prepare_mel),
    "pitch": ("pitch", prepare_pitch),
    "content-teacher": ("content_teacher", prepare_content_teacher),
    "units": ("units", prepare_units),
    "speaker": ("speaker_teacher", prepare_speaker),
}


def prepare(config: PrepareConfig, stages: list[str]) -> Store:
    """Run the stages whose array does not exist yet, and open the store.

    Args:
        stages: names of `STAGES`.
    """
    if not (Path(config.store) / "index.jsonl").exists():
        prepare_index(config)
    store = Store(config.store)
    for stage in stages:
        array, run = STAGES[stage]
        if not store.has(array):
            run(config, store)
    return store
