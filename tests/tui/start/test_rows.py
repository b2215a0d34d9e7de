"""Tests of the rows of the start screen's lists."""

from __future__ import annotations

from dataclasses import replace

from distprompt_tui.models.registry import ModelEntry
from distprompt_tui.tui.drawing.styled_text import plain_text
from distprompt_tui.tui.start.rows import model_row


def test_a_model_is_listed_with_its_weights() -> None:
    entry = ModelEntry("smollm2", "SmolLM2", 134_515_008, 49_152, "package", "prepared", weights="Q4_1")
    row = model_row(entry, busy=False)
    assert plain_text(row.left) == "● smollm2"
    assert [plain_text(column).strip() for column in row.right] == ["Q4_1", "135 M", "49,152"]
    row = model_row(replace(entry, weights=None), busy=True)
    assert plain_text(row.left) == "◐ smollm2"
    assert plain_text(row.right[0]).strip() == "–"
