"""Entropy, excess, prompt, key bar, help and the start screen's parts, as plain lines."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distprompt_tui.bounds.values import Bounds
from distprompt_tui.runs.schema import PromptToken
from distprompt_tui.tui import keymap
from distprompt_tui.tui.drawing.styled_text import plain_text, width_of
from distprompt_tui.tui.run.gauges import EntropyData, ExcessData, entropy_lines, excess_lines, one_line
from distprompt_tui.tui.run.prompt_view import PromptData, prompt_lines, prompt_title
from distprompt_tui.tui.start.target_preview import PreviewData, preview_lines
from distprompt_tui.tui.start.target_preview_data import FoundBounds, TargetPreview
from distprompt_tui.tui.tools.help_screen import help_lines
from distprompt_tui.tui.widgets.key_bar import fitting_keys
from distprompt_tui.tui.widgets.search_form import LENGTHS, next_value
from tests.tui.recording import HOSTILE

SPLIT = ExcessData(
    best_kl=0.231,
    start_kl=4.8,
    excess=0.041,
    gap_closed=0.991,
    bounds=Bounds(floor=0.038, head_optimum=0.19),
    entropy_target=6.0,
    entropy=5.71,
)


def text(lines: list) -> str:
    return "\n".join(plain_text(line) for line in lines)


def test_both_entropies_share_a_scale() -> None:
    target, achieved = entropy_lines(EntropyData(6.0, 3.0, 49_152), 80)
    assert plain_text(target).count("█") == pytest.approx(2 * plain_text(achieved).count("█"), abs=1)
    assert {role for _, role in target} >= {"target"}
    assert {role for _, role in achieved} >= {"achieved"}


def test_the_split_adds_up_in_words() -> None:
    assert "best 0.231 = head optimum 0.190 + excess 0.041" in text(excess_lines(SPLIT, 60))
    assert "floor 0.038 proven; head optimum: measured" in text(excess_lines(SPLIT, 60))
    line = text(one_line(SPLIT, 78))
    assert "H 5.71 of 6.00" in line
    assert "H 5.71 of 6.00" in line


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (ExcessData(), "after the first step"),
        (ExcessData(best_kl=0.5), "being computed"),
        (ExcessData(best_kl=0.5, bounds_expected=False), "No bounds available"),
        (ExcessData(best_kl=0.5, bounds=Bounds(why_no_floor="soft-capping")), "No floor: soft-capping"),
        (ExcessData(best_kl=0.5, bounds=Bounds(floor=0.1)), "head optimum: not yet"),
    ],
)
def test_unknown_values_have_messages(data: ExcessData, words: str) -> None:
    assert words in text(excess_lines(data, 80))


def hard(changed: list[int]) -> PromptData:
    return PromptData("hard", tuple(PromptToken(i, f" t{i}", changed=step) for i, step in enumerate(changed)))


def test_last_change_is_highlighted() -> None:
    data = hard([0, 7, 3])
    assert prompt_title(data) == "Prompt  3 tokens, position 2 changed at step 7"
    lines, _ = prompt_lines(data, 60, flowing=False)
    changed = [span for line in lines for span in line if span[1] == "changed"]
    assert any("t1" in token for token, _ in changed)
    assert not any("t2" in token for token, _ in changed)
    assert prompt_title(hard([0, 0])) == "Prompt  2 tokens"


def test_a_hostile_reason_and_a_vanishing_divergence_are_drawn() -> None:
    hostile = replace(SPLIT, bounds=Bounds(why_no_floor="\x1b]0;owned\x07"))
    assert "\x1b" not in text(excess_lines(hostile, 60))
    assert "█" * 60 in text(excess_lines(replace(SPLIT, best_kl=5e-324), 60))


@given(st.lists(st.sampled_from(HOSTILE), min_size=1, max_size=40), st.integers(30, 120), st.booleans())
def test_prompts_fit_and_show_every_position(texts: list[str], width: int, flowing: bool) -> None:
    tokens = tuple(PromptToken(i, token, cosine=0.41, norm=1.1) for i, token in enumerate(texts))
    lines, places = prompt_lines(PromptData("soft", tokens), width, flowing=flowing)
    assert places == sorted(places)
    assert len(places) == len(tokens)
    assert all(width_of(line) <= width for line in lines)
    assert text(lines).count(".41") == len(texts)


def test_key_bar_keeps_keys_by_priority() -> None:
    table = (*keymap.LIVE_KEYS, *keymap.APP_KEYS)
    shown = [key for key in table if key.footer_rank is not None]
    narrow = fitting_keys(shown, {}, 30)
    assert [key.label for key in narrow] == ["help", "palette", "quit"]
    assert [key.action for key in fitting_keys(shown, {}, 500)] == [key.action for key in shown]
    assert {"pause", "stop", "detach"} <= {key.action for key in fitting_keys(shown, {}, 78)}


@pytest.mark.parametrize("table", [(*keymap.LIVE_KEYS, *keymap.HISTORY_KEYS), keymap.START_KEYS])
def test_the_help_names_every_key(table: tuple[keymap.Key, ...]) -> None:
    lines = help_lines((*table, *keymap.APP_KEYS), 72)
    shown = text(lines)
    assert all(key.help in shown and key.display in shown for key in table)
    assert "head optimum" in shown
    assert all(width_of(line) <= 76 for line in lines)


def test_the_help_writes_each_key_of_a_pair_and_the_bar_both() -> None:
    shown = [plain_text(line).split(maxsplit=1) for line in help_lines(keymap.START_KEYS, 72) if line]
    assert ["[", "A shorter prompt"] in shown
    assert ["]", "A longer prompt"] in shown
    assert {key.pair for key in keymap.START_KEYS} == {"", "[ ]", "- +"}


@pytest.mark.parametrize(
    "table",
    [
        (*keymap.LIVE_KEYS, *keymap.HISTORY_KEYS),
        *(keymap.START_KEYS, keymap.RUNS_KEYS, keymap.COMPARE_KEYS, keymap.SWEEPS_KEYS, keymap.SWEEP_KEYS),
    ],
)
def test_no_key_has_two_meanings(table: tuple[keymap.Key, ...]) -> None:
    bound = [name for key in (*table, *keymap.APP_KEYS) if key.action for name in key.keys.split(",")]
    assert len(bound) == len(set(bound))


@given(st.integers(-5, 200))
def test_usual_values_go_up_and_down(now: int) -> None:
    assert next_value(LENGTHS, now, 1) >= min(now, LENGTHS[-1])
    assert next_value(LENGTHS, now, -1) <= max(now, LENGTHS[0])


TARGET = TargetPreview(
    "falling by rank", 3.0, 1.5, tuple((i, token, 0.1) for i, token in enumerate(HOSTILE)), (0.5, 0.1, 0.0)
)


@pytest.mark.parametrize("height", [8, 16, 30])
def test_a_preview_shows_numbers_and_tokens(height: int) -> None:
    data = PreviewData("Title", "What it is", TARGET, bounds=FoundBounds(0.04, 0.19, None, True))
    lines = preview_lines(data, 70, height)
    shown = text(lines)
    assert len(lines) <= height
    assert all(width_of(line) <= 70 for line in lines)
    for words in ("3.000", "uniform", "head optimum    0.190", "floor           0.040", "·banana"):
        assert words in shown


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (PreviewData(going_on="Building the target…"), "Building the target"),
        (PreviewData(going_on="no such token", failed=True), "no such token"),
        (PreviewData(target=TARGET), "not yet"),
        (PreviewData(target=TARGET, bounds_going_on="loading smollm2"), "loading smollm2"),
        (PreviewData(target=TARGET, bounds=FoundBounds(why_no_floor="soft-capping", done=True)), "none: soft-capping"),
    ],
)
def test_preview_shows_what_is_missing(data: PreviewData, words: str) -> None:
    assert words in text(preview_lines(data, 70, 20))
