"""What an adaptation was worth: the same conversions before and after, judged, as a page and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soxr

from ... import audio
from ...audio.level import TARGET_LEVEL
from ...converter import VoiceConverter
from ...demo import picture
from ...mel import MEL, Array, log_mel
from ...stream.bundle import StreamBundle
from ...stream.converter import StreamingConverter
from ...voice import Voice
from .recordings import Recordings
from .shipped import Source

RATE = 16000  # Hz, of what judges measure
NATURAL = 10  # clips of the voice that are judged too
SHOWN = 2  # conversions and held-back sentences that the page plays
OWN = "cosine of the bundle's own encoder"  # a judge's name
MOST_LOST_WORDS, MOST_LOST_QUALITY = 2.0, 0.1  # points of CER and of predicted opinion: more is worse

Figures = dict[str, float]


@dataclass(frozen=True)
class Judges:
    """What measures a wave (N,) at 16 kHz. The names appear in the report.

    Attributes:
        encoders: speaker encoders; unit embeddings (S,).
        error_rates: CER in per cent of a wave against its text.
        likelihoods: negative log-likelihood of the text, nats a character. The report leaves it out.
        qualities: predicted opinion scores.
        trained: names of speaker encoders that took part in the training. They decide nothing: where no other is there,
            the bundle's own encoder measures too.
    """

    encoders: Mapping[str, Callable[[Array], Array]] = field(default_factory=dict)
    error_rates: Mapping[str, Callable[[Array, str], float]] = field(default_factory=dict)
    likelihoods: Mapping[str, Callable[[Array, str], float]] = field(default_factory=dict)
    qualities: Mapping[str, Callable[[Array], float]] = field(default_factory=dict)
    trained: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Comparison:
    """Mean figures of one set of conversions.

    Attributes:
        title: of the set.
        before, after: by the names of the judges.
        count: conversions of the set.
    """

    title: str
    before: Figures
    after: Figures
    count: int


@dataclass(frozen=True)
class Report:
    """The comparisons of an adaptation. The first one decides.

    Attributes:
        encoder: whose cosine decides; "" where none is independent.
        gained: whether any step of the training was better on what is held back.
        natural: mean figures of recordings of the voice that are trained on: what is possible.
        notes: sentences about the judges.
    """

    name: str
    comparisons: list[Comparison]
    encoder: str
    natural: Figures
    notes: list[str]
    gained: bool = True

    @property
    def problem(self) -> str:
        """What got worse, a sentence; empty where nothing did."""
        before, after = self.comparisons[0].before, self.comparisons[0].after
        if not self.gained:
            return "no step of the training was better on the recordings that are held back"
        if self.encoder and after[self.encoder] <= before[self.encoder]:
            return f"the likeness did not rise ({self.encoder} {before[self.encoder]:.3f} to {after[self.encoder]:.3f})"
        # The own encoder finds some conversions nearer to the voice than its recordings; to lose that is no fault.
        if OWN in before and after[OWN] < min(before[OWN], self.natural.get(OWN, before[OWN])):
            return f"the likeness fell ({OWN} {before[OWN]:.3f} to {after[OWN]:.3f})"
        for name in before:
            if name.startswith("CER") and after[name] > before[name] + MOST_LOST_WORDS:
                return f"words got lost ({name} {before[name]:.1f} to {after[name]:.1f})"
            # A recording at home is worse than the studio: to become like it is no fault.
            enough = min(before[name], self.natural.get(name, before[name]))
            if name.startswith("quality") and after[name] < enough - MOST_LOST_QUALITY:
                return f"it sounds less natural ({name} {before[name]:.2f} to {after[name]:.2f})"
        return ""


def own_encoder(converter: VoiceConverter) -> Callable[[Array], Array]:
    """The bundle's speaker encoder as a judge."""

    def embed(wave: Array) -> Array:
        at_22k = np.asarray(soxr.resample(wave, RATE, MEL.sample_rate), np.float32)
        return converter.bundle.speaker(
            log_mel(at_22k * np.float32(TARGET_LEVEL / max(audio.speech_level(at_22k), 1e-6)))
        )

    return embed


def compare(
    converter: VoiceConverter,
    recordings: Recordings,
    adapted: Voice,
    sources: Sequence[Source],
    judges: Judges,
    folder: Path,
    gained: bool = True,
    streams: StreamBundle | None = None,
) -> Report:
    """Convert shipped speech and held-back sentences with both voices, judge them, write the page into `folder`.

    Args:
        streams: converts the held-back sentences too, if the voice has an adapter for it.
    """
    encoders, notes = dict(judges.encoders), list[str]()
    if not set(judges.encoders) - judges.trained:
        encoders[OWN] = own_encoder(converter)
        notes.append("No independent speaker encoder is installed: the one that judges took part in training.")
    centres = {name: _centre(embed, recordings) for name, embed in encoders.items()}
    voices = {"before": recordings.voice, "after": adapted}
    texts = [source.text if source.english else None for source in sources]  # recognisers of English judge

    def measured(wave: Array, text: str | None) -> Figures:
        at_16k = np.asarray(soxr.resample(wave, MEL.sample_rate, RATE), np.float32)
        figures = {name: float(embed(at_16k) @ centres[name]) for name, embed in encoders.items()}
        if text is not None:
            figures |= {f"CER % {name}": rate(at_16k, text) for name, rate in judges.error_rates.items()}
        return figures | {f"quality, {name}": rate(at_16k) for name, rate in judges.qualities.items()}

    comparisons, players = list[Comparison](), list[dict[str, int | str]]()
    held = [clip.wave for clip in recordings.held]

    def converted(wave: Array, voice: Voice) -> Array:
        return converter.convert(wave, MEL.sample_rate, voice)

    unknown: list[str | None] = [None] * len(held)
    sets: dict[str, tuple[list[Array], list[str | None], Callable[[Array, Voice], Array]]] = {
        "Shipped recordings, converted to the voice": ([s.clip.wave for s in sources], texts, converted),
        "Held-back sentences, converted to the voice itself": (held, unknown, converted),
    }

    def streamed(wave: Array, voice: Voice) -> Array:
        assert streams is not None
        return StreamingConverter(streams, voice).convert(wave)

    if streams is not None and adapted.adapter is not None and adapted.adapter.stream is not None:
        sets["Held-back sentences as a stream"] = held, unknown, streamed
    for title, (waves, known, convert) in sets.items():
        figures: dict[str, list[Figures]] = {"before": [], "after": []}
        for number, (wave, text) in enumerate(zip(waves, known, strict=True)):
            made = {when: convert(wave, voice) for when, voice in voices.items()}
            for when, result in made.items():
                figures[when].append(measured(result, text))
            if number < SHOWN:
                players += _written(folder, f"{len(comparisons) + 1}-{number + 1}", {"source": wave, **made})
        before, after = _mean(figures["before"], known), _mean(figures["after"], known)
        comparisons.append(Comparison(title, before, after, len(waves)))
    players += _written(folder, "voice", {"held back": recordings.held[0].wave})
    natural = _mean([measured(clip.wave, None) for clip in recordings.train[:NATURAL]], [None] * NATURAL)
    decides = next((name for name in judges.encoders if name not in judges.trained), "")
    report = Report(recordings.name, comparisons, decides, natural, notes, gained)
    _write(report, recordings, players, folder)
    return report


def _centre(embed: Callable[[Array], Array], recordings: Recordings) -> Array:
    """Mean embedding of what is held back."""
    waves = [soxr.resample(clip.wave, MEL.sample_rate, RATE).astype(np.float32) for clip in recordings.held]
    total = np.sum([embed(wave) for wave in waves], axis=0)
    return np.asarray(total / np.linalg.norm(total))


def _mean(figures: Sequence[Figures], texts: Sequence[str | None]) -> Figures:
    """Of the conversions that have the figure. A long text counts more in the error rates, as in an evaluation."""
    names, means = dict.fromkeys(name for row in figures for name in row), Figures()
    for name in names:
        rows = [(row[name], len(text or "")) for row, text in zip(figures, texts, strict=False) if name in row]
        values, lengths = zip(*rows, strict=True)
        means[name] = float(np.average(values, weights=lengths if name.startswith("CER") else None))
    return means


def _written(folder: Path, number: str, waves: Mapping[str, Array]) -> list[dict[str, int | str]]:
    """Write sounds; gives what the page needs of each."""
    players = []
    for kind, wave in waves.items():
        path = folder / f"{number}-{kind.replace(' ', '-')}.wav"
        with audio.writing(path, MEL.sample_rate) as file:
            file.write(wave)
        players.append({"file": path.name, "caption": f"{number}, {kind}", **picture(path)})
    return players


def _write(report: Report, recordings: Recordings, players: Sequence[dict[str, int | str]], folder: Path) -> None:
    """``report.json`` and ``index.html``."""
    facts = {
        "voice": report.name,
        "speech to train on, s": round(recordings.seconds, 1),
        "held-back clips": len(recordings.held),
        "decided by": report.encoder or "the recordings that are held back",
        "problem": report.problem,
        "natural": report.natural,
        "notes": report.notes,
        "comparisons": [vars(comparison) for comparison in report.comparisons],
    }
    (folder / "report.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    page = (Path(__file__).parent / "report.html").read_text(encoding="utf-8")
    data = {"/*FACTS*/{}": facts, "/*RECORDINGS*/[]": list(players)}
    for place, value in data.items():
        page = page.replace(place, json.dumps(value).replace("</", "<\\/"))
    (folder / "index.html").write_text(page, encoding="utf-8")
