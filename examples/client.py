"""Convert a recording with a running server; only Python's standard library is needed.

fastvoicegrad serve
python examples/client.py [URL SOURCE REFERENCE OUTPUT]
"""

import sys
import uuid
from pathlib import Path
from urllib.request import Request, urlopen

SAMPLES = Path(__file__).parents[1] / "src" / "fastvoicegrad" / "samples"


def form(**files: Path) -> tuple[bytes, str]:
    """A multipart body, and its content type."""
    boundary, body = uuid.uuid4().hex, b""
    for name, path in files.items():
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{path.name}"\r\n\r\n'
        body += head.encode() + path.read_bytes() + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def main(url: str, source: str, reference: str, output: str) -> None:
    body, kind = form(source_audio=Path(source), target_voice=Path(reference))
    address = f"{url}/v1/audio/voice-conversion"  # the answer is WAV
    with urlopen(Request(address, body, {"Content-Type": kind}), timeout=600) as answer:
        Path(output).write_bytes(answer.read())
    print(f"{output}: {Path(output).stat().st_size} bytes")


if __name__ == "__main__":
    samples = [str(SAMPLES / "source.opus"), str(SAMPLES / "reference.opus")]
    main(*(sys.argv[1:] or ["http://127.0.0.1:8000", *samples, "from-server.wav"]))
