"""Words of a source whose text is not known, or in any language: what a recogniser transcribes in it is the text."""

from __future__ import annotations

import unicodedata

from .asr import Whisper, error_rates
from .metrics import Column, Figures, Metric, Utterance, english_text, fingerprints, load_16k

LOST = 100.0  # CER in per cent of an output without one right character
UNSPACED = ("zh", "ja", "th", "yue")  # languages without spaces between words


def normalise_any(text: str, language: str = "") -> str:
    """Case folded, letters, marks and digits of any script, single spaces; none in a language without them."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = "".join(c if unicodedata.category(c)[0] in "LMN" or c == "'" else " " for c in folded)
    return ("" if language in UNSPACED else " ").join(kept.split())


class SourceTranscript(Metric):
    """CER of an output's transcript against the source's, both by one multilingual recogniser.

    It applies to sources without a known text, and to those in other languages than English. Its errors are the
    conversion's; the recogniser's own errors in the source do not count. An output counts at most `LOST`, because a
    recogniser may repeat a word without end.
    """

    columns = (Column("CER % source transcript", "lower", "source characters", 1),)

    def __init__(self, recogniser: Whisper) -> None:
        self.recogniser = recogniser
        self.version = f"{recogniser.version}; transcript of the source, at most {LOST}"
        self._transcripts: dict[tuple[str, str], str] = {}

    def _of_source(self, path: str, language: str) -> str:
        if (path, language) not in self._transcripts:
            self._transcripts[path, language] = self.recogniser(load_16k(path), language)
        return self._transcripts[path, language]

    def __call__(self, utterance: Utterance) -> Figures:
        source = utterance.pair.source
        if english_text(source) is not None or not utterance.repeats_source:
            return {}
        language = (source.language or "").split("-")[0]
        expected = normalise_any(self._of_source(source.path, language), language)
        if not expected:
            return {}
        transcript = self.recogniser(utterance.wave, language)
        cer, _ = error_rates(expected, normalise_any(transcript, language))
        return {
            self.columns[0].name: min(cer, LOST),
            "source characters": float(len(expected)),
            "transcript of the source": expected,
            f"transcript {self.recogniser.name}": transcript,
        }

    def depends(self, utterance: Utterance) -> tuple[str, ...]:
        source = utterance.pair.source
        return (*fingerprints(source), source.text or "", source.language or "", str(utterance.repeats_source))
