"""Convert a folder of recordings. A second run skips what is done.

python examples/folder.py [FOLDER REFERENCE OUTPUT_FOLDER]
"""

import sys
from pathlib import Path

import fastvoicegrad
from fastvoicegrad import VoiceConverter
from fastvoicegrad.batch import Settings, convert_files

SAMPLES = Path(fastvoicegrad.__file__).parent / "samples"


def main(folder: str, reference: str, output: str) -> bool:
    """Whether all recordings were converted."""
    converter = VoiceConverter.load()
    settings = Settings(format="flac", loudness=-23.0)
    outcomes = convert_files(converter, [folder], output, reference, settings, workers=2)
    for outcome in outcomes:
        print(f"{outcome.state}: {outcome.error or outcome.output}")
    return all(outcome.state != "failed" for outcome in outcomes)


if __name__ == "__main__":
    arguments = sys.argv[1:] or [str(SAMPLES), str(SAMPLES / "reference.opus"), "converted"]
    sys.exit(0 if main(*arguments) else 1)
