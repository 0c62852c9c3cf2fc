"""From a manifest to a feature store, one stage for each array.

A stage whose array exists is skipped. Where a stage was killed, the recordings that are done are kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import soundfile
import soxr
from rich.progress import track

from ...audio.level import TARGET_LEVEL, speech_level
from ...errors import InputError
from ...files import shown
from ...mel import MEL, log_mel
from ..alone import alone
from .corpus import Recording, limit_per_voice, read_manifest
from .filling import File, Shape, dated, fill
from .store import JOURNAL, Entry, Store, create, finish, write_index

SHORTEST = 32  # frames of a recording
MOST_LENGTHENED = 0.05  # seconds by which a manifest may state another length of the same recording


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
    jobs: int = 1  # processes at once


def load(recording: Recording, rate: int) -> np.ndarray:
    """The recording at `rate` Hz, mono, at the common speech level, shape ``(N,)``."""
    with _readable(recording):
        wave, original = soundfile.read(recording.path, dtype="float32")
    if wave.ndim > 1:
        wave = wave.mean(axis=1)
    wave = soxr.resample(wave, original, rate)
    return np.asarray(wave * (TARGET_LEVEL / max(speech_level(wave), 1e-6)), dtype=np.float32)


@contextmanager
def _readable(recording: Recording) -> Iterator[None]:
    try:
        yield
    except soundfile.SoundFileError as error:
        raise InputError(
            f"{shown(recording.path)} of the recording {recording.id} cannot be read; repair or remove its line"
        ) from error


def frame_times(frames: int) -> np.ndarray:
    """Middle of each mel frame in seconds."""
    return (np.arange(frames) + 0.5) * MEL.hop_length / MEL.sample_rate


def prepare_index(config: PrepareConfig) -> None:
    """Stage "index": the recordings and the place of each in the arrays. The split "test" is left out."""
    entries: list[Entry] = []
    start = 0
    for recording in track(_chosen(config), "index"):
        frames = _frames(recording)
        if frames >= SHORTEST:
            entries.append(Entry(recording, start, frames))
            start += frames
    if not entries:
        raise InputError(f"{config.manifest} names no recording of the splits train and valid that is long enough")
    write_index(Path(config.store), entries)


def _chosen(config: PrepareConfig) -> list[Recording]:
    """The recordings of the manifest that a store may hold."""
    recordings = [r for r in read_manifest(config.manifest) if r.split in ("train", "valid")]
    return limit_per_voice(recordings, config.limits)


def _frames(recording: Recording) -> int:
    with _readable(recording):
        info = soundfile.info(recording.path)
    return int(info.frames * MEL.sample_rate / info.samplerate) // MEL.hop_length


def _checked_index(config: PrepareConfig, store: Store) -> Store:
    """The store with the manifest's labels: splits, genders and languages may have changed.

    Raises:
        InputError: the store was made of other recordings than the manifest has now.
    """
    held, chosen = {entry.recording.id for entry in store.entries}, {r.id: r for r in _chosen(config)}
    added = any(_frames(recording) >= SHORTEST for name, recording in chosen.items() if name not in held)
    if added or held - chosen.keys() or any(_is_another(e.recording, chosen[e.recording.id]) for e in store.entries):
        raise InputError(
            f"{config.store} holds other recordings than {config.manifest} with these limits; "
            "name another store, or repeat the settings that it was made with"
        )
    entries = [replace(entry, recording=chosen[entry.recording.id]) for entry in store.entries]
    if entries == store.entries:
        return store
    write_index(store.root, entries)
    return Store(config.store)


def _is_another(known: Recording, now: Recording) -> bool:
    """Whether a recording is no longer the one that was prepared. Arrays of a store depend on voices and texts."""
    labels = (known.voice, known.corpus, known.text) != (now.voice, now.corpus, now.text)
    return labels or abs(known.duration - now.duration) > MOST_LENGTHENED


def prepare_mel(config: PrepareConfig, store: Store) -> None:
    """Stage "mel": mel.npy and wave.npy."""
    shapes = {"mel": Shape("frames", (MEL.n_mels,), np.float16), "wave": Shape("samples", (), np.int16)}
    arrays = fill(store, shapes, mel_and_wave, jobs=config.jobs)
    finish(store.root / "wave.npy", arrays["wave"])
    finish(store.root / "mel.npy", arrays["mel"])


def mel_and_wave(_: int, entry: Entry) -> tuple[np.ndarray, np.ndarray]:
    """Log-mel (T, 80) and samples (256 T,) of a recording."""
    samples, count = load(entry.recording, MEL.sample_rate), entry.frames * MEL.hop_length
    samples = np.pad(samples, (0, max(0, count - len(samples))))
    wave = np.clip(samples[:count] * 32767, -32768, 32767).astype(np.int16)
    return log_mel(samples)[:, : entry.frames].T, wave


def prepare_pitch(config: PrepareConfig, store: Store) -> None:
    """Stage "pitch": F0 from the waveform."""
    arrays = fill(store, {"pitch": Shape("frames", (), np.float16)}, pitch_of, jobs=config.jobs)
    finish(store.root / "pitch.npy", arrays["pitch"])


def pitch_of(_: int, entry: Entry) -> tuple[np.ndarray]:
    """F0 (T,) of a recording."""
    from .teachers import TEACHER_RATE, pitch

    return (pitch(load(entry.recording, TEACHER_RATE), frame_times(entry.frames)),)


def content_features(_: int, entry: Entry, weights: File, layer: int) -> tuple[np.ndarray]:
    """The content teacher's features of a recording at the mel rate, (T, D), float16."""
    from .teachers import TEACHER_RATE, content_teacher

    teacher = content_teacher(weights, layer)
    wave, most = load(entry.recording, TEACHER_RATE), 30 * TEACHER_RATE  # that the teacher reads at once
    starts = range(0, max(1, len(wave) - TEACHER_RATE // 10), most)
    features = np.concatenate([teacher(wave[start : start + most]) for start in starts])
    index = np.rint(frame_times(entry.frames) * TEACHER_RATE / 320).astype(int)
    return (features[np.minimum(index, len(features) - 1)].astype(np.float16),)


def prepare_content_teacher(config: PrepareConfig, store: Store) -> None:
    """Stage "content-teacher": principal components of the content teacher's features, minus each voice's mean.

    That mean is voice, not content. Every feature has unit variance before the projection, so no single one dominates.
    The variance of all components together is 1.
    """
    from sklearn.decomposition import PCA

    given = dated(config.content_weights), config.content_layer
    width = content_features(0, store.entries[0], *given)[0].shape[1]
    if not 1 <= config.content_components <= width:  # before hours are spent on the features
        raise InputError(
            f"content_components is {config.content_components}, and the teacher has {width} features; set it to 1 to "
            f"{width} with --set content_components="
        )
    _check_frames(config, store, config.content_components, "content_components")
    shapes = {"features": Shape("frames", (width,), np.float16)}
    features = fill(store, shapes, content_features, *given, jobs=config.jobs)["features"]
    means = _voice_means(features, store)
    picks = _picks(store.total_frames, config.seed)
    sample = features[picks] - means[np.searchsorted([e.start for e in store.entries], picks, "right") - 1]
    scale = sample.std(0)
    pca = PCA(config.content_components, random_state=config.seed).fit(sample / scale)
    scale *= np.sqrt(pca.explained_variance_.sum())
    components = create(store.root / "content_teacher.npy", (store.total_frames, pca.n_components_), np.float16)
    for mean, entry in zip(means, track(store.entries, "principal components"), strict=True):
        components[entry.slice] = ((features[entry.slice] - mean) / scale) @ pca.components_.T
    finish(store.root / "content_teacher.npy", components)
    for leftover in (".part", JOURNAL):
        (store.root / "features").with_suffix(leftover).unlink()


def prepare_units(config: PrepareConfig, store: Store) -> None:
    """Stage "units": k-means classes of the stage before."""
    from sklearn.cluster import MiniBatchKMeans

    _check_frames(config, store, config.units, "units")
    features = store.array("content_teacher")
    kmeans = MiniBatchKMeans(config.units, batch_size=8192, max_iter=20, n_init=1, random_state=config.seed)
    kmeans.fit(features[_picks(store.total_frames, config.seed)].astype(np.float32))
    units = create(store.root / "units.npy", (store.total_frames,), np.int16)
    for block in track(_blocks(store.total_frames), "units"):
        units[block] = kmeans.predict(np.asarray(features[block], dtype=np.float32))
    finish(store.root / "units.npy", units)


def _check_frames(config: PrepareConfig, store: Store, least: int, setting: str) -> None:
    """Raises InputError where a store has too few frames for a setting."""
    if store.total_frames < least:
        raise InputError(
            f"{config.store} has {store.total_frames} frames, and {setting} needs {least}; give more recordings, or "
            f"lower it with --set {setting}="
        )


def _picks(total: int, seed: int, count: int = 250_000) -> np.ndarray:
    """Numbers of random frames, `count` at most, rising."""
    return np.sort(np.random.default_rng(seed).choice(total, min(count, total), replace=False))


def _blocks(total: int, length: int = 65536) -> list[slice]:
    return [slice(first, first + length) for first in range(0, total, length)]


def _voice_means(features: np.ndarray, store: Store) -> np.ndarray:
    """For each recording the mean of its voice's features (F, D): (R, D), float32."""
    means = np.stack([features[e.slice].mean(0, dtype=np.float32) for e in track(store.entries, "voice means")])
    of_voice = defaultdict[str, list[int]](list)
    for number, entry in enumerate(store.entries):
        of_voice[entry.recording.voice].append(number)
    for numbers in of_voice.values():
        means[numbers] = means[numbers].mean(0)
    return means


def prepare_speaker(config: PrepareConfig, store: Store) -> None:
    """Stage "speaker": the speaker teacher's embeddings of some recordings of each voice."""
    chosen = {r.id for r in _spread(store, config.speaker_recordings)}
    numbers = [number for number, entry in enumerate(store.entries) if entry.recording.id in chosen]
    shapes, given = {"speaker_teacher": Shape("recordings", (192,), np.float32)}, (dated(config.speaker_weights),)
    arrays = fill(store, shapes, speaker_of, *given, config.speaker_seconds, jobs=config.jobs, only=numbers)
    arrays["speaker_teacher"][np.setdiff1d(np.arange(len(store.entries)), numbers)] = np.nan
    finish(store.root / "speaker_teacher.npy", arrays["speaker_teacher"])


def speaker_of(_: int, entry: Entry, weights: File, seconds: float) -> tuple[np.ndarray]:
    """The speaker teacher's embedding of a recording, (192,)."""
    from .teachers import TEACHER_RATE, speaker_teacher

    return (speaker_teacher(weights)(load(entry.recording, TEACHER_RATE)[: int(seconds * TEACHER_RATE)]),)


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
    Raises:
        InputError: recordings, weights or settings cannot be used, or another run works in the store.
    """
    with alone(Path(config.store)):
        return _prepared(config, stages)


def _prepared(config: PrepareConfig, stages: list[str]) -> Store:
    if not (Path(config.store) / "index.jsonl").exists():
        prepare_index(config)
        store = Store(config.store)
    else:
        store = _checked_index(config, Store(config.store))
    for stage in stages:
        array, run = STAGES[stage]
        if not store.has(array):
            run(config, store)
    return store
