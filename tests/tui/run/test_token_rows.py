"""A token's lines: exact width, equal columns in all rows, sanitised text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from wcwidth import wcwidth

from distprompt_tui.core.metrics.totals import Totals
from distprompt_tui.core.text.terminal_text import fit, visible_token
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.tui.drawing.styled_text import plain_text, width_of
from distprompt_tui.tui.run.bar_scale import BarScale
from distprompt_tui.tui.run.token_rows import columns_for, header_line, rest_line, row_lines
from distprompt_tui.tui.run.token_table import TokenRow
from distprompt_tui.tui.settings import ORDERS, Order
from tests.tui.recording import HOSTILE

masses = st.floats(0, 1, allow_nan=False)

TOKEN_CELLS = columns_for(80).token


@given(
    st.text(max_size=20), masses, masses, st.floats(-2, 2), st.integers(46, 160), st.booleans(), st.sampled_from(ORDERS)
)
def test_rows_have_the_width(
    text: str, target: float, achieved: float, contribution: float, width: int, log: bool, order: Order
) -> None:
    columns = columns_for(width, order)
    row = TokenRow(123_456, text, target, achieved, contribution)
    lines = row_lines(row, columns, BarScale(1.0, log=log), marked=log, ascii_only=False)
    assert len(lines) == columns.lines_per_row
    assert [width_of(line) for line in lines] == [width] * len(lines)
    assert width_of(header_line(columns, order, BarScale(1.0, log=log))) == width or columns.two_lines


@pytest.mark.real_model
@pytest.mark.parametrize("which", ["smollm2_vocabulary", "gemma_vocabulary"])
def test_every_token_of_the_real_vocabularies_keeps_its_column(which: str, request: pytest.FixtureRequest) -> None:
    """Output is sanitised; a terminal that counts character by character finds the same column."""
    vocabulary: Vocabulary = request.getfixturevalue(which)
    for token in range(vocabulary.size):
        whole = visible_token(vocabulary.text(token))
        assert whole.isprintable(), token
        for text in (whole, fit(whole, TOKEN_CELLS)):
            assert sum(map(wcwidth, text)) == cell_len(text), (token, text)
        assert cell_len(text) == TOKEN_CELLS


@pytest.mark.parametrize(
    "text", ["क\u093e", "\u2764\ufe0f", "\U0001f64f\U0001f3fb", "\U0001f1f7\U0001f1fa", "\u1100\u1161"]
)
def test_ambiguous_characters_are_escaped(text: str) -> None:
    assert visible_token(text).endswith(f"‹{ord(text[-1]):X}›")


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("width", [48, 120])
def test_hostile_tokens_show_their_id(text: str, width: int) -> None:
    lines = row_lines(
        TokenRow(777, text, 0.4, 0.2, 0.5), columns_for(width), BarScale(0.4), marked=False, ascii_only=False
    )
    shown = "".join(plain_text(line) for line in lines)
    assert "777" in shown
    assert all(char.isprintable() for char in shown)


def test_the_bar_stands_beside_the_numbers_where_there_is_room() -> None:
    assert not columns_for(100).two_lines
    assert not columns_for(56).two_lines
    assert columns_for(48).two_lines
    assert columns_for(200).bar > columns_for(100).bar


def test_half_a_terminal_shows_three_numbers_with_the_one_that_sorts() -> None:
    columns = columns_for(56, "contribution")
    assert plain_text(header_line(columns, "contribution", BarScale(1.0))).split()[-3:] == ["achieved", "of", "KL"]
    (line,) = row_lines(TokenRow(7, "a", 0.5, 0.2, 0.9), columns, BarScale(1.0), marked=False, ascii_only=False)
    assert plain_text(line).split()[-4:] == ["0.5000", "0.2000", "90", "%"]
    columns = columns_for(56, "gap")
    assert plain_text(header_line(columns, "gap", BarScale(1.0))).split()[-2:] == ["achieved", "gap"]
    (line,) = row_lines(TokenRow(7, "a", 0.5, 0.2, 0.9), columns, BarScale(1.0), marked=False, ascii_only=False)
    assert plain_text(line).split()[-3:] == ["0.5000", "0.2000", "−0.3000"]
    assert plain_text(rest_line(Totals(3, 0.5, 0.2, 0.9), 0.9, columns)).split()[-3:] == ["0.5000", "0.2000", "−0.3000"]


def test_a_small_mass_is_longer_on_a_log_scale() -> None:
    def reach(log: bool) -> int:
        (line,) = row_lines(
            TokenRow(1, "a", 1e-3, 1e-3, 0.0), columns_for(100), BarScale(1.0, log=log), marked=False, ascii_only=False
        )
        return plain_text(line).count("█")

    assert reach(log=False) == 0
    assert reach(log=True) > 5


def test_gap_has_the_colour_of_the_larger_value() -> None:
    def gap_role(target: float, achieved: float) -> str:
        (line,) = row_lines(
            TokenRow(1, "a", target, achieved, 0.0), columns_for(100), BarScale(1.0), marked=False, ascii_only=False
        )
        return next(role for text, role in line if text.strip().startswith(("+", "−")))

    assert gap_role(0.5, 0.2) == "target"
    assert gap_role(0.2, 0.5) == "achieved"


def test_ascii_mode_writes_code_points() -> None:
    row = TokenRow(1, " 東", 0.5, 0.5, 0.0)
    (line,) = row_lines(row, columns_for(100), BarScale(1.0), marked=False, ascii_only=True)
    assert "_<6771>" in plain_text(line)


@given(st.integers(1, 300_000), masses, masses, st.floats(0, 50), st.integers(47, 160))
def test_the_last_row_has_the_width(
    count: int, target: float, achieved: float, contribution: float, width: int
) -> None:
    line = rest_line(Totals(count, target, achieved, contribution), 0.5, columns_for(width))
    assert width_of(line) == width
    assert f"{count:,}" in plain_text(line)


def test_the_last_row_names_what_it_sums() -> None:
    rest = Totals(49_135, 0.5008, 0.5125, 0.333)
    assert plain_text(rest_line(rest, 0.34, columns_for(78))).split() == [
        *("49,135", "other", "tokens", "0.5008", "0.5125", "+0.0117", "98", "%")
    ]
    assert plain_text(rest_line(rest, 0.34, columns_for(47))).split()[:2] == ["49,135", "more"]
    assert "1 other token " in plain_text(rest_line(Totals(1), 0.34, columns_for(78)))
