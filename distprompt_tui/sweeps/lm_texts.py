"""The shipped texts of `lm` and `shuffled` targets, drawn by seed."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

from numpy.random import PCG64, Generator

FILE = Path(__file__).with_name("lm_texts.toml")


@cache
def draw_texts(seed: int, count: int) -> tuple[str, ...]:
    """Draw texts without replacement; fewer than `count` if there are not as many.

    The first texts of a larger draw are those of a smaller one with the same seed.
    """
    texts = shipped_texts()
    order = Generator(PCG64(seed)).permutation(len(texts))[:count]
    return tuple(texts[place] for place in order)


@cache
def shipped_texts() -> tuple[str, ...]:
    """Return all shipped texts in the order of their file."""
    return tuple(entry["text"] for entry in tomllib.loads(FILE.read_text(encoding="utf-8"))["texts"])
