"""How far the spectrum is from the target's own recording of the sentence, where there is one."""

from __future__ import annotations

import numpy as np
import soxr

from ..mel import MEL, log_mel
from .metrics import RATE, Case, Column, Figures, Metric, heard, prints

ORDER = 24  # cepstral coefficients, without the energy
QUIET = 5.0  # below the loudest frame, natural log of amplitude (43 dB): silence that does not count


def cepstrum(wave: np.ndarray) -> np.ndarray:
    """(N,) at 16 kHz -> mel cepstrum (24, T) of the frames that sound, at this project's mel rate."""
    from scipy.fft import dct

    mel = log_mel(np.asarray(soxr.resample(wave, RATE, MEL.sample_rate), dtype=np.float32))
    level = mel.mean(0)
    sounding = mel[:, level > level.max() - QUIET]
    return np.asarray(dct(sounding, axis=0, norm="ortho")[1 : ORDER + 1])


def mel_cepstral_distortion(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Mean over the path of dynamic time warping of 10 / ln 10 * sqrt(2 sum d^2), in dB; both are (24, T)."""
    import librosa

    _, path = librosa.sequence.dtw(ours, theirs)
    # ln|X| = c_0 + sum c_m cos(m w); the orthonormal DCT over N bands gives sqrt(N / 2) c_m.
    apart = (ours[:, path[:, 0]] - theirs[:, path[:, 1]]) * np.sqrt(2 / MEL.n_mels)
    return float(10 / np.log(10) * np.sqrt(2 * np.square(apart).sum(0)).mean())


class MelCepstralDistortion(Metric):
    """MCD of 24 coefficients of the 80-band log-mel; not comparable with figures from other spectral analyses."""

    version = "MCD, 24 of 80 mel bands, DTW"
    columns = (Column("MCD dB", "lower"),)

    def __call__(self, case: Case) -> Figures:
        if case.pair.parallel is None or case.text != case.pair.source.text:
            return {}
        return {"MCD dB": mel_cepstral_distortion(cepstrum(case.wave), cepstrum(heard(case.pair.parallel.path)))}

    def depends(self, case: Case) -> tuple[str, ...]:
        return (*prints(*filter(None, [case.pair.parallel])), str(case.text == case.pair.source.text))
