"""Adapt a bundle to one voice: a few offsets of its converter, trained on minutes of speech, on a CPU."""
