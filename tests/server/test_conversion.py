"""Conversions over HTTP: formats, lengths, streaming, places in the queue."""

from __future__ import annotations

import importlib.util
import io
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from fastvoicegrad.server.errors import ApiError
from fastvoicegrad.server.formats import NAMES
from fastvoicegrad.watermark import FOUND, watermark_score
from tests.conftest import RATE, vowels
from tests.server.conftest import Running, wait_until, wav_bytes

PATH = "/v1/speech-to-speech/anna"


def convert(server: Running, audio: bytes, path: str = PATH, **data: Any) -> Any:
    form = data.pop("output_format", "pcm_22050")
    return server.client.post(path, params={"output_format": form}, files={"audio": ("talk.wav", audio)}, data=data)


@pytest.mark.parametrize("name", NAMES)
def test_each_format_comes_back_as_asked(server: Running, source: bytes, name: str) -> None:
    codec, rate = name.split("_")[:2]
    answer = convert(server, source, output_format=name)
    assert answer.status_code == 200, answer.text
    samples = round(2.0 * int(rate))
    if codec in ("pcm", "ulaw", "alaw"):
        assert len(answer.content) == samples * (2 if codec == "pcm" else 1)
        return
    wave, found = soundfile.read(io.BytesIO(answer.content))
    assert found == int(rate)
    exact = codec != "mp3" or int(name.split("_")[2]) >= 64
    assert len(wave) == samples if exact else 0 <= len(wave) - samples < 3 * 1152
    assert 0.01 < np.sqrt(np.mean(wave**2)) < 0.5


@pytest.mark.parametrize("path", ["speech-to-speech/anna/stream", "voice-changer/anna", "voice-changer/ANNA/stream"])
def test_all_names_of_the_route_give_the_same_bytes(server: Running, source: bytes, path: str) -> None:
    assert convert(server, source, f"/v1/{path}").content == convert(server, source).content


def test_the_result_is_what_the_library_converts(server: Running, source: bytes, converter: Any, voice: Any) -> None:
    wave, rate = soundfile.read(io.BytesIO(source), dtype="float32")
    expected = converter.convert(wave, rate, server.library.load("anna"), seed=5)
    got = np.frombuffer(convert(server, source, seed=5).content, "<i2")
    assert np.abs(got / 32767 - expected).max() < 1e-4


def test_seeds_change_the_result_and_repeat_it(server: Running, source: bytes) -> None:
    one, two, again = (convert(server, source, seed=seed).content for seed in (1, 2, 1))
    assert one == again
    assert one != two


@pytest.mark.parametrize(
    "fields", [{"semitones": -3}, {"keep_pitch": True}, {"formant": 2.5}, {"pauses": "silence", "seed": 0}]
)
def test_fields_that_change_the_sound(server: Running, converter: Any, fields: dict[str, Any]) -> None:
    pause = 0.005 * np.random.default_rng(0).standard_normal(RATE)
    recording = wav_bytes(np.concatenate([pause, vowels(2.0)]))
    wave, _ = soundfile.read(io.BytesIO(recording), dtype="float32")
    expected = converter.convert(wave, RATE, server.library.load("anna"), **fields)
    got = np.frombuffer(convert(server, recording, **fields).content, "<i2") / 32767
    assert np.abs(got - expected).max() < 1e-4
    assert np.abs(got - converter.convert(wave, RATE, server.library.load("anna"))).max() > 1e-3
    other = server.client.post(
        "/v1/audio/voice-conversion",
        files={"source_audio": recording},
        data={"target_voice": "anna", "response_format": "pcm_22050", **fields},
    )
    assert np.array_equal(np.frombuffer(other.content, "<i2") / 32767, got)


@pytest.mark.parametrize("form", ["pcm_22050", "wav_22050", "mp3_44100_128", "opus_48000_64"])
def test_each_channel_comes_back(server: Running, converter: Any, form: str) -> None:
    stereo = np.stack([vowels(2.0), vowels(2.0, pitch=220.0, seed=5)], axis=1)
    answer = convert(server, wav_bytes(stereo), channel="Each", output_format=form)
    assert answer.status_code == 200, answer.text
    rate = int(form.split("_")[1])
    if form.startswith("pcm"):
        got = np.frombuffer(answer.content, "<i2").reshape(-1, 2) / 32767
        wave, _ = soundfile.read(io.BytesIO(wav_bytes(stereo)), dtype="float32")
        expected = converter.convert(wave, RATE, server.library.load("anna"), channel="each")
        assert np.abs(got - expected).max() < 1e-4
        right = np.frombuffer(convert(server, wav_bytes(stereo), channel="right").content, "<i2") / 32767
        assert np.abs(right - expected[:, 1]).max() < 1e-4
        return
    got, found = soundfile.read(io.BytesIO(answer.content))
    assert (got.shape, found) == ((2 * rate, 2), rate)
    assert np.abs(got[:, 0] - got[:, 1]).max() > 0.05


def test_each_channel_of_a_mono_recording_is_that_recording(server: Running, source: bytes) -> None:
    assert convert(server, source, channel="each").content == convert(server, source).content


def test_findings_about_channels_come_in_the_header(server: Running) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal((2 * RATE, 2))
    answer = convert(server, wav_bytes(np.stack([noise[:, 0]] * 2, axis=1)), channel="each")
    assert answer.headers["x-warnings"].startswith("channels 1, 2: no speech")
    opposite = convert(server, wav_bytes(np.stack([vowels(2.0), -vowels(2.0)], axis=1)))
    assert "its channels cancel each other" in opposite.headers["x-warnings"]


@pytest.mark.parametrize(("form", "channels"), [("mp3_44100_128", 3), ("opus_48000_64", 3), ("ulaw_8000", 2)])
def test_a_format_with_fewer_channels_is_refused(server: Running, form: str, channels: int) -> None:
    recording = wav_bytes(np.stack([vowels(1.0)] * channels, axis=1))
    answer = convert(server, recording, channel="each", output_format=form)
    assert (answer.status_code, answer.json()["detail"]["status"]) == (422, "format_not_supported")
    assert answer.json()["detail"]["message"].endswith("ask for wav")


def test_channels_count_together(start: Callable[..., Running], voice: Any) -> None:
    server = start(most_seconds=3.0)
    server.library.add("anna", voice)
    stereo = wav_bytes(np.stack([vowels(2.0)] * 2, axis=1))
    assert convert(server, stereo).status_code == 200
    answer = convert(server, stereo, channel="each")
    assert (answer.status_code, answer.json()["detail"]["status"]) == (413, "audio_too_long")
    assert "longer than 1.5 s" in answer.json()["detail"]["message"]


@pytest.mark.skipif(not importlib.util.find_spec("perth"), reason="needs the extra 'watermark'")
def test_a_server_can_mark_every_conversion(start: Callable[..., Running], voice: Any, source: bytes) -> None:
    server = start(watermark=True)
    server.library.add("anna", voice)
    wave = np.frombuffer(convert(server, source).content, "<i2") / 32767
    assert watermark_score(wave, RATE) > FOUND
    preview, rate = soundfile.read(io.BytesIO(server.client.get("/v1/voices/anna/preview").content))
    assert watermark_score(preview, rate) > FOUND
    streams = server.app.state.service.streams
    with pytest.raises(ApiError, match="streams cannot be; start it without --watermark"), streams.place():
        pass


def test_samples_alone_are_a_recording_too(server: Running) -> None:
    file = wav_bytes(vowels(2.0, rate=16000), 16000)
    raw = convert(server, file[44:], file_format="pcm_s16le_16", output_format="pcm_16000")
    assert raw.status_code == 200, raw.text
    assert raw.content == convert(server, file, output_format="pcm_16000").content


def test_what_other_servers_need_is_accepted(server: Running, source: bytes) -> None:
    answer = server.client.post(
        PATH,
        params={"output_format": "pcm_16000", "enable_logging": "false", "optimize_streaming_latency": 3},
        files={"audio": source},
        data={
            "model_id": "eleven_multilingual_sts_v2",
            "voice_settings": '{"stability": 0.5, "similarity_boost": 0.8}',
            "remove_background_noise": "true",
        },
    )
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("data", "code", "status"),
    [
        ({"output_format": "flac_44100"}, 422, "validation_error"),
        ({"seed": -1}, 422, "validation_error"),
        ({"seed": 2**32}, 422, "validation_error"),
        ({"model_id": "gpt"}, 400, "model_not_found"),
        ({"voice_settings": "[1]"}, 422, "validation_error"),
        ({"voice_settings": "[" * 3999}, 422, "validation_error"),
        ({"file_format": "mp3"}, 422, "validation_error"),
        ({"semitones": 25}, 422, "validation_error"),
        ({"formant": "nan"}, 422, "validation_error"),
        ({"pauses": "music"}, 422, "validation_error"),
        ({"channel": "middle"}, 422, "validation_error"),
        ({"channel": "5"}, 400, "invalid_audio"),
    ],
)
def test_wrong_fields_are_named(server: Running, source: bytes, data: dict[str, Any], code: int, status: str) -> None:
    answer = convert(server, source, **data)
    assert answer.status_code == code
    assert answer.json()["detail"]["status"] == status
    assert code != 422 or answer.json()["detail"]["message"].startswith(next(iter(data)))


@pytest.mark.parametrize("field", ["formant", "semitones"])
def test_what_is_no_number_is_named(server: Running, source: bytes, field: str) -> None:
    message = convert(server, source, **{field: "nan"}).json()["detail"]["message"]
    assert message == f"{field}: Input should be a finite number"


def test_an_unknown_voice_is_not_found(server: Running, source: bytes) -> None:
    answer = convert(server, source, "/v1/speech-to-speech/bert")
    assert answer.status_code == 404
    assert answer.json() == {"detail": {"status": "voice_not_found", "message": "there is no voice 'bert'"}}


def test_a_blend_is_a_voice(server: Running, source: bytes, converter: Any, speech: np.ndarray) -> None:
    server.library.add("ben", converter.voice_of(speech, RATE), replace=True)
    blend = convert(server, source, "/v1/speech-to-speech/anna(0.7)+ben(0.3)")
    assert blend.status_code == 200, blend.text
    assert blend.content != convert(server, source).content


def test_findings_come_in_a_header(server: Running) -> None:
    short = convert(server, wav_bytes(vowels(2.0) * 0 + 0.1 * np.random.default_rng(0).standard_normal(2 * RATE)))
    assert short.status_code == 200
    assert "speech" in short.headers["x-warnings"]


# -- the route without a stored voice -------------------------------------------------------------------------


def test_the_target_may_be_a_recording(server: Running, source: bytes, reference_file: Any) -> None:
    files = {"source_audio": source, "target_voice": ("r.flac", reference_file.read_bytes())}
    by_file = server.client.post("/v1/audio/voice-conversion", files=files)
    by_name = server.client.post(
        "/v1/audio/voice-conversion",
        files={"source_audio": source},
        data={"target_voice": "anna", "response_format": "wav_22050"},
    )
    assert by_file.status_code == by_name.status_code == 200
    assert by_file.headers["content-type"] == "audio/wav"
    one, two = (np.frombuffer(answer.content[44:], "<i2") / 32768 for answer in (by_file, by_name))
    assert len(one) == len(two) == 2 * RATE
    assert np.abs(one - two).max() < 0.1  # a stored voice has half the precision


def test_findings_about_the_target_come_in_the_header(server: Running, source: bytes) -> None:
    files = {"source_audio": source, "target_voice": ("r.wav", wav_bytes(vowels(1.0)))}
    assert "r.wav " in server.client.post("/v1/audio/voice-conversion", files=files).headers["x-warnings"]


def test_the_target_is_never_a_path(server: Running, source: bytes, reference_file: Any) -> None:
    for path in (str(reference_file), "../../etc/passwd", "/etc/passwd", "file:///etc/passwd"):
        answer = server.client.post(
            "/v1/audio/voice-conversion", files={"source_audio": source}, data={"target_voice": path}
        )
        assert answer.status_code == 404, answer.text
        answer = convert(server, source, f"/v1/speech-to-speech/{path.replace('/', '%2F')}")
        assert answer.status_code == 404


def test_a_voice_file_is_no_recording(server: Running, source: bytes) -> None:
    files = {"source_audio": source, "target_voice": ("anna.voice", b"anything")}
    answer = server.client.post("/v1/audio/voice-conversion", files=files)
    assert answer.status_code == 400
    expected = "anna.voice is a voice file; send a recording, or the name of a stored voice"
    assert answer.json()["detail"]["message"] == expected


# -- streaming ------------------------------------------------------------------------------------------------


def test_the_answer_begins_before_the_end(server: Running, long_source: bytes) -> None:
    started = time.monotonic()
    with server.client.stream("POST", PATH, files={"audio": long_source}) as answer:
        assert answer.headers["transfer-encoding"] == "chunked"
        pieces = answer.iter_raw()
        next(pieces)
        first = time.monotonic() - started
        assert server.queue.running == 1
        for _ in pieces:
            pass
    assert first < 0.7 * (time.monotonic() - started)


def test_two_at_once_give_the_bytes_of_one_after_the_other(server: Running) -> None:
    sources = [wav_bytes(vowels(2.0 + 0.3 * i, 120 + 20 * i, seed=i)) for i in range(6)]
    in_turn = [convert(server, source).content for source in sources]
    at_once = [b""] * len(sources)

    def work(i: int) -> None:
        at_once[i] = convert(server, sources[i]).content

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(sources))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert at_once == in_turn


# -- places ---------------------------------------------------------------------------------------------------


def raw_request(server: Running, audio: bytes, path: str = PATH) -> socket.socket:
    """A connection with a whole request, whose answer is not read yet."""
    head = b'--x\r\nContent-Disposition: form-data; name="audio"; filename="a"\r\n\r\n'
    body = head + audio + b"\r\n--x--\r\n"
    port = int(server.url.rsplit(":", 1)[1])
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    return connection


def test_a_full_queue_answers_with_a_time_to_wait(
    start: Callable[..., Running], voice: Any, long_source: bytes
) -> None:
    server = start(workers=1, waiting=1)
    server.library.add("anna", voice)
    places = [raw_request(server, long_source) for _ in range(2)]
    wait_until(lambda: server.queue.size == 2)
    answer = convert(server, long_source)
    assert answer.status_code == 429
    assert answer.json()["detail"]["status"] == "system_busy"
    assert 1 <= int(answer.headers["retry-after"]) <= 120
    for place in places:
        place.close()
    wait_until(lambda: server.queue.size == 0)
    assert convert(server, long_source).status_code == 200


@pytest.mark.parametrize("moment", ["waiting", "running", "answering"])
def test_a_client_that_goes_away_frees_its_place(
    start: Callable[..., Running], voice: Any, long_source: bytes, moment: str
) -> None:
    server = start(workers=1, waiting=4)
    server.library.add("anna", voice)
    first = raw_request(server, long_source)
    wait_until(lambda: server.queue.running == 1)
    if moment == "waiting":
        second = raw_request(server, long_source)
        wait_until(lambda: server.queue.waiting == 1)
        second.close()
        wait_until(lambda: server.queue.waiting == 0, 1.0)
        assert server.queue.running == 1
    if moment == "answering":
        assert first.recv(100).startswith(b"HTTP/1.1 200 OK")
    first.close()
    wait_until(lambda: server.queue.size == 0, 5.0)
    assert server.app.state.service.metrics.audio._value.get() == 0  # none was converted to its end


@pytest.mark.parametrize("patience", [pytest.param(60.0, marks=pytest.mark.slow), 0.5])
def test_a_client_that_takes_nothing_holds_no_worker(
    start: Callable[..., Running], voice: Any, long_source: bytes, patience: float
) -> None:
    server = start(workers=1, waiting=4, send_patience=patience, patience=1.0)
    server.library.add("anna", voice)
    stuck = raw_request(server, long_source, f"{PATH}?output_format=wav_48000")
    wait_until(lambda: server.queue.size == 1)
    wait_until(lambda: server.queue.size == 0)
    if patience > 1:
        assert server.app.state.service.metrics.audio._value.get() == 72
        stuck.close()
    wait_until(lambda: not server.server.server_state.connections)
    stuck.close()
