"""Prompt, key bar, help and the start screen's parts, as plain lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distprompt_tui.runs.schema import PromptToken
from distprompt_tui.tui import keymap
from distprompt_tui.tui.drawing.styled_text import plain_text, width_of
from distprompt_tui.tui.run.prompt_view import PromptData, prompt_lines, prompt_title
from distprompt_tui.tui.start.target_preview import PreviewData, preview_lines
from distprompt_tui.tui.start.target_preview_data import FoundBounds, ServerStatus, TargetPreview
from distprompt_tui.tui.tools.help_screen import help_lines
from distprompt_tui.tui.widgets.key_bar import fitting_keys
from distprompt_tui.tui.widgets.search_form import LENGTHS, next_value
from tests.tui.recording import HOSTILE


def text(lines: list) -> str:
    return "\n".join(plain_text(line) for line in lines)


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
    assert {key.pair for key in keymap.START_KEYS} == {"", "[ ]", "{ }", "- +"}


@pytest.mark.parametrize(
    "table",
    [
        (*keymap.LIVE_KEYS, *keymap.HISTORY_KEYS),
        keymap.STEP_KEYS,
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
    data = PreviewData("Title", "What it is", TARGET, bounds=FoundBounds(floor=0.04, head_optimum=0.19, done=True))
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
        (PreviewData(target=TARGET, server=ServerStatus("loading smollm2")), "loading smollm2"),
        (PreviewData(target=TARGET, bounds=FoundBounds(why_no_floor="soft-capping", done=True)), "none: soft-capping"),
    ],
)
def test_preview_shows_what_is_missing(data: PreviewData, words: str) -> None:
    assert words in text(preview_lines(data, 70, 20))
