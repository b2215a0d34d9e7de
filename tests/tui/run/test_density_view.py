"""Density, decades and cells of hand-made and random distributions."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distprompt_tui.core.metrics.kl_terms import kl_contributions
from distprompt_tui.core.metrics.totals import Totals
from distprompt_tui.tui.drawing.styled_text import plain_text, width_of
from distprompt_tui.tui.run.decade_rows import decade_lines
from distprompt_tui.tui.run.density_picture import (
    axes,
    describe_place,
    largest_place,
    next_place,
    picture_lines,
    picture_size,
    place_at,
    place_in,
)
from distprompt_tui.tui.run.density_view import HINT, DensityData, DensityView, density_lines, layout
from distprompt_tui.tui.run.distribution import Distribution
from tests.tui.recording import HOSTILE


def random_distribution(size: int, seed: int = 0, *, zeros: bool = False, missing: int = 0) -> Distribution:
    rng = np.random.default_rng(seed)
    p, q = np.exp(3 * rng.standard_normal((2, size)))
    if zeros:
        p[: size // 4], q[: size // 2 : 2] = 0, 0
    p, q = p / p.sum(), (q / q.sum()).astype(np.float32)
    contributions = kl_contributions(p, q)
    rest = Totals(missing, 0.1, 0.2, 0.5) if missing else Totals()
    kl = float(contributions.sum()) + rest.contribution
    texts = [HOSTILE[i % len(HOSTILE)] for i in range(size)]
    return Distribution(range(size), p, q.astype(np.float64), contributions, kl, texts.__getitem__, 1.4e-45, rest)


def data_for(distribution: Distribution, width: int, height: int) -> DensityData:
    sizes = layout(width, height)
    assert sizes is not None
    return DensityView.summarise(distribution, picture_size(sizes.picture_width, sizes.picture_height))


def shown(data: DensityData, width: int, height: int, cursor: tuple[int, int] | None = None) -> str:
    return "\n".join(plain_text(line) for line in density_lines(data, cursor, width, height, ascii_only=False))


@pytest.mark.parametrize(("width", "words"), [(36, "KL 2.082 saved"), (80, "KL 2.082 nats, as last saved")])
def test_the_sum_says_that_it_is_as_saved(width: int, words: str) -> None:
    """The headline of a running search is newer than the arrays on disk, and may differ."""
    total = plain_text(decade_lines([], Totals(49_152, 0.5, 0.5, 2.082), 2.082, width)[-1])
    assert " ".join(total.split()) == f"all 49,152 {words}"


@given(
    st.integers(1, 300),
    st.integers(30, 130),
    st.integers(6, 50),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0, 49_000]),
)
def test_lines_fit(
    size: int, width: int, height: int, zeros: bool, has_cursor: bool, ascii_only: bool, missing: int
) -> None:
    data = data_for(random_distribution(size, zeros=zeros and size > 8, missing=missing), width, height)
    cursor = largest_place(data.density) if has_cursor else None
    lines = density_lines(data, cursor, width, height, ascii_only=ascii_only)
    assert len(lines) <= height
    assert all(width_of(line) <= width for line in lines)
    text = "\n".join(plain_text(line) for line in lines)
    assert "\x1b" not in text
    if ascii_only:
        assert not any("\u2800" <= char <= "\u28ff" for char in text)


def test_decades_sum_to_the_divergence_on_the_screen() -> None:
    distribution = random_distribution(5_000)
    text = shown(data_for(distribution, 60, 40), 60, 40)
    assert f"5,000  KL {distribution.kl:.3f} nats" in text
    counts = re.findall(r"^(?:\S+ – \S+|< \S+) +([\d,]+) .*%", text, re.MULTILINE)
    assert len(counts) > 5
    assert sum(int(count.replace(",", "")) for count in counts) == 5_000


def test_tokens_that_were_not_recorded_have_a_row() -> None:
    text = shown(data_for(random_distribution(60, missing=49_092), 80, 30), 80, 30)
    assert "not recorded" in text
    assert "49,092" in text
    assert "49,152" in text


def test_zeros_are_named() -> None:
    distribution = random_distribution(400, zeros=True)
    text = shown(data_for(distribution, 80, 30), 80, 30)
    assert "p = 0" in text
    assert "tokens with p > 0 and q = 0" in text
    assert "1.4e-45" in text
    assert "0└" in text


@pytest.mark.parametrize("size", [(40, 12), (80, 9), (60, 36), (118, 36)])
def test_a_cell_lists_its_largest_contributions(size: tuple[int, int]) -> None:
    distribution = random_distribution(3_000)
    data = data_for(distribution, *size)
    place = largest_place(data.density)
    cell = data.cell(place)
    assert cell.count == data.density.counts[place]
    values = [row.contribution for row in cell.rows]
    assert values == sorted(values, reverse=True)
    text = shown(data, *size, place)
    assert f"{cell.count:,} token" in text
    assert describe_place(data.density, place) in text
    assert HINT not in text


def test_small_screens_show_decades_or_the_cell() -> None:
    data = data_for(random_distribution(3_000), 80, 9)
    assert "tokens  of KL" in shown(data, 80, 9)
    assert "tokens  of KL" not in shown(data, 80, 9, largest_place(data.density))


@given(st.integers(1, 200), st.integers(0, 1_000), st.booleans())
def test_arrow_keys_reach_every_column(size: int, seed: int, zeros: bool) -> None:
    density = data_for(random_distribution(size, seed, zeros=zeros and size > 8), 60, 30).density
    cursor = largest_place(density)
    assert density.counts[cursor] > 0
    for down, right in ((0, -1), (0, 1), (-1, 0), (1, 0)):
        visited = set()
        for _ in range(300):
            visited.add(cursor)
            cursor = next_place(density, cursor, down, right)
        axis = 0 if down else 1
        filled = {int(place) for place in density.counts.nonzero()[axis]}
        assert cursor[axis] == (max(filled) if down + right > 0 else min(filled))
        if (down, right) == (0, 1):
            assert {column for _, column in visited} == filled


@pytest.mark.parametrize("zeros", [False, True])
def test_a_click_finds_the_drawn_cell(zeros: bool) -> None:
    density = data_for(random_distribution(300, zeros=zeros), 60, 30).density
    lines = [plain_text(line) for line in picture_lines(density, None, "achieved", ascii_only=True)]
    found = {}
    for y, line in enumerate(lines):
        for x in range(len(line)):
            place = place_at(density, x, y)
            if place is not None:
                found[place] = line[x]
    assert len(found) == density.rows * density.columns
    for place, char in found.items():
        assert (char in ".,:;+x%@") == (density.counts[place] > 0), place


def test_a_cursor_keeps_its_probabilities_when_the_size_changes() -> None:
    distribution = random_distribution(3_000)
    small, large = (data_for(distribution, *size).density for size in ((40, 14), (118, 36)))
    cursor = largest_place(small)
    moved = place_in(small, cursor, large)
    assert large.counts[moved] > 0
    for axis, new, position, length in (
        (axes(small)[0], axes(large)[0], cursor[1], moved[1]),
        (axes(small)[1], axes(large)[1], small.rows - 1 - cursor[0], large.rows - 1 - moved[0]),
    ):
        assert axis.power(position + 0.5) == pytest.approx(new.power(length + 0.5), abs=0.5)
    assert place_in(large, moved, large) == moved


def test_larger_probabilities_are_to_the_right_and_above() -> None:
    p, q = np.array([0.9, 0.1]), np.array([0.1, 0.9])
    contributions = kl_contributions(p, q)
    made = Distribution(range(2), p, q, contributions, float(contributions.sum()), str, 1.4e-45)
    lines = density_lines(data_for(made, 60, 20), None, 60, 20, ascii_only=True)
    assert {role for line in lines[:12] for text, role in line if "." in text} - {"quiet"} == {"target", "achieved"}
