"""Ways to damage bytes and values."""

from __future__ import annotations

from typing import Any

import numpy as np

Random = np.random.Generator

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
VALUES: tuple[Any, ...] = (
    None, True, False,
    0, 1, -1, 2, 3, 63, 79, 81, 2**31, 2**63, -(2**63), 10**30, 10**400, 0.5, -0.5, 1e-320, 1e308, -1e308,
    float("nan"), float("inf"), -float("inf"), "", "x", "a" * 10_000, "\x00", "../x", "/etc/passwd", "\x1b[31m", [], {},
    [1], {"a": 1}, [[[[]]]], [0.0] * 80, [1e30] * 80, [0] * 100_000,
)  # fmt: skip

NUMBERS = (lambda x: x + 1, lambda x: -x, lambda x: x * 10, lambda x: x * 1e6, lambda x: x / 1e6, float, str, int)


def pick(random: Random, choices: Any) -> Any:
    return choices[int(random.integers(len(choices)))]


def flip_bits(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for place in random.integers(len(changed), size=int(random.choice([1, 2, 8, 64]))):
        changed[place] ^= 1 << int(random.integers(8))
    return bytes(changed)


def truncate(data: bytes, random: Random) -> bytes:
    return data[: int(random.integers(len(data)))]


def splice(data: bytes, random: Random) -> bytes:
    """A part is removed, doubled, moved or filled."""
    start, size = int(random.integers(len(data))), int(random.choice([1, 7, 64, 1000, 8192]))
    part = data[start : start + size]
    filler = pick(random, [b"", part + part, bytes(size), b"\xff" * size, random.bytes(size)])
    return data[:start] + filler + data[start + size :]


def overwrite(data: bytes, random: Random) -> bytes:
    """Numbers near the start become extreme ones, as where a header lies."""
    changed = bytearray(data)
    for _ in range(int(random.integers(1, 4))):
        size = int(random.choice([1, 2, 4, 8]))
        place = int(random.integers(max(1, min(len(changed), pick(random, [48, 200, len(changed)])) - size)))
        value = int(random.choice(EXTREMES)) % 256**size
        changed[place : place + size] = value.to_bytes(size, pick(random, ["little", "big"]))
    return bytes(changed)


def overwrite_the_end(data: bytes, random: Random) -> bytes:
    """The same near the end, where a .zip keeps its directory."""
    size = min(len(data) - 1, 400)
    return data[:-size] + overwrite(data[-size:], random)


def garbage(data: bytes, random: Random) -> bytes:
    return pick(random, [b"", b"\x00", bytes(5000), random.bytes(300), data[:4] + random.bytes(2000), b"RIFF" * 50])


BYTES = (flip_bits, flip_bits, truncate, splice, overwrite, overwrite, overwrite_the_end, garbage)


def damaged(data: bytes, random: Random) -> bytes:
    """`data`, damaged in one or two ways; a tenth of the time as it is."""
    if random.random() < 0.1:
        return data
    for _ in range(int(random.integers(1, 3))):
        if len(data) > 8:
            data = pick(random, BYTES)(data, random)
    return data


def damaged_tree(tree: Any, random: Random) -> Any:
    """Nested lists and dictionaries with one value replaced, removed, added or renamed."""
    if isinstance(tree, dict) and tree and random.random() < 0.85:
        tree, key = dict(tree), pick(random, sorted(tree))
        action = random.random()
        if action < 0.7:
            tree[key] = damaged_tree(tree[key], random)
        elif action < 0.8:
            del tree[key]
        elif action < 0.9:
            tree[key + "x"] = tree.pop(key)
        else:
            tree["surprise"] = pick(random, VALUES)
        return tree
    if isinstance(tree, list) and tree and random.random() < 0.6:
        place = int(random.integers(len(tree)))
        return [*tree[:place], damaged_tree(tree[place], random), *tree[place + int(random.integers(2)) :]]
    if isinstance(tree, int | float) and not isinstance(tree, bool) and random.random() < 0.7:
        try:
            return pick(random, NUMBERS)(tree)
        except (OverflowError, ValueError):  # a huge or infinite number
            return 0
    return pick(random, VALUES)
