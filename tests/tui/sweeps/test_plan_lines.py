"""The grid of a sweep without results: its tables agree with its number of searches, and fit."""

from __future__ import annotations

import re

import pytest

from distprompt_tui.sweeps.catalog import read_sweep, sweep_files
from distprompt_tui.sweeps.sweep_spec import Sweep
from distprompt_tui.tui.drawing.styled_text import plain_text, width_of
from distprompt_tui.tui.sweeps.plan_lines import plan_lines
from distprompt_tui.tui.sweeps.sweep_plot import SweepPicture, SweepPlot


def test_settings_and_series_are_those_of_the_grid() -> None:
    sweep = Sweep.model_validate(
        {
            "name": "made-up",
            "models": ["smollm2", "gemma3-270m"],
            "methods": ["soft", "hard"],
            "entropies": [2.0, 4.5],
            "targets": 3,
            "seeds": [0, 7],
            "restarts": 2,
            "hard": {"steps": 1200},
            "series": [
                {"name": "one", "target": {"family": "outlier", "count": 4}},
                {"name": "two", "target": {"family": "lm"}, "models": ["smollm2"]},
                {"name": "three", "target": {"family": "zipf", "exponent": 1.25}},
            ],
            "texts": ["a", "b", "c"],
        }
    )
    lines = [re.sub(" +", " ", plain_text(line)).strip() for line in plan_lines(sweep, 120)]
    assert "smollm2, hard, 10 tokens 60 1,200" in lines
    assert "gemma3-270m, soft, 10 vectors 36 300" in lines
    assert "one 2, 4.5 nats 3 seeds outlier, count 4" in lines
    assert "two 2, 4.5 nats 3 texts lm, only on smollm2" in lines
    assert "three as made 3 seeds zipf, exponent 1.25" in lines
    assert lines[-1] == "initial prompts from seeds 0, 7; the best of 2 restarts counts"
    assert sweep.search_count == 2 * (60 + 36)


@pytest.mark.parametrize("size", [(56, 10), (116, 20), (196, 40)])
def test_every_shipped_grid_fits(size: tuple[int, int]) -> None:
    width, height = size
    for file in sweep_files():
        sweep = read_sweep(file)
        lines = SweepPlot(SweepPicture(sentence="Not started.", planned=sweep)).lines(width, height)
        assert len(lines) <= height
        assert all(width_of(line) <= width for line in lines)
        searches = [
            int(found) for found in re.findall(r"(?:vectors|tokens) +(\d+) ", "\n".join(map(plain_text, lines)))
        ]
        if height == 40:
            assert sum(searches) == sweep.search_count
