"""Probability by rank: both curves, their signs and a rank that is read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distprompt_tui.tui.drawing.styled_text import plain_text, width_of
from distprompt_tui.tui.run.density_picture import GUTTER
from distprompt_tui.tui.run.rank_view import RankData, RankView, rank_at, rank_lines
from tests.tui.run.test_density_view import random_distribution


def data_for(width: int, size: int = 1_000, *, zeros: bool = False, missing: int = 0) -> RankData:
    return RankView.summarise(random_distribution(size, zeros=zeros, missing=missing), width - GUTTER - 1)


@given(st.integers(1, 300), st.integers(24, 130), st.integers(6, 50), st.booleans(), st.booleans(), st.booleans())
def test_lines_fit(size: int, width: int, height: int, zeros: bool, has_cursor: bool, ascii_only: bool) -> None:
    data = data_for(width, size, zeros=zeros and size > 8)
    lines = rank_lines(data, 0 if has_cursor else None, width, height, ascii_only=ascii_only)
    assert len(lines) == height
    assert all(width_of(line) <= width for line in lines)


def test_curves_differ_without_colour() -> None:
    data = data_for(60)
    text = [plain_text(line) for line in rank_lines(data, None, 60, 30, ascii_only=True)]
    assert {"=", "-"} <= set("".join(text[1:-2]))
    assert text[0].split()[:4] == ["==", "target", "--", "achieved"]
    braille = [plain_text(line) for line in rank_lines(data, None, 60, 30, ascii_only=False)]
    assert any("\u2800" < char <= "\u28ff" for char in "".join(braille))


def test_equal_distributions_share_their_cells() -> None:
    made = random_distribution(500)
    same = RankView.summarise(type(made)(made.ids, made.target, made.target, made.contributions, 1.0, str, 1.0), 40)
    roles = {role for line in rank_lines(same, None, 48, 20, ascii_only=True)[1:-2] for _, role in line}
    assert "agreed" in roles
    assert "achieved" not in roles


def test_a_rank_is_read() -> None:
    data = data_for(60)
    made = random_distribution(1_000)
    heading = plain_text(rank_lines(data, 0, 60, 20, ascii_only=False)[0])
    assert heading == f"rank 1  target {made.target.max():.4f}  achieved {made.achieved.max():.4f}"
    column = 26
    rank = rank_at(data.curves, column)
    heading = plain_text(rank_lines(data, column, 60, 20, ascii_only=False)[0])
    assert heading.startswith(f"rank {rank}  target ")
    for value, values in ((heading.split()[3], made.target), (heading.split()[5], made.achieved)):
        assert float(value) == pytest.approx(np.sort(values)[-rank], rel=0.05)


def test_zeros_and_missing_tokens_are_named() -> None:
    line = plain_text(rank_lines(data_for(80, zeros=True), None, 80, 20, ascii_only=False)[-1])
    assert line.endswith("p = 0 for 250, q = 0 for 250.")
    line = plain_text(rank_lines(data_for(80, 60, missing=49_092), None, 80, 20, ascii_only=False)[-1])
    assert line == "Ranks among 60 recorded tokens; 49,092 were not recorded."
