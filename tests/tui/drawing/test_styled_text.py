"""Lines of spans: truncating, justifying and wrapping respect widths; markup is not parsed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distprompt_tui.core.text.ascii import to_ascii
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.tui.drawing.styled_text import content, fit_parts, justify, plain_text, truncate, width_of, wrapped
from tests.tui.recording import HOSTILE

texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf", "Mn", "Me"]), max_size=30)


@given(st.lists(texts, max_size=4), st.integers(0, 40))
def test_cut_lines_fit(parts: list[str], width: int) -> None:
    line = [(part, "") for part in parts]
    assert width_of(truncate(line, width)) <= max(width, 0)
    if width_of(line) <= width:
        assert truncate(line, width) == line


@given(texts, texts, st.integers(1, 60))
def test_spread_lines_have_the_width_or_less(left: str, right: str, width: int) -> None:
    assert width_of(justify([(left, "")], [(right, "")], width)) <= width


def test_fitting_drops_the_least_important_first() -> None:
    parts = [[("phase", "")], [("step", "")], [("eta", "")]]
    assert plain_text(fit_parts(parts, 30)) == "phase  step  eta"
    assert plain_text(fit_parts(parts, 12)) == "phase  step"
    assert plain_text(fit_parts(parts, 3)) == "ph…"


@given(st.text(alphabet="abc ", max_size=80), st.integers(4, 20))
def test_wrapped_text_keeps_its_words(text: str, width: int) -> None:
    lines = wrapped(text, width)
    assert all(width_of(line) <= width for line in lines)
    if all(len(word) <= width for word in text.split()):
        assert " ".join(plain_text(line) for line in lines).split() == text.split()


@pytest.mark.parametrize("text", HOSTILE)
def test_content_is_never_markup(text: str) -> None:
    shown = content([[(sanitize(text), "target")]])
    assert shown.plain == sanitize(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_safe_text_holds_no_control_characters(text: str) -> None:
    assert all(char.isprintable() or char == " " for char in sanitize(text))


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf", "Mn", "Me"]), max_size=20))
def test_ascii_mode_keeps_every_width(text: str) -> None:
    shown = to_ascii(text)
    assert shown.isascii()
    assert len(shown) == width_of([(text, "")])


def test_ascii_mode_keeps_the_bars_apart() -> None:
    assert to_ascii("█▀▄▏ ⠿") == "#=-: *"
