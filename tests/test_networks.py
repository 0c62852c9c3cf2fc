from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fastvoicegrad import Bundle, InputError, StreamBundle

if TYPE_CHECKING:
    from fastvoicegrad.networks import Networks


@pytest.fixture(params=[Bundle, StreamBundle])
def networks(request: pytest.FixtureRequest) -> Networks:
    opened: Networks = request.param.open()
    return opened


def pitch_of(networks: Networks) -> np.ndarray:
    """The pitch network's output for noise; a stream's network reads its frames as rows, and a state."""
    mel = np.random.default_rng(0).standard_normal((1, 80, 16), np.float32) - 5
    if isinstance(networks, StreamBundle):
        return networks.run("pitch", mel=mel.transpose(0, 2, 1), state=networks.empty("pitch"))[0]
    return networks.run("pitch", mel=mel)[0]


def test_several_threads_share_one_session(networks: Networks) -> None:
    with ThreadPoolExecutor(4) as threads:
        sessions = list(threads.map(networks.session, ["pitch"] * 4))
    assert all(session is sessions[0] for session in sessions)


def test_pickled_networks_compute_the_same(networks: Networks) -> None:
    expected = pitch_of(networks)
    copy = pickle.loads(pickle.dumps(networks))
    assert not copy._sessions
    np.testing.assert_array_equal(pitch_of(copy), expected)


def test_a_network_replaced_after_opening_is_not_used(networks: Networks) -> None:
    networks.read = lambda file: b"another file"
    assert pitch_of(networks).size
    with pytest.raises(InputError, match=r"pitch.* \(pitch\) is damaged; copy the bundle again"):
        networks.graph("pitch")


@pytest.mark.parametrize("name", ["mel", "nothing"])
def test_what_a_network_does_not_read_is_refused_in_one_line(networks: Networks, name: str) -> None:
    with pytest.raises(InputError, match=r"the network 'pitch' cannot be used \(.+\); copy the bundle again") as found:
        networks.run("pitch", **{name: np.zeros((1, 3, 3), np.float32)})
    assert "\n" not in str(found.value)
