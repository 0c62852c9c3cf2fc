"""Mel-cepstral distortion against the target's own recording of the sentence, where there is one."""

from __future__ import annotations

import numpy as np
import soxr

from ..mel import MEL, log_mel
from .metrics import RATE, Column, Figures, Metric, Utterance, fingerprints, load_16k

ORDER = 24  # cepstral coefficients; the energy c_0 does not count
SILENCE = 5.0  # frames this far below the loudest one do not count; natural log of amplitude (43 dB)


def cepstrum(wave: np.ndarray) -> np.ndarray:
    """(N,) at 16 kHz -> mel cepstrum (24, T) of the frames that are not silent, at this project's mel rate."""
    from scipy.fft import dct

    mel = log_mel(np.asarray(soxr.resample(wave, RATE, MEL.sample_rate), dtype=np.float32))
    level = mel.mean(0)
    active = mel[:, level > level.max() - SILENCE]
    return np.asarray(dct(active, axis=0, norm="ortho")[1 : ORDER + 1])


def mel_cepstral_distortion(output: np.ndarray, reference: np.ndarray) -> float:
    """MCD in dB of two cepstra (24, T).

    Dynamic time warping aligns them. The result is the mean of 10 / ln 10 * sqrt(2 sum d^2) over its path.
    """
    import librosa

    _, path = librosa.sequence.dtw(output, reference)
    # ln|X| = c_0 + sum c_m cos(m w); the orthonormal DCT over N bands gives sqrt(N / 2) c_m.
    distance = (output[:, path[:, 0]] - reference[:, path[:, 1]]) * np.sqrt(2 / MEL.n_mels)
    return float(10 / np.log(10) * np.sqrt(2 * np.square(distance).sum(0)).mean())


class MelCepstralDistortion(Metric):
    """MCD of 24 coefficients of the 80-band log-mel. It does not compare with other spectral analyses."""

    version = "MCD, 24 of 80 mel bands, DTW"
    columns = (Column("MCD dB", "lower"),)

    def __call__(self, utterance: Utterance) -> Figures:
        parallel = utterance.pair.parallel
        if parallel is None or not utterance.repeats_source:
            return {}
        return {"MCD dB": mel_cepstral_distortion(cepstrum(utterance.wave), cepstrum(load_16k(parallel.path)))}

    def depends(self, utterance: Utterance) -> tuple[str, ...]:
        return (*fingerprints(*filter(None, [utterance.pair.parallel])), str(utterance.repeats_source))
