"""The strength of an adapter: the largest one that leaves conversions natural."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from fastvoicegrad import VoiceConverter
from fastvoicegrad.training.adapt import strength
from fastvoicegrad.training.adapt.shipped import shipped_speech


@pytest.mark.parametrize(("lost", "expected"), [(0.0, 0.5), (0.15, 0.3), (9.0, 0.1)])
def test_the_strongest_natural_adapter_is_taken(
    bundle: Path, reference_file: Path, monkeypatch: pytest.MonkeyPatch, lost: float, expected: float
) -> None:
    """Naturalness falls by `lost` at full strength, evenly."""
    converter = VoiceConverter.load(bundle)
    voice = converter.voice(reference_file)
    sources = shipped_speech(converter).held[:1]
    tried, notes = list[float](), list[str]()

    def weakened(at: float) -> np.ndarray:
        tried.append(at)
        return np.zeros(converter.bundle.config.adapter, np.float32)

    def scores(session: Any, wave: np.ndarray) -> tuple[float, float, float]:
        return 0.0, 0.0, 3.0 - (lost * tried[-1] if tried else 0.0)

    monkeypatch.setattr(strength, "dnsmos_scores", scores)
    found, adapted = strength.strongest(converter, voice, weakened, sources, notes.append)
    assert found == pytest.approx(expected)
    assert adapted.adapter is not None
    assert tried == sorted(tried, reverse=True)
    assert bool(notes) == (lost == 9.0)
