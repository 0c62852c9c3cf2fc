"""The table of losses: retrieval in NumPy, stages of a conversion, and the command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

from fastvoicegrad import InputError
from fastvoicegrad.bundle import Bundle
from fastvoicegrad.evaluation.diagnose import ROWS, diagnose
from fastvoicegrad.evaluation.intermediate import (
    ConvertedEnvelope,
    PlainConversion,
    RecordedEnvelope,
    Retrieval,
    RetrievedMel,
    with_envelope_of,
)
from fastvoicegrad.evaluation.pairs import Pair, read_pairs, to_self_pairs
from fastvoicegrad.mel import lowpass_projection
from fastvoicegrad.postfilter import PostFilter


@pytest.fixture
def pair(pairs: Path) -> Pair:
    return to_self_pairs(read_pairs(pairs))[0]


def test_retrieval_equals_that_of_the_network(folder: Path, networks) -> None:  # type: ignore[no-untyped-def]
    import torch

    unet = networks[3]
    random = np.random.default_rng(0)
    content, keys = (random.standard_normal((unet.config.content_dim, n)).astype(np.float32) for n in (12, 30))
    values = random.standard_normal((80, 30)).astype(np.float32)
    retrieval = Retrieval.of_bundle(Bundle.open(folder))
    assert retrieval.temperature == unet.config.retrieval_temperature
    with torch.no_grad():
        expected = unet.retrieval(*(torch.from_numpy(x)[None] for x in (content, keys, values)))[0].numpy()
    np.testing.assert_allclose(retrieval(content, keys, values), expected, atol=1e-4)


def test_retrieval_reads_the_default_bundle() -> None:
    bundle = Bundle.open()
    if not bundle.config.retrieval:
        pytest.skip("the default bundle has no retrieval")
    retrieval = Retrieval.of_bundle(bundle)
    assert retrieval.temperature > 0
    assert retrieval.mean.shape == retrieval.std.shape
    assert retrieval.mean.shape[1] == 1
    assert (retrieval.std > 0).all()


def test_a_bundle_without_retrieval_is_refused(folder: Path) -> None:
    bundle = Bundle.open(folder)
    content = bundle.graph("content")
    bundle.graph = lambda name: content  # type: ignore[method-assign]
    with pytest.raises(InputError, match="retrieves no mel"):
        Retrieval.of_bundle(bundle)


def test_a_mel_has_the_envelope_of_one_and_the_fine_structure_of_another() -> None:
    random = np.random.default_rng(0)
    a, b = (random.standard_normal((80, 5)).astype(np.float32) for _ in range(2))
    mixed, lowpass = with_envelope_of(a, b), lowpass_projection(20)
    np.testing.assert_allclose(with_envelope_of(a, a), a, atol=1e-5)
    np.testing.assert_allclose(lowpass @ mixed, lowpass @ a, atol=1e-5)
    np.testing.assert_allclose(mixed - lowpass @ mixed, b - lowpass @ b, atol=1e-5)


def test_a_plain_conversion_has_no_guidance_and_no_post_filter(folder: Path, pair: Pair) -> None:
    """Its stages, rendered, are the conversion of a bundle with these settings."""
    system = PlainConversion(str(folder))
    bundle = system.converter.bundle
    assert (bundle.config.guidance, bundle.config.postfilter) == (0.0, PostFilter())
    assert Bundle.open(folder).config == replace(
        bundle.config, guidance=0.5, postfilter=PostFilter(0.1, 1.2, True)
    )  # and nothing else differs

    class Whole(ConvertedEnvelope):
        def select(self, stages, target):  # type: ignore[no-untyped-def]
            return stages.converted, stages.pitch

    ours, direct = Whole(str(folder))(pair), system(pair)
    assert ours.shape == direct.shape
    np.testing.assert_allclose(ours, direct, atol=1e-3)


@pytest.mark.parametrize("kind", [RetrievedMel, ConvertedEnvelope, RecordedEnvelope])
def test_every_stage_renders_the_whole_source(kind: type[PlainConversion], folder: Path, pair: Pair) -> None:
    wave = kind(str(folder))(pair)
    assert np.isfinite(wave).all()
    assert len(wave) == len(PlainConversion(str(folder))(pair))
    assert np.abs(wave).max() > 0.01
    assert kind(str(folder)).key != PlainConversion(str(folder)).key


@pytest.mark.slow
@pytest.mark.usefixtures("one_process")
def test_the_table_has_a_row_for_every_stage(folder: Path, two_pairs: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    table = diagnose(two_pairs, tmp_path / "out", tmp_path, str(folder), jobs=1).read_text()
    for row in ROWS:
        assert f"| {row} |" in table
    assert (tmp_path / "out" / "report.html").exists()
    assert all(pair.is_self for pair in read_pairs(tmp_path / "out" / "pairs.jsonl"))
