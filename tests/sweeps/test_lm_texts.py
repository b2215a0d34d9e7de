"""The shipped texts are many and varied, and a draw depends on the seed alone."""

from __future__ import annotations

import tomllib
from collections import Counter

from distprompt_tui.sweeps.lm_texts import FILE, draw_texts, shipped_texts

FORMS = {"prose", "exposition", "dialogue", "code", "list", "headline", "question", "letter", "verse"}


def test_texts_are_many_and_varied() -> None:
    entries = tomllib.loads(FILE.read_text(encoding="utf-8"))["texts"]
    texts = [entry["text"] for entry in entries]
    assert list(shipped_texts()) == texts
    assert len(set(texts)) == len(texts) >= 40
    assert min(Counter(entry["form"] for entry in entries).values()) >= 5
    assert {entry["form"] for entry in entries} == FORMS
    words = sorted(len(text.split()) for text in texts)
    assert words[0] <= 3
    assert words[-1] >= 80
    assert any("\n" in text for text in texts)
    assert all(text == text.strip() for text in texts)  # a space at the end splits the next token


def test_draw_is_a_permutation_by_seed() -> None:
    texts = shipped_texts()
    whole = draw_texts(0, len(texts) + 5)
    assert sorted(whole) == sorted(texts)
    assert draw_texts(0, 7) == whole[:7]
    assert draw_texts(1, 7) != whole[:7]
    assert whole != texts
