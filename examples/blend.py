"""Convert a recording to voices between two speakers, in five steps.

python examples/blend.py [SOURCE FIRST SECOND]
"""

import sys
from pathlib import Path

import fastvoicegrad
from fastvoicegrad import VoiceConverter
from fastvoicegrad.voice import blend

SAMPLES = Path(fastvoicegrad.__file__).parent / "samples"


def main(source: str, first: str, second: str) -> None:
    converter = VoiceConverter.load()
    voices = [converter.voice(first), converter.voice(second)]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        voice = blend(voices, [1 - share, share])
        output = f"blend-{share:.2f}.wav"
        converter.convert_file(source, output, voice)
        print(f"{output}: {share:.0%} of {Path(second).name}, median pitch {voice.pitch:.0f} Hz")


if __name__ == "__main__":
    man, woman = str(SAMPLES / "source.opus"), str(SAMPLES / "reference.opus")
    main(*(sys.argv[1:] or [man, man, woman]))
