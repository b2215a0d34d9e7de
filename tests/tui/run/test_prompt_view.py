"""The prompt's tokens: cursor, candidates, locks and manual edits, live and in history."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from distprompt_tui.core.text.ascii import to_ascii
from distprompt_tui.runs import schema
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.schema import PromptToken
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.drawing.styled_text import plain_text
from distprompt_tui.tui.run.position_dialog import PositionDialog
from distprompt_tui.tui.run.prompt_view import PromptData, PromptView, prompt_lines, prompt_note, prompt_title
from distprompt_tui.tui.run.screen import RunScreen
from distprompt_tui.tui.run.surprisal import GRADES
from distprompt_tui.tui.run.token_panel import TokenList
from tests.tui.conftest import screen_text, until, watched
from tests.tui.recording import Recorder, recorded, searching

Make = Callable[..., DistPromptApp]


def asked(run: RunDirectory) -> list[dict[str, Any]]:
    """Return the requests to the worker, without times and ids."""
    lines = [json.loads(line) for line in run.control.read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in ("t", "id")} for line in lines]


async def chosen(app: DistPromptApp, pilot: Any, position: int) -> None:
    """Wait for a hard prompt and move the cursor to a position."""
    await until(pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.query_one(TokenList).table.complete)
    app.screen.query_one(PromptView).focus()
    await pilot.press(*["right_square_bracket"] * position)
    await pilot.pause()


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_position_shows_candidates_and_accepts_a_token(
    tmp_path: Path, app_on: Make, size: tuple[int, int]
) -> None:
    recorder = searching(tmp_path / "runs", "hard")
    async with watched(recorder, app_on, size=size) as (app, pilot):
        await chosen(app, pilot, 3)
        if size == (120, 40):
            await until(pilot, lambda: "position 4 changed at step 2" in screen_text(app))
            await until(pilot, lambda: "4 changed at step 2, KL −0.25  enter inspect   x lock" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, PositionDialog))
        await until(pilot, lambda: "·word20" in screen_text(app))
        text = screen_text(app)
        assert "Changed at step 2, KL −0.25." in text
        assert "up to step 2: nats, change from 2.000" in text
        assert " 1.502    −0.50" in text.replace("│", "")
        assert "≈2.252    +0.25" in text.replace("│", "")
        await pilot.press(*"word3")
        await until(pilot, lambda: all(part in screen_text(app) for part in ("·word30", "Tokens with this prefix")))
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        await until(pilot, lambda: "changing…" in screen_text(app))
        await until(pilot, lambda: asked(recorder.run) == [{"command": "edit", "position": 3, "token": 31}])
        request = json.loads(recorder.run.control.read_text())["id"]
        recorder.writer.write(schema.Control(command="edit", outcome="refused", why="not [/] there", id=request))
        await until(pilot, lambda: "changing…" not in screen_text(app))
        assert app.screen.view.state.warnings == ("not [/] there",)  # type: ignore[attr-defined]


async def test_a_tried_token_is_taken_with_enter(tmp_path: Path, app_on: Make) -> None:
    recorder = searching(tmp_path / "runs", "hard", steps=1)
    async with watched(recorder, app_on, size=(80, 24)) as (app, pilot):
        await chosen(app, pilot, 3)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, PositionDialog) and "·word20" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: asked(recorder.run) == [{"command": "edit", "position": 3, "token": 0}])
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, PositionDialog))
        await pilot.press(*"id:63")
        await until(pilot, lambda: "·word63" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: asked(recorder.run)[1:] == [{"command": "edit", "position": 3, "token": 63}])


async def test_locks_are_requested_and_shown(tmp_path: Path, app_on: Make) -> None:
    recorder = searching(tmp_path / "runs", "hard", steps=1)
    async with watched(recorder, app_on, size=(120, 40)) as (app, pilot):
        await chosen(app, pilot, 5)
        await until(pilot, lambda: " 6*" in screen_text(app) and "x unlock" in screen_text(app))
        await pilot.press("x", "left", "x")
        await until(pilot, lambda: len(asked(recorder.run)) == 2)
        expected = [{"command": "unlock", "position": 5}, {"command": "lock", "position": 4}]
        assert asked(recorder.run) == expected


def answer(recorder: Recorder, **fields: Any) -> None:
    """Answer the latest request as a worker does."""
    request = json.loads(recorder.run.control.read_text().splitlines()[-1])
    recorder.writer.write(schema.Control(command=request["command"], id=request["id"], **fields))


async def test_edits_and_locks_are_undone_and_redone(tmp_path: Path, app_on: Make) -> None:
    recorder = searching(tmp_path / "runs", "hard", steps=1)
    async with watched(recorder, app_on, size=(120, 40), notifications=True) as (app, pilot):
        await chosen(app, pilot, 3)
        await pilot.press("ctrl+z")
        await until(pilot, lambda: "Nothing to undo" in screen_text(app))
        await pilot.press("ctrl+y")
        await until(pilot, lambda: "Nothing to redo" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, PositionDialog) and "·word20" in screen_text(app))
        await pilot.press("enter")
        edit = {"command": "edit", "position": 3, "token": 0}
        await until(pilot, lambda: asked(recorder.run) == [edit])
        await pilot.press("ctrl+z")
        await until(pilot, lambda: "not applied yet" in screen_text(app))
        answer(recorder, outcome="edited", position=3, token=0, replaced=17)  # the search had moved on from the screen
        await until(pilot, lambda: "changing…" not in screen_text(app))
        await pilot.press("x")
        lock = {"command": "lock", "position": 3}
        await until(pilot, lambda: asked(recorder.run) == [edit, lock])
        answer(recorder, outcome="locked", position=3)
        await until(pilot, lambda: "changing…" not in screen_text(app))
        await pilot.press("ctrl+z", "ctrl+z")
        back = [{"command": "unlock", "position": 3}, {"command": "edit", "position": 3, "token": 17}]
        await until(pilot, lambda: asked(recorder.run) == [edit, lock, *back])
        await pilot.press("ctrl+y", "ctrl+y")
        await until(pilot, lambda: asked(recorder.run) == [edit, lock, *back, edit, lock])
        answer(recorder, outcome="locked", position=3)
        await until(pilot, lambda: "Done again at position 4." in screen_text(app))


async def test_a_refused_edit_is_not_undone(tmp_path: Path, app_on: Make) -> None:
    recorder = searching(tmp_path / "runs", "hard", steps=1)
    async with watched(recorder, app_on, size=(120, 40), notifications=True) as (app, pilot):
        await chosen(app, pilot, 3)
        await pilot.press("x")
        await until(pilot, lambda: len(asked(recorder.run)) == 1)
        answer(recorder, outcome="refused", why="one position must stay unlocked")
        await until(pilot, lambda: "changing…" not in screen_text(app))
        await pilot.press("ctrl+z")
        await until(pilot, lambda: "Nothing to undo" in screen_text(app))
        assert len(asked(recorder.run)) == 1


async def test_read_only_app_sends_no_edits(tmp_path: Path, app_on: Make) -> None:
    recorder = searching(tmp_path / "runs", "hard", steps=1)
    app = app_on(attach=recorder.run, read_only=True)
    with recorder.living_worker():
        async with app.run_test(size=(120, 40)) as pilot:
            await chosen(app, pilot, 3)
            await pilot.press("x", "enter")
            await until(pilot, lambda: isinstance(app.screen, PositionDialog) and "·word20" in screen_text(app))
            assert "read-only" in screen_text(app)
            await pilot.press("tab", "enter", "escape")
            await until(pilot, lambda: isinstance(app.screen, RunScreen))
            assert asked(recorder.run) == []


async def test_history_positions_cannot_be_edited(tmp_path: Path, app_on: Make) -> None:
    run = recorded(tmp_path / "runs", "hard", steps=9)
    app = app_on(attach=run)
    async with app.run_test(size=(120, 40)) as pilot:
        await chosen(app, pilot, 3)
        await pilot.press("h", "home", "right", "right")
        await until(pilot, lambda: "step 3 of 9" in screen_text(app))
        assert "position 4 changed at step 3" in screen_text(app)
        await pilot.press("x", "enter")
        await until(pilot, lambda: isinstance(app.screen, PositionDialog) and "up to step 3" in screen_text(app))
        assert "The search has ended" in screen_text(app)
        await pilot.press("escape", "right")
        await until(pilot, lambda: "position 4 changed at step 4" in screen_text(app))
        assert asked(run) == []


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_vectors_are_described(tmp_path: Path, app_on: Make, size: tuple[int, int]) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=size) as pilot:
        await chosen(app, pilot, 3)
        if size == (120, 40):
            await until(pilot, lambda: "4 cosine +0.50, norm 1.25" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: "Position 4: a vector" in screen_text(app))
        text = screen_text(app)
        for words in ("nearest by cosine", "0.500", "not recorded", "1.250", "or locked"):
            assert words in text
        assert "\x1b" not in text
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_tokens_are_coloured_by_surprisal(tmp_path: Path, app_on: Make, size: tuple[int, int]) -> None:
    app = app_on(attach=recorded(tmp_path / "runs", "hard"))
    async with app.run_test(size=size) as pilot:
        await chosen(app, pilot, 2)
        before = screen_text(app)
        await pilot.press("c")
        await until(pilot, lambda: "▁ <2.3 nats  ▃ <6.9" in screen_text(app))
        assert "3[[TODO]·a]" in screen_text(app)
        if size == (120, 40):
            assert "3 surprisal 2.5, P 0.0821" in screen_text(app)
            assert "10 tokens, surprisal (−ln p), mean 128.6" in screen_text(app)
        await pilot.press("c")
        await until(pilot, lambda: screen_text(app) == before)


async def test_vectors_have_no_surprisal(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await chosen(app, pilot, 0)
        await pilot.press("c")
        await until(pilot, lambda: "Vectors have no" in screen_text(app))
        assert "(uniform)" not in screen_text(app)


@pytest.mark.parametrize("no_color", [True, False])
async def test_the_panel_in_focus_is_seen_without_colour(
    tmp_path: Path, app_on: Make, monkeypatch: pytest.MonkeyPatch, no_color: bool
) -> None:
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    app = app_on(attach=recorded(tmp_path / "runs", "hard"))
    async with app.run_test(size=(80, 24)) as pilot:
        await chosen(app, pilot, 0)
        await until(pilot, lambda: "▌1[·banana]" in screen_text(app))
        await pilot.press("tab")
        await until(pilot, lambda: "1 ·banana " in screen_text(app))
        assert "▌" not in screen_text(app)
        rule = "━" if no_color else "─"
        await until(pilot, lambda: f"{rule}Tokens" in screen_text(app))


def test_surprisal_has_symbol_colour_and_number() -> None:
    values = (None, 0.5, 3.0, 8.0, 11.0)
    prompt = tuple(PromptToken(i, f" t{i}", surprisal=value) for i, value in enumerate(values))
    data = PromptData("hard", prompt, vocab_size=49_152, surprising=True)
    lines, places = prompt_lines(data, 60, flowing=True)
    assert plain_text(lines[0]) == "▁ <2.3 nats  ▃ <6.9  ▅ <10.8 (uniform)  ▇ more"
    assert plain_text(lines[1]) == "1 ·t0 –  2 ·t1 ▁  3 ·t2 ▃  4 ·t3 ▅  5 ·t4 ▇"
    assert places == [1, 1, 1, 1, 1]
    by_token = {text: role for text, role in lines[1] if text.startswith("·")}
    assert by_token == {"·t0": "faint", "·t1": "good", "·t2": "", "·t3": "warning", "·t4": "error"}
    grid, _ = prompt_lines(data, 30, flowing=False)
    assert [plain_text(line).split()[-1] for line in grid[1:]] == ["–", "0.5", "3.0", "8.0", "11.0"]
    older = replace(data, tokens=tuple(structs.replace(token, surprisal=None) for token in prompt))
    assert prompt_title(older) == "Prompt  5 tokens, surprisal (−ln p): not recorded"
    assert to_ascii(plain_text(lines[0])).isascii()
    assert len({to_ascii(sign) for sign, _ in GRADES}) == len(GRADES)


def tokens(*improvement: float | None) -> tuple[PromptToken, ...]:
    return tuple(
        PromptToken(i, f" t{i}", changed=7 if gain else 0, improvement=gain) for i, gain in enumerate(improvement)
    )


def test_improvements_are_beside_the_tokens() -> None:
    data = PromptData("hard", tokens(None, 0.5, -1.25), chosen=2)
    lines, places = prompt_lines(data, 30, flowing=False)
    assert places == [0, 1, 2]
    assert [plain_text(line).split()[-1] for line in lines] == ["·t0", "−0.50", "+1.25"]
    assert prompt_title(data) == "Prompt  3 tokens, 2 positions changed at step 7"
    assert plain_text(prompt_note(data, 60)) == "3 changed at step 7, KL +1.25  enter inspect   x lock   "
    flow, places = prompt_lines(data, 14, flowing=True)
    assert [plain_text(line) for line in flow] == ["1 ·t0  ›2 ·t1 ", "›3[·t2]"]
    assert places == [0, 0, 1]


@pytest.mark.parametrize(
    ("width", "words"),
    [(60, "nearest tokens: KL 9.758, distance 20 mean norms"), (44, "nearest tokens: KL 9.758")],
)
def test_nearest_tokens_are_named_at_every_width(width: int, words: str) -> None:
    data = PromptData("soft", projection=schema.Projection(3, (1, 2), 9.758, 20.0))
    assert plain_text(prompt_note(data, width)) == words
