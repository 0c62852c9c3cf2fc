"""The page for streams in a headless Chromium whose microphone plays a file."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch")
pytest.importorskip("fastapi")

from fastvoicegrad.server import stream
from fastvoicegrad.stream.bundle import StreamBundle
from fastvoicegrad.stream.converter import StreamingConverter
from tests.conftest import vowels
from tests.server.conftest import Running, running
from tests.ui.conftest import BROWSER, FLAGS, NAMES, PATIENCE

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(
    converter: Any,
    voices: list[Any],
    stream_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Running]:
    """With the voices `high` and `low` beside the presets, and two that no stream can have."""
    others = [replace(voices[0], encoder="0" * 16)] * 2
    with running(converter, tmp_path_factory.mktemp("library"), stream_bundle=stream_folder) as made:
        for name, voice in zip(("high", "low", "other", "another"), [*voices, *others], strict=True):
            made.library.add(name, voice)
        yield made


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A page of a Chromium with a microphone that repeats a recording."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = os.environ.get(BROWSER) or next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"there is no Chromium; name one in {BROWSER}")
    speech = tmp_path_factory.mktemp("microphone") / "speech.wav"
    soundfile.write(speech, np.tile(vowels(2.0, rate=48000), 3), 48000)
    flags = [
        *FLAGS.split(),
        f"--use-file-for-fake-audio-capture={speech}",
        "--autoplay-policy=no-user-gesture-required",
    ]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=flags)
        opened = browser.new_context(permissions=["microphone"]).new_page()
        opened.set_default_timeout(PATIENCE)
        yield opened
        browser.close()


SLOW_MICROPHONE = """() => {
  const devices = navigator.mediaDevices, open = devices.getUserMedia.bind(devices);
  window.microphones = [];
  devices.getUserMedia = async what => {
    await new Promise(go => { window.allow = go; });
    const opened = await open(what);
    window.microphones.push(opened);
    return opened;
  };
}"""


# Keeps what the server sends as text but "ready", until a test passes it on.
BY_HAND = """() => {
  const Socket = WebSocket;
  window.held = [];
  window.WebSocket = class extends Socket {
    set onmessage(take) {
      super.onmessage = event => {
        if (typeof event.data === "string" && !event.data.includes('"ready"')) held.push(() => take(event));
        else take(event);
      };
    }
  };
}"""

# As a far server: what it sends comes so many milliseconds later, in its order.
LATE = """() => {
  const Socket = WebSocket, waiting = [];
  window.lateness = 700;
  window.WebSocket = class extends Socket {
    set onmessage(take) {
      super.onmessage = event => {
        waiting.push(event);
        setTimeout(() => take(waiting.shift()), window.lateness);
      };
    }
  };
}"""


def test_stop_while_the_browser_asks_for_the_microphone(page: Any, server: Running) -> None:
    """The session that was stopped gives its microphone back, and the next one is untouched by it."""
    page.goto(f"{server.url}/live")
    page.evaluate(SLOW_MICROPHONE)
    start, stop = (page.get_by_role("button", name=name) for name in ("Start", "Stop"))
    start.click()
    page.evaluate("() => { window.first = window.allow; }")
    stop.click()
    start.click()
    page.evaluate("window.allow()")
    page.get_by_text("Speak.").wait_for()
    page.evaluate("window.first()")
    page.wait_for_function("window.microphones.length === 2")
    live = "microphones.map(m => m.getTracks()[0].readyState)"
    page.wait_for_function(f'JSON.stringify({live}) === \'["live","ended"]\'')
    assert stop.is_visible()
    page.get_by_role("button", name="Original").click()
    stop.click()
    assert page.evaluate(live) == ["ended", "ended"]
    assert page.get_by_role("button", name="Original").get_attribute("aria-pressed") == "false"


def test_a_voice_chosen_while_the_stream_opens_is_used(page: Any, server: Running) -> None:
    sent = list[Any]()
    page.on("websocket", lambda socket: socket.on("framesent", lambda data: sent.append(data)))
    page.goto(f"{server.url}/live")
    page.get_by_label("Voice").select_option("high")
    page.evaluate("""() => {  // as a user on a slow network
      const Socket = WebSocket;
      window.WebSocket = function (url, protocols) {
        document.getElementById("voice").value = "low";
        document.getElementById("voice").onchange();
        return new Socket(url, protocols);
      };
      window.WebSocket.OPEN = Socket.OPEN;
    }""")
    page.get_by_role("button", name="Start").click()
    page.get_by_text("Speak.").wait_for()
    page.wait_for_function("document.getElementById('output').value > 0.001")
    page.get_by_role("button", name="Stop").click()
    assert [x for x in sent if isinstance(x, str)] == ['{"type":"voice","voice_id":"low"}']


@pytest.mark.parametrize(
    ("choices", "shown", "left"),
    [(["other"], "high", "high"), (["other", "low"], "low", "low"), (["other", "another"], "another", "high")],
)
def test_the_menu_names_the_voice_of_the_stream(
    page: Any, server: Running, choices: list[str], shown: str, left: str
) -> None:
    """An arrow key chooses each voice on the way. What the server refuses leaves a later choice."""
    page.goto(f"{server.url}/live")
    page.evaluate(BY_HAND)
    page.get_by_label("Voice").select_option("high")
    page.get_by_role("button", name="Start").click()
    page.get_by_text("Speak.").wait_for()
    page.evaluate(
        "names => names.forEach(name => { $('voice').value = name; $('voice').dispatchEvent(new Event('change')); })",
        choices,
    )
    page.wait_for_function(f"held.length === {choices.count('other') + choices.count('another')}")
    page.evaluate("held.shift()()")
    assert page.locator("#message").inner_text().startswith("the voice 'other' cannot be used")
    assert page.get_by_label("Voice").input_value() == shown
    page.evaluate("held.forEach(pass => pass())")
    assert page.get_by_label("Voice").input_value() == left


def shown_delay(page: Any) -> int:
    """What the page shows of a new stream, in ms."""
    page.evaluate("document.getElementById('delay').textContent = '–'")
    page.get_by_role("button", name="Start").click()
    page.wait_for_function("document.getElementById('delay').textContent.endsWith('ms')")
    shown = page.locator("#delay").inner_text()
    page.get_by_role("button", name="Stop").click()
    return int(shown.split()[0])


def test_a_larger_buffer_delays_the_output(page: Any, server: Running) -> None:
    page.goto(f"{server.url}/live")
    delays = []
    for chosen in ("30 ms", "250 ms"):
        page.get_by_label("Buffer").select_option(chosen)
        delays.append(shown_delay(page))
    assert delays[1] - delays[0] == pytest.approx(220, abs=80)  # the device's own share changes


def test_the_delay_has_the_microphone_in_it(page: Any, server: Running) -> None:
    page.goto(f"{server.url}/live")
    delays = []
    for seconds in (0.0, 0.5):
        page.evaluate(f"MediaStreamTrack.prototype.getSettings = () => ({{latency: {seconds}}})")
        delays.append(shown_delay(page))
    assert delays[1] - delays[0] == pytest.approx(500, abs=80)


def test_the_page_shows_that_answers_come_too_late(page: Any, server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each comes after its time, so none is played. Once they come earlier, the line goes away."""
    monkeypatch.setattr(stream, "MOST_AGE", 1e9)  # a slow machine leaves nothing out
    page.goto(f"{server.url}/live")
    page.evaluate(LATE)
    page.get_by_label("Buffer").select_option("250 ms")
    page.get_by_role("button", name="Start").click()
    page.get_by_text("Answers come too late. Choose a larger buffer.").wait_for()
    assert page.locator("#queued").inner_text() == "0 ms"
    page.evaluate("window.lateness = 0")
    page.get_by_text("Speak.").wait_for()
    page.wait_for_function("document.getElementById('output').value > 0.001")
    page.get_by_role("button", name="Stop").click()


def test_a_microphone_is_streamed_and_played(
    page: Any,
    server: Running,
    stream_folder: Path,
    voices: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What goes out comes back in the chosen voice; the delay is shown, and changes reach the server."""
    monkeypatch.setattr(stream, "MOST_AGE", 1e9)  # a slow machine leaves nothing out
    problems, sent, received, addresses = list[str](), list[Any](), list[Any](), list[str]()
    page.on("pageerror", lambda error: problems.append(str(error)))

    def watch(socket: Any) -> None:
        addresses.append(socket.url)
        socket.on("framesent", lambda data: sent.append(data))
        socket.on("framereceived", lambda data: received.append(data))

    page.on("websocket", watch)
    page.goto(f"{server.url}/live")
    page.get_by_label("Voice").select_option("high")
    page.get_by_role("button", name="Start").click()
    page.get_by_text("Speak.").wait_for()
    page.wait_for_function("document.getElementById('output').value > 0.001")
    page.get_by_label("Voice").select_option("low")
    page.get_by_role("button", name="Original").click()
    page.wait_for_timeout(1500)
    delay = int(page.locator("#delay").inner_text().split()[0])
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Start").wait_for()
    rate = int(re.search(r"rate=(\d+)", addresses[0])[1])  # type: ignore[index]
    changed = next(place for place, x in enumerate(sent) if isinstance(x, str) and '"voice_id":"low"' in x)
    before = np.frombuffer(b"".join(x for x in sent[:changed] if isinstance(x, bytes)), "<i2").astype(np.float32)
    output = np.frombuffer(b"".join(x for x in received if isinstance(x, bytes)), "<i2").astype(np.float32)
    count = sum(len(x) // 2 for x in sent if isinstance(x, bytes))
    assert len(output) > rate  # a second
    assert count - len(output) < rate / 4
    converter = StreamingConverter(StreamBundle.open(stream_folder), voices[0], rate)
    expected = converter.push(before / np.float32(32768)).clip(-1, 1)
    assert len(before) > 0
    np.testing.assert_allclose(output[: len(before)] / 32767, expected, atol=1e-3)
    assert 80 < delay < 400
    assert not problems


def test_a_microphone_that_goes_away_ends_the_stream(page: Any, server: Running) -> None:
    page.goto(f"{server.url}/live")
    page.evaluate(SLOW_MICROPHONE)
    page.get_by_role("button", name="Start").click()
    page.evaluate("window.allow()")
    page.get_by_text("Speak.").wait_for()
    page.evaluate("microphones[0].getTracks()[0].dispatchEvent(new Event('ended'))")
    page.get_by_text("The microphone is gone.").wait_for()
    assert page.get_by_role("button", name="Start").is_visible()


def test_a_refused_stream_is_not_one_that_ended(page: Any, server: Running) -> None:
    page.goto(f"{server.url}/live")
    page.wait_for_function("document.getElementById('voice').length")  # its own list has come
    page.evaluate("document.getElementById('voice').replaceChildren(new Option('nowhere'))")
    page.get_by_role("button", name="Start").click()
    page.get_by_text("The server refused the stream").wait_for()


def test_the_output_never_jumps(page: Any, server: Running) -> None:
    """It fades between original and converted, and where answers are missing."""
    page.goto(f"{server.url}/live")
    jump = page.evaluate("""() => {
      const port = {postMessage: () => {}};
      let Live;
      new Function("AudioWorkletProcessor", "sampleRate", "registerProcessor", processor)(
        class { port = port }, 48000, (name, made) => { Live = made; });
      const live = new Live({processorOptions: {block: 480, queue: 960, latency: 960}});
      const input = new Float32Array(128).fill(0.5), samples = [0];
      const process = count => {
        for (let n = 0; n < count; n++) {
          const output = new Float32Array(128);
          live.process([[input]], [[output]]);
          samples.push(...output);
        }
      };
      live.receive(new Int16Array(9600).map((_, i) => -Math.min(i, 16384)));  // a rise, then a constant
      process(60);
      live.port.onmessage({data: {original: true}});
      process(10);
      live.port.onmessage({data: {original: false}});
      process(30);
      for (let gap = 0; gap < 2; gap++) {  // answers come late, then more than the page leaves out for it
        live.receive(new Int16Array(20000).fill(-16384));
        process(200);
      }
      return Math.max(...samples.slice(1).map((x, i) => Math.abs(x - samples[i])));
    }""")
    assert 0 < jump < 0.035  # a fade of 2 ms changes half of the full scale by up to 3 % in a sample
