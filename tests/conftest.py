"""Sounds, stores and bundles that the tests make themselves: no recording and no download is needed."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RATE = 22050
DAY = 24 * 3600.0  # seconds


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips slow tests after the time in FASTVOICEGRAD_SLOW_UNTIL (seconds since 1970): CI has a limit."""
    until = os.environ.get("FASTVOICEGRAD_SLOW_UNTIL")
    if until and time.time() > float(until) and item.get_closest_marker("slow"):
        pytest.skip("no time is left for slow tests")


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Any]) -> Path:
    """A folder that `make` fills; the workers of pytest-xdist share it, so no test may change it.

    Only for fixtures that need PyTorch, which brings the package filelock.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        folder = factory.mktemp(name)
        make(folder)
        return folder
    from filelock import FileLock

    folder = factory.getbasetemp().parent / "shared" / name
    folder.parent.mkdir(exist_ok=True)
    done = folder.with_suffix(".done")
    with FileLock(folder.with_suffix(".lock")):
        if not done.exists():
            folder.mkdir()  # a folder without its mark is one whose making failed
            make(folder)
            done.touch()
    return folder


def exported_once(request: pytest.FixtureRequest, name: str, make: Callable[[Path], Any], key: str = "") -> Path:
    """`made_once` for exported networks, kept in the cache of pytest while the code is the same: exports take long."""
    kept = getattr(request.config, "cache", None)
    if kept is None:
        return made_once(request.getfixturevalue("tmp_path_factory"), name, make)
    from filelock import FileLock

    top = Path(kept.mkdir("exports"))
    folder, part = top / f"{name}-{code_digest()}{key}", top / f"{name}.part"
    with FileLock(top / f"{name}.lock"):
        if not folder.exists():
            for old in (part, *top.glob(f"{name}-*")):
                if old == part or time.time() - old.stat().st_mtime > DAY:  # another session may read a younger one
                    shutil.rmtree(old, ignore_errors=True)
            part.mkdir()
            make(part)
            part.rename(folder)
    return folder


@cache
def code_digest() -> str:
    """Of the package, the tiny networks, and the versions of what exports them."""
    root, whole = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted([*(root / "src").rglob("*.py"), *(root / "tests").glob("tiny*.py")]):
        whole.update(path.read_bytes())
    versions = [metadata.version(package) for package in ("torch", "onnx", "onnxscript", "numpy")]
    return hashlib.sha256(whole.digest() + repr(versions).encode()).hexdigest()[:16]


def vowels(seconds: float = 2.0, pitch: float = 140.0, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Something that speaks: a gliding pulse train through moving formants, in syllables. Shape (N,)."""
    random = np.random.default_rng(seed)
    n = int(seconds * rate)
    time = np.arange(n) / rate
    f0 = pitch * (1 + 0.15 * np.sin(2 * np.pi * 0.7 * time + seed))
    phase = np.cumsum(f0) / rate
    formants = [
        (500 + 250 * np.sin(2 * np.pi * 1.9 * time), 90),
        (1500 + 500 * np.sin(2 * np.pi * 1.3 * time), 130),
        (2600 + 100 * np.sin(2 * np.pi * 0.9 * time), 200),
    ]
    wave = np.zeros(n)
    for k in range(1, int(min(6000, rate / 2.2) // pitch)):
        frequency = k * f0
        gain = sum(1 / (1 + ((frequency - centre) / width) ** 2) for centre, width in formants) + 0.002
        wave += gain / np.sqrt(k) * np.sin(2 * np.pi * k * phase)
    syllables = np.clip(1.6 * np.abs(np.sin(2 * np.pi * 2.1 * time)) - 0.2, 0, 1)
    wave = wave * syllables + 0.001 * random.standard_normal(n)
    return (0.3 * wave / np.abs(wave).max()).astype(np.float32)


@pytest.fixture(scope="session")
def speech() -> np.ndarray:
    """2 s at 22,050 Hz."""
    return vowels()


@pytest.fixture(scope="session")
def speech_file(tmp_path_factory: pytest.TempPathFactory, speech: np.ndarray) -> Path:
    import soundfile

    path = tmp_path_factory.mktemp("speech") / "source.wav"
    soundfile.write(path, speech, RATE)
    return path


@pytest.fixture(scope="session")
def reference_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import soundfile

    path = tmp_path_factory.mktemp("reference") / "reference.flac"
    soundfile.write(path, vowels(3.0, pitch=210.0, rate=16000, seed=3), 16000)
    return path


@pytest.fixture(scope="session")
def recordings() -> Path:
    """A folder of real recordings with a manifest, for tests marked "speech"."""
    folder = os.environ.get("FASTVOICEGRAD_SPEECH")
    if not folder:
        pytest.skip("set FASTVOICEGRAD_SPEECH to a folder with manifest.jsonl")
    return Path(folder)


@pytest.fixture(scope="session")
def networks():  # type: ignore[no-untyped-def]
    """Tiny ones, see tiny.py; needs PyTorch."""
    pytest.importorskip("torch")
    from tests.tiny import make_networks

    return make_networks()


@pytest.fixture(scope="session")
def folder(request: pytest.FixtureRequest, networks) -> Path:  # type: ignore[no-untyped-def]
    """A bundle of the tiny networks: a teacher's."""
    from tests.tiny import make_bundle

    return exported_once(request, "bundle", lambda path: make_bundle(path, networks))


@pytest.fixture(scope="session")
def stream_networks():  # type: ignore[no-untyped-def]
    """See tiny_stream.py; needs PyTorch."""
    pytest.importorskip("torch")
    from tests.tiny_stream import make_stream_networks

    return make_stream_networks()


@pytest.fixture(scope="session")
def stream_folder(request: pytest.FixtureRequest, converter: Any, stream_networks: Any) -> Path:
    """A stream bundle of tiny networks for voices of the default bundle."""
    from tests.tiny_stream import make_stream_bundle

    encoder = converter.bundle.fingerprint
    return exported_once(request, "stream", lambda path: make_stream_bundle(path, encoder, stream_networks), encoder)


@pytest.fixture(scope="session")
def voices(converter: Any) -> list[Any]:
    """Two voices of the default bundle: a high one and a low one."""
    return [converter.voice_of(vowels(3.0, pitch, seed=seed), 22050) for seed, pitch in ((1, 210.0), (2, 90.0))]


@pytest.fixture(scope="session")
def converter():  # type: ignore[no-untyped-def]
    """The default bundle, opened."""
    from fastvoicegrad import VoiceConverter

    return VoiceConverter.load()


@pytest.fixture(scope="session")
def voice(converter, reference_file: Path):  # type: ignore[no-untyped-def]
    return converter.voice([reference_file])


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny feature store with every array, of synthetic voices."""
    pytest.importorskip("torch")
    return made_once(tmp_path_factory, "store", make_store)


def make_store(root: Path) -> None:
    from fastvoicegrad.mel import log_mel
    from fastvoicegrad.training.data.corpus import Recording
    from fastvoicegrad.training.data.store import Entry, write_index

    random = np.random.default_rng(0)
    entries, mels, waves, start = [], [], [], 0
    for index in range(12):
        wave = vowels(2.5, pitch=100 + 15 * (index % 6), seed=index)
        mel = log_mel(wave).T
        split = "valid" if index in (4, 5, 10, 11) else "train"
        recording = Recording(f"r{index}", f"r{index}.wav", "made", split, 2.5, 22050, f"v{index % 6}")
        entries.append(Entry(recording, start, len(mel)))
        mels.append(mel)
        waves.append(wave[: len(mel) * 256])
        start += len(mel)
    write_index(root, entries)
    teacher = random.standard_normal((6, 192))[np.arange(12) % 6]
    arrays = {
        "mel": np.concatenate(mels).astype(np.float16),
        "wave": (np.concatenate(waves) * 32767).astype(np.int16),
        "pitch": np.full(start, 120, np.float16),
        "content_teacher": random.standard_normal((start, 5)).astype(np.float16),
        "units": random.integers(0, 16, start).astype(np.int16),
        "speaker_teacher": (teacher / np.linalg.norm(teacher, axis=1, keepdims=True)).astype(np.float32),
        "speaker": (teacher / np.linalg.norm(teacher, axis=1, keepdims=True)).astype(np.float32),
        "content": random.standard_normal((start, 144)).astype(np.float16),
        "content_unperturbed": random.standard_normal((start, 144)).astype(np.float16),
    }
    for name, array in arrays.items():
        np.save(root / f"{name}.npy", array)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Path:
    """Every part trained for four steps."""
    pytest.importorskip("torch")
    from fastvoicegrad.training.tasks.registry import PARTS
    from tests.training.tasks.tiny_runs import trainer

    def make(root: Path) -> None:
        for part in PARTS:
            scores = trainer(store, root, part).run()
            assert scores
            assert all(value == value for value in scores.values()), f"{part}: {scores}"

    return made_once(tmp_path_factory, "runs", make)
