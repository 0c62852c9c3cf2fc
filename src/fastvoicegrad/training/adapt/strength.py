"""How much of an adapter a voice takes: as much as leaves conversions natural.

Training for long keeps raising the likeness, and lowers naturalness: the voice's recordings have a room, a microphone
and a codec, too. Between a network and its fine-tuned version lie better ones than both (WiSE-FT, arXiv 2109.01903).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import soxr

from ...converter import VoiceConverter
from ...evaluation.quality import P835, dnsmos_scores, dnsmos_session
from ...mel import MEL, Array
from ...voice import Voice
from ...voice_file import Adapter
from .settings import MOST_USED
from .shipped import Source

STRENGTHS = np.arange(MOST_USED, 0.05, -0.1)  # strongest first
LOST = 0.05  # points of DNSMOS that a conversion may lose
RATE = 16000  # Hz, of DNSMOS

Weakened = Callable[[float], Array]  # strength -> the values of the adapter


def strongest(
    converter: VoiceConverter, voice: Voice, adapter: Weakened, sources: Sequence[Source], note: Callable[[str], None]
) -> tuple[float, Voice]:
    """The largest strength that loses at most `LOST` of naturalness, and the voice with it; the least where none does.

    Args:
        voice: without an adapter.
        sources: what is converted to find out.
        note: receives a sentence where no strength leaves conversions natural.
    """
    session = dnsmos_session(P835)

    def naturalness(of: Voice) -> float:
        waves = [converter.convert(source.clip.wave, MEL.sample_rate, of) for source in sources]
        return float(np.mean([dnsmos_scores(session, soxr.resample(w, MEL.sample_rate, RATE))[2] for w in waves]))

    enough = naturalness(voice) - LOST
    for strength in map(float, STRENGTHS):
        adapted = replace(voice, adapter=Adapter(adapter(strength), converter.bundle.converter_fingerprint))
        if naturalness(adapted) >= enough:
            break
    else:
        note("even a tenth of the adapter makes speech less natural")
    return strength, adapted
