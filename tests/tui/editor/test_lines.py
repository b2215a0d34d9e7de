"""Lines of the editor: validation, rest, notes, visible whitespace."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from distprompt_tui.tui.drawing.styled_text import plain_text, width_of
from distprompt_tui.tui.editor.lines import RestData, ValidationData, rest_lines, validation_lines
from distprompt_tui.tui.editor.target_draft import RowValidation
from distprompt_tui.tui.editor.target_rows import note_line
from distprompt_tui.tui.widgets.visible_input import show_whitespace


@given(st.text(max_size=20), st.booleans())
def test_symbols_keep_positions(text: str, all_spaces: bool) -> None:
    shown = show_whitespace(text, space="·", all_spaces=all_spaces)
    assert len(shown) == len(text)
    assert all(char.isprintable() for char in shown)
    assert not all_spaces or " " not in shown
    assert not shown.startswith(" ")
    assert not shown.endswith(" ")


def test_signs_between_words_are_for_tokens_only() -> None:
    assert show_whitespace(" a b ", space="·", all_spaces=True) == "·a·b·"
    assert show_whitespace(" a b ", space="·", all_spaces=False) == "·a b·"


@given(st.text(max_size=80), st.booleans(), st.text(max_size=80), st.integers(10, 120), st.integers(1, 3))
def test_the_validation_fits(problem: str, is_wrong: bool, row: str, width: int, height: int) -> None:
    lines = validation_lines(ValidationData(problem, is_wrong, row), width, height)
    assert lines
    assert all(width_of(line) <= width for line in lines)


@given(st.floats(0, 1e9), st.integers(10, 80))
def test_the_rest_fits(total: float, width: int) -> None:
    lines = rest_lines(RestData(total), width)
    assert len(lines) == 2
    assert all(width_of(line) <= width for line in lines)
    assert width < 40 or ("too much" in plain_text(lines[0])) == (total > 1 + 1e-9)


def test_note_is_the_full_sentence_if_it_fits() -> None:
    report = RowValidation("2 tokens", "it is two tokens", is_wrong=True)
    assert plain_text(note_line(report, 40)) == "✕ it is two tokens"
    assert plain_text(note_line(report, 12)) == "✕ 2 tokens"
    assert width_of(note_line(report, 5)) == 5
