"""Convert one recording to the voice of another.

python examples/convert.py [SOURCE REFERENCE OUTPUT]
"""

import sys
from pathlib import Path

import fastvoicegrad
from fastvoicegrad import InputError, VoiceConverter

SAMPLES = Path(fastvoicegrad.__file__).parent / "samples"


def main(source: str, reference: str, output: str) -> None:
    converter = VoiceConverter.load()
    voice = converter.voice(reference)
    report = converter.convert_file(source, output, voice)
    print(f"{report.output}: {report.seconds:.1f} s, {1 / report.real_time_factor:.0f} times as fast as real time")


if __name__ == "__main__":
    arguments = sys.argv[1:] or [str(SAMPLES / "source.opus"), str(SAMPLES / "reference.opus"), "converted.wav"]
    try:
        main(*arguments)
    except InputError as error:  # one line: what is wrong, and what to do
        sys.exit(str(error))
