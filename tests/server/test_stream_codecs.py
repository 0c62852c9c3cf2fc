"""Messages of streams: what is encoded decodes to itself, a stated time later."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("fastapi")

from fastvoicegrad.errors import InputError
from fastvoicegrad.server.stream_codecs import MOST_BYTES, OPUS_PACKET, OPUS_RATE, Opus, Pcm
from tests.conftest import vowels


def test_samples_decode_to_themselves() -> None:
    wave = vowels(0.1)
    (message,) = Pcm().encode(wave)
    assert len(message) == 2 * len(wave)
    np.testing.assert_allclose(Pcm().decode(message), wave, atol=1e-4)


@pytest.mark.parametrize("data", [b"x", bytes(MOST_BYTES + 2)])
def test_wrong_samples_are_refused(data: bytes) -> None:
    with pytest.raises(InputError, match="send 16-bit samples"):
        Pcm().decode(data)


@pytest.mark.parametrize("block", [960, 480, 1234])
def test_packets_decode_to_the_sound_after_the_stated_latency(block: int) -> None:
    pytest.importorskip("av")
    wave, sender, receiver = vowels(0.7, rate=OPUS_RATE), Opus(), Opus()
    blocks = [wave[start : start + block] for start in range(0, len(wave), block)]
    packets = [packet for part in blocks for packet in sender.encode(part)]
    assert len(packets) == len(wave) // OPUS_PACKET
    result = np.concatenate([receiver.decode(packet) for packet in packets + sender.flush()])[sender.latency :]
    assert 0 <= len(result) - len(wave) < OPUS_PACKET
    assert np.corrcoef(result[: len(wave)], wave)[0, 1] > 0.99


@pytest.mark.parametrize("data", [b"", b"\xff" * 50, bytes(1 << 13)])
def test_wrong_packets_are_refused(data: bytes) -> None:
    pytest.importorskip("av")
    with pytest.raises(InputError, match="send one packet of Opus"):
        Opus().decode(data)
