"""Tests of the rows of the start screen's lists."""

from __future__ import annotations

from dataclasses import replace

from distprompt_tui.models.registry import ModelEntry
from distprompt_tui.tui.start.rows import model_row


def test_a_model_is_listed_with_its_weights() -> None:
    entry = ModelEntry("smollm2", "SmolLM2", 134_515_008, 49_152, "package", "prepared", weights="Q4_1")
    shown = "".join(text for text, _ in model_row(entry, busy=False).left)
    assert shown == "● smollm2 · Q4_1"
    assert "".join(text for text, _ in model_row(replace(entry, weights=None), busy=True).left) == "◐ smollm2"
