"""Tests of formatted numbers and bars: fixed widths, signs, and 0 for exact zeros only."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from distprompt_tui.core.text import formatting
from distprompt_tui.tui.drawing.styled_text import plain_text, width_of

masses = st.floats(0, 1, allow_nan=False)
numbers = st.floats(allow_nan=True, allow_infinity=True)
widths = st.integers(0, 60)


@given(masses)
def test_probabilities_fit_their_column(value: float) -> None:
    assert len(formatting.mass(value)) <= formatting.MASS_WIDTH
    assert (formatting.mass(value) == "0") == (value == 0)


@given(st.floats(-1, 1, allow_nan=False))
def test_gaps_fit_their_column_and_have_a_sign(value: float) -> None:
    text = formatting.gap(value)
    assert len(text) <= formatting.GAP_WIDTH
    assert text[0] == ("0" if value == 0 else "−" if value < 0 else "+")


@given(numbers)
@example(1e-320)
@example(-999.99951)
def test_nats_are_short(value: float) -> None:
    text = formatting.nats(value)
    assert len(text) <= 8 + (abs(value) >= 1e99)
    assert len(text) <= 7 or value < 0 or value >= 1e99
    assert (text == "0.000") == (value == 0)


@given(numbers)
def test_shares_keep_their_column(value: float) -> None:
    assert len(formatting.percent(value)) <= formatting.CONTRIBUTION_WIDTH


@given(numbers)
def test_nan_and_infinity_are_not_shown(value: float) -> None:
    for text in (formatting.nats(value), formatting.mass(value), formatting.gap(value), formatting.percent(value)):
        assert "nan" not in text
        assert "inf" not in text


def test_gap_closed_never_rounds_up_to_100() -> None:
    assert formatting.gap_closed(0.99999) == "99.9 %"
    assert formatting.gap_closed(1.0) == "100.0 %"
    assert formatting.gap_closed(-0.25) == "−25.0 %"


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "—"), (math.inf, "—"), (7.9, "7 s"), (96, "1:36"), (7390, "2:03:10"), (-3, "0 s")]
)
def test_durations(seconds: float | None, text: str) -> None:
    assert formatting.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "—"), (999, "999"), (134_515_008, "135 M"), (1_700_000_000, "1.7 B")]
)
def test_magnitudes(value: int | None, text: str) -> None:
    assert formatting.magnitude(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "just now"), (185, "3 min ago"), (7201, "2 h ago"), (172_800, "2 d ago")]
)
def test_ages(seconds: float, text: str) -> None:
    assert formatting.ago(seconds) == text


@pytest.mark.parametrize(
    ("speed", "text"), [(None, "—"), (6.12, "6.1 steps/s"), (240.0, "240 steps/s"), (0.2, "12 steps/min")]
)
def test_rates(speed: float | None, text: str) -> None:
    assert formatting.rate(speed) == text


@given(masses, masses, widths)
def test_overlaid_bars_show_the_longer_bar(target: float, achieved: float, width: int) -> None:
    line = formatting.overlaid_bars(target, achieved, width)
    text = plain_text(line)
    assert width_of(line) == width
    longer_target = round(target * width) > round(achieved * width)
    longer_achieved = round(achieved * width) > round(target * width)
    assert ("▀" in text) == longer_target
    assert ("▄" in text) == longer_achieved
    assert text.count("█") == min(round(target * width), round(achieved * width))
    if width and max(target, achieved) > 0:
        assert text.strip()
    if target == achieved == 0:
        assert not text.strip()


def test_overlaid_bars_have_a_colour_per_character() -> None:
    roles = {text[0]: role for text, role in formatting.overlaid_bars(0.8, 0.5, 10)}
    assert roles["█"] == "agreed"
    assert roles["▀"] == "target"
    assert {text[0]: role for text, role in formatting.overlaid_bars(0.1, 0.5, 10)}["▄"] == "achieved"


@given(numbers, widths)
def test_bars_have_the_requested_width(fraction: float, width: int) -> None:
    assert cell_len(formatting.bar(fraction, width)) == width


@given(st.floats(0, 1, exclude_min=True), st.integers(1, 40))
def test_bars_show_every_positive_value(fraction: float, width: int) -> None:
    assert formatting.bar(fraction, width).strip()


@given(st.lists(masses, max_size=80), widths)
def test_sparklines_have_the_width_and_are_empty_for_zeros(values: list[float], width: int) -> None:
    text = formatting.sparkline(values, width)
    assert len(text) == width
    if not any(values):
        assert not text.strip()


@given(masses, st.floats(1e-9, 0.1))
def test_log_positions_are_fractions(value: float, low: float) -> None:
    assert 0 <= formatting.log_position(value, low, 1.0) <= 1


def test_nouns_agree_with_their_number() -> None:
    assert [formatting.counted(n, "step") for n in (0, 1, 2, 1000)] == ["0 steps", "1 step", "2 steps", "1,000 steps"]
    assert [formatting.counted(n, "search") for n in (1, 2)] == ["1 search", "2 searches"]
