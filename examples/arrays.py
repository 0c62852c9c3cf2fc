"""Convert samples: NumPy arrays in and out, without a file between.

python examples/arrays.py [SOURCE REFERENCE OUTPUT]
"""

import sys
from pathlib import Path

import soundfile

import fastvoicegrad
from fastvoicegrad import VoiceConverter

SAMPLES = Path(fastvoicegrad.__file__).parent / "samples"


def main(source: str, reference: str, output: str) -> None:
    converter = VoiceConverter.load()
    speech, speech_rate = soundfile.read(reference)  # (M,) or (M, channels)
    voice = converter.voice_of(speech, speech_rate, name=Path(reference).stem)
    wave, rate = soundfile.read(source)  # (N,) or (N, channels)
    result = converter.convert(wave, rate, voice, semitones=-2.0)  # (N,), float32
    assert len(result) == len(wave)
    soundfile.write(output, result, rate)
    print(f"{output}: {result.shape}, {rate} Hz, peak {abs(result).max():.2f}")


if __name__ == "__main__":
    main(*(sys.argv[1:] or [str(SAMPLES / "source.opus"), str(SAMPLES / "reference.opus"), "lower.wav"]))
