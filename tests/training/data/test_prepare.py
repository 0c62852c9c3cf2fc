from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch")
pytest.importorskip("swift_f0")

from fastvoicegrad import InputError
from fastvoicegrad.audio.level import TARGET_LEVEL, speech_level
from fastvoicegrad.files import new_folder
from fastvoicegrad.mel import log_mel
from fastvoicegrad.training.data import teachers
from fastvoicegrad.training.data.prepare import PrepareConfig, frame_times, load, prepare
from fastvoicegrad.training.data.store import Store
from tests.conftest import vowels


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rows = []
    for index, (split, rate) in enumerate([("train", 16000), ("valid", 48000), ("test", 48000), ("train", 48000)]):
        name = f"{index}.flac"
        soundfile.write(tmp_path / name, 0.3 * vowels(1.5, pitch=120 + 20 * index, rate=rate), rate)
        rows.append(
            {
                "id": name,
                "path": name,
                "corpus": "made",
                "split": split,
                "duration": 1.5,
                "sample_rate": rate,
                "speaker": str(index),
            }
        )
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "manifest.jsonl"


def test_mels_waves_and_pitch_stand_in_their_places(manifest: Path, tmp_path: Path) -> None:
    store = prepare(PrepareConfig(str(manifest), str(tmp_path / "store")), ["mel", "pitch"])
    assert [e.recording.split for e in store.entries] == ["train", "valid", "train"]  # test voices never enter
    for entry in store.entries:
        wave = load(entry.recording, 22050)
        assert speech_level(wave) == pytest.approx(TARGET_LEVEL, rel=0.05)
        np.testing.assert_allclose(store.array("mel")[entry.slice], log_mel(wave)[:, : entry.frames].T, atol=0.01)
        samples = store.array("wave")[entry.start * 256 : (entry.start + entry.frames) * 256]
        np.testing.assert_allclose(samples / 32767, np.pad(wave, (0, 256))[: len(samples)], atol=1e-4)
        voiced = store.array("pitch")[entry.slice]
        voiced = voiced[voiced > 0].astype(np.float32)
        expected = 120 + 20 * int(entry.recording.voice)
        assert len(voiced) > entry.frames / 3
        assert abs(np.median(voiced) / expected - 1) < 0.2


def test_a_finished_stage_is_skipped(manifest: Path, tmp_path: Path) -> None:
    config = PrepareConfig(str(manifest), str(tmp_path / "store"))
    prepare(config, ["mel"])
    before = (tmp_path / "store" / "mel.npy").stat().st_mtime_ns
    prepare(config, ["mel"])
    assert (tmp_path / "store" / "mel.npy").stat().st_mtime_ns == before
    assert not list((tmp_path / "store").glob("*.part"))


def test_a_store_of_other_recordings_is_refused(manifest: Path, tmp_path: Path) -> None:
    config = PrepareConfig(str(manifest), str(tmp_path / "store"))
    prepare(config, [])
    rows = manifest.read_text().splitlines()
    added = json.dumps(json.loads(rows[0]) | {"id": "more"})
    for changed in ([*rows, added], rows[1:]):
        manifest.write_text("\n".join(changed))
        with pytest.raises(InputError, match="holds other recordings than"):
            prepare(config, [])


def test_labels_are_those_of_the_manifest(manifest: Path, tmp_path: Path) -> None:
    """Splits may change after the sounds were prepared. A recording of another length or voice is another one."""
    config = PrepareConfig(str(manifest), str(tmp_path / "store"))
    before = prepare(config, ["mel"])
    rows = [json.loads(row) for row in manifest.read_text().splitlines()]
    moved = {"train": "valid", "valid": "train"}
    rows = [row | {"split": moved.get(row["split"], row["split"]), "language": "fr"} for row in rows]
    manifest.write_text("\n".join(map(json.dumps, rows)))
    after = prepare(config, ["mel"])
    assert [entry.recording.split for entry in after.entries] == [moved[e.recording.split] for e in before.entries]
    assert {entry.recording.language for entry in after.entries} == {"fr"}
    assert [entry.slice for entry in after.entries] == [entry.slice for entry in before.entries]
    for changed in ({"duration": 100.0}, {"speaker": "another"}, {"text": "other words"}):
        manifest.write_text("\n".join(json.dumps(row | changed) for row in rows))
        with pytest.raises(InputError, match="holds other recordings than"):
            prepare(config, [])


def test_a_recording_that_cannot_be_read_is_named(manifest: Path, tmp_path: Path) -> None:
    config = PrepareConfig(str(manifest), str(tmp_path / "store"))
    prepare(config, [])
    (tmp_path / "3.flac").write_text("no sound")
    with pytest.raises(InputError, match=r"of the recording 3\.flac cannot be read"):
        prepare(config, ["mel"])
    (tmp_path / "3.flac").unlink()
    with pytest.raises(InputError, match=r"of the recording 3\.flac cannot be read"):
        prepare(PrepareConfig(str(manifest), str(tmp_path / "other")), [])
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file cannot be made a folder"):
        new_folder(tmp_path / "file")


def test_pitch_is_that_of_the_nearest_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    found = SimpleNamespace(
        timestamps=[0.0, 0.016, 0.032], confidence=np.ones(3), pitch_hz=np.array([100.0, 200.0, 300.0])
    )
    detector = SimpleNamespace(detect=lambda wave, rate: found)
    monkeypatch.setattr(teachers, "_pitch_detector", lambda: detector)
    times = np.array([0.0, 0.007, 0.009, 0.02, 0.5])
    np.testing.assert_array_equal(teachers.pitch(np.zeros(1), times), [100, 100, 200, 200, 300])


def test_a_missing_stage_is_named(manifest: Path, tmp_path: Path) -> None:
    store = prepare(PrepareConfig(str(manifest), str(tmp_path / "store")), [])
    with pytest.raises(InputError, match="fastvoicegrad dev prepare"):
        store.array("units")
    with pytest.raises(InputError, match="not a feature store"):
        Store(tmp_path / "nowhere")


def test_frame_times_are_the_middles_of_hops() -> None:
    assert frame_times(2).tolist() == [128 / 22050, 384 / 22050]


def test_command(manifest: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fastvoicegrad", "dev", "prepare", str(manifest), "-o", str(tmp_path / "s")]
    command += ["--stage", "mel"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert Store(tmp_path / "s").has("mel")


class FakeTeacher:
    """In place of Whisper: 12 features, each a linear function of the wave's recent samples, 50 frames/s."""

    def __init__(self, weights: str, layer: int) -> None:
        self.map = np.random.default_rng(0).standard_normal((320, 12))

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        return np.asarray(wave[: len(wave) // 320 * 320].reshape(-1, 320) @ self.map * np.geomspace(1, 30, 12) + 5)


def test_content_features_have_unit_variance_and_no_voice_mean(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastvoicegrad.training.data.teachers.ContentTeacher", FakeTeacher)
    config = PrepareConfig(str(manifest), str(tmp_path / "store"), content_components=4, units=6)
    store = prepare(config, ["content-teacher", "units"])
    features = store.array("content_teacher").astype(np.float32)
    assert features.shape == (store.total_frames, 4)
    assert features.var(0).sum() == pytest.approx(1, rel=0.02)
    assert (np.diff(features.var(0)) < 0).all()  # principal components, the largest first
    for entry in store.entries:  # each is one voice
        np.testing.assert_allclose(features[entry.slice].mean(0), 0, atol=0.02)
    units = store.array("units")
    assert set(np.unique(units)) <= set(range(6))
    centres = np.array([features[units == unit].mean(0) for unit in np.unique(units)])
    nearest = np.linalg.norm(features[:, None] - centres, axis=2).argmin(1)
    assert (np.unique(units)[nearest] == units).mean() > 0.9
    (tmp_path / "store" / "units.npy").unlink()
    with pytest.raises(InputError, match="units needs 100000; give more recordings, or lower it with --set units="):
        prepare(replace(config, units=100_000), ["units"])
    assert not list((tmp_path / "store").glob("*.part"))


@pytest.mark.parametrize("components", [0, 13])
def test_components_are_counted_before_the_features_are_computed(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, components: int
) -> None:
    monkeypatch.setattr("fastvoicegrad.training.data.teachers.ContentTeacher", FakeTeacher)
    config = PrepareConfig(str(manifest), str(tmp_path / "store"), content_components=components)
    with pytest.raises(InputError, match=f"content_components is {components}, .* 12 features; set it to 1 to 12 with"):
        prepare(config, ["content-teacher"])
    assert not list((tmp_path / "store").glob("features*"))
