"""Character and word error rates by Moonshine base English, which no network here has learnt from."""

from __future__ import annotations

import re
from pathlib import Path

import jiwer
import numpy as np
import onnxruntime
import tokenizers

RATE = 16000


def normalise(text: str) -> str:
    """Lower case, letters, digits and apostrophes only, single spaces."""
    return " ".join(re.sub(r"[^a-z0-9' ]+", " ", text.lower().replace("-", " ")).split())


class Moonshine:
    """Moonshine base (arXiv 2410.15608) on plain ONNX Runtime, greedy decoding.

    Args:
        folder: holds encoder_model.ort, decoder_model_merged.ort (or .onnx) and tokenizer.json.
    """

    name = "Moonshine base en"
    layers, heads, head_size = 8, 8, 52
    start, end = 1, 2  # tokens
    tokens_per_second = 6.5  # a cap against endless repetition, as its authors advise

    def __init__(self, folder: str | Path) -> None:
        def session(stem: str) -> onnxruntime.InferenceSession:
            path = next(Path(folder).glob(f"{stem}.o*"))
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1  # one token at a time: more threads only wait for each other
            return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

        self.encoder, self.decoder = session("encoder_model"), session("decoder_model_merged")
        self.tokenizer = tokenizers.Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))

    def __call__(self, wave: np.ndarray) -> str:
        """(N,) at 16 kHz -> text."""
        (hidden,) = self.encoder.run(None, {"input_values": wave[None].astype(np.float32)})
        cache = {
            f"past_key_values.{layer}.{side}.{kind}": np.zeros((0, self.heads, 1, self.head_size), np.float32)
            for layer in range(self.layers)
            for side in ("decoder", "encoder")
            for kind in ("key", "value")
        }
        tokens = [self.start]
        for step in range(max(8, int(len(wave) / RATE * self.tokens_per_second))):
            logits, *present = self.decoder.run(
                None,
                {
                    "input_ids": np.array([tokens[-1:]], np.int64),
                    "encoder_hidden_states": hidden,
                    "use_cache_branch": np.array([step > 0]),
                    **cache,
                },
            )
            for key, value in zip(cache, present, strict=True):
                if step == 0 or ".decoder." in key:
                    cache[key] = value
            tokens.append(int(logits[0, -1].argmax()))
            if tokens[-1] == self.end:
                break
        return str(self.tokenizer.decode(tokens))


def error_rates(texts: list[str], heard: list[str]) -> tuple[float, float]:
    """(CER, WER) in per cent over a whole set, after `normalise`."""
    truth, said = [normalise(t) for t in texts], [normalise(h) for h in heard]
    return 100 * jiwer.cer(truth, said), 100 * jiwer.wer(truth, said)
