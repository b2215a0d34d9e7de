"""Recipes on the editor's screen: their fields, families, errors, previews, and conversion to rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.config.target_specs import Lm, Mixture, Outlier, Temperature, Uniform, Vanilla
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.editor.recipe_dialogs import FamilyDialog
from distprompt_tui.tui.editor.screen import EditorScreen
from distprompt_tui.tui.editor.target_draft import TOP_ROWS
from distprompt_tui.tui.start.screen import StartScreen
from distprompt_tui.tui.start.target_preview import TargetView
from distprompt_tui.tui.widgets.dialogs import Question
from tests.tui.conftest import FakeModelClient, screen_text, until
from tests.tui.editor.operating import draft, editor, shown, write

Make = Callable[..., DistPromptApp]
SIZES = [(60, 16), (80, 24), (120, 40), (220, 60)]


@pytest.mark.parametrize("size", SIZES)
async def test_recipe_opens_with_its_own_fields(started: list[RunSpec], app_on: Make, size: tuple[int, int]) -> None:
    app = app_on()
    async with editor(app, "calm", size) as pilot:
        await until(pilot, lambda: draft(app).recipe == {"family": "temperature", "entropy": "2.0", "seed": "0"})
        await shown(pilot, "Valid target")
        text = screen_text(app)
        assert "not saved" not in text
        assert all(words in text for words in ("family", "temperature", "entropy", "seed", "nats"))
        assert "2.000" in text
        await write(pilot, "<end>", "<backspace>", "<backspace>", "<backspace>", "3.5")
        await shown(pilot, "3.500")
        assert "not saved" in screen_text(app)
        await shown(pilot, "Valid target")
        await write(pilot, "<down>", "<backspace>", "7", "<ctrl+g>")
        await until(pilot, lambda: started)
        assert started[0].target == Temperature(entropy=3.5, seed=7)
        assert (started[0].preset, started[0].title) == ("", "")


async def test_unchanged_recipe_starts_the_preset_itself(started: list[RunSpec], app_on: Make) -> None:
    app = app_on()
    async with editor(app, "calm") as pilot:
        await shown(pilot, "Valid target")
        await write(pilot, "<ctrl+g>")
        await until(pilot, lambda: started)
        assert (started[0].target, started[0].preset) == (Temperature(entropy=2.0), "calm")


async def test_error_of_the_spec_is_shown_at_the_field(started: list[RunSpec], app_on: Make) -> None:
    app = app_on()
    async with editor(app, "calm") as pilot:
        await until(pilot, lambda: draft(app).by_recipe)
        await write(pilot, "<home>", "-")
        await shown(pilot, "✕ should be greater than or equal to 0")
        await write(pilot, "<ctrl+g>")
        assert not started
        view = app.screen.query_one(TargetView)
        assert view.data.is_old  # the target before the error, dimmed
        await write(pilot, "<home>", "<delete>")
        await shown(pilot, "Valid target")
        assert "✕" not in screen_text(app)
        assert not view.data.is_old


async def test_family_is_chosen_and_its_fields_follow(started: list[RunSpec], app_on: Make) -> None:
    app = app_on()
    async with editor(app) as pilot:
        await write(pilot, "<f2>")
        await until(pilot, lambda: isinstance(app.screen, FamilyDialog))
        await shown(pilot, "Probabilities of some tokens, or a file")
        await write(pilot, "<home>", "j", "j")
        await shown(pilot, "Outlier tokens with (nearly) the largest mass")
        await write(pilot, "<enter>")
        await until(pilot, lambda: draft(app).by_recipe)
        assert draft(app).recipe == {"family": "outlier", "entropy": "6.0", "count": "1", "delta": "0.02", "seed": "0"}
        await write(pilot, "<end>", "<ctrl+u>", "2", "<down>", " yes", "<down>", " banana yes")
        await shown(pilot, "✕ 2 tokens")
        await shown(pilot, "·banana·yes is 2 tokens: ·banana + ·yes")
        await write(pilot, "<enter>")
        assert draft(app).recipe["tokens"] == (" yes", " banana")
        await write(pilot, "<down>", "<down>", "<ctrl+u>")
        await shown(pilot, "Valid target")
        await write(pilot, "<up>", "<up>", "<ctrl+l>", "<ctrl+g>")
        await until(pilot, lambda: started)
        assert started[0].target == Outlier(entropy=2, tokens=(" yes",))


async def test_arrow_keys_choose_a_family_and_keep_its_fields(started: list[RunSpec], app_on: Make) -> None:
    app = app_on()
    async with editor(app, "calm") as pilot:
        await until(pilot, lambda: draft(app).by_recipe)
        await write(pilot, "<up>", "<right>")
        assert draft(app).recipe["family"] == "outlier"
        assert draft(app).recipe["entropy"] == "2.0"
        await write(pilot, "<left>")
        assert draft(app).recipe == {"family": "temperature", "entropy": "2.0", "seed": "0"}


async def test_mixture_is_made_of_other_families(started: list[RunSpec], app_on: Make) -> None:
    app = app_on()
    async with editor(app, "calm", (120, 40)) as pilot:
        await until(pilot, lambda: draft(app).by_recipe)
        await write(pilot, "<f2>")
        await until(pilot, lambda: isinstance(app.screen, FamilyDialog))
        await write(pilot, "<end>", "<enter>")
        await shown(pilot, "+ another part")
        await write(pilot, "<tab>", "<tab>", "<end>", "<backspace>", "<backspace>", "<backspace>", "3")
        await write(pilot, "<tab>", "<tab>", "<enter>")
        await shown(pilot, "2 weight")
        await write(pilot, "<end>", "<backspace>", "<backspace>", "<backspace>", "2", "<down>", "<f2>")
        await until(pilot, lambda: isinstance(app.screen, FamilyDialog))
        await shown(pilot, "The paper's random target")
        await write(pilot, "<end>", "<up>", "<up>", "<up>", "<enter>")
        await shown(pilot, "The same probability for every token")
        await shown(pilot, "Valid target")
        await write(pilot, "<ctrl+g>")
        await until(pilot, lambda: started)
        target = started[0].target
        assert isinstance(target, Mixture)
        assert [(part.weight, part.target) for part in target.parts] == [(0.5, Vanilla(entropy=3)), (2.0, Uniform())]


async def test_recipe_becomes_rows_after_a_question_that_shows_the_change(started: list[RunSpec], app_on: Make) -> None:
    app = app_on()
    async with editor(app, "calm") as pilot:
        await shown(pilot, "Valid target")
        await write(pilot, "<ctrl+o>")
        await until(pilot, lambda: isinstance(app.screen, Question))
        text = " ".join(screen_text(app).split())
        assert f"The {TOP_ROWS} most probable tokens become rows" in text
        assert "2.000 to" in text
        assert "is spread evenly" in text
        await write(pilot, "<x>")
        assert draft(app).by_recipe
        await write(pilot, "<ctrl+o>")
        await until(pilot, lambda: isinstance(app.screen, Question))
        await write(pilot, "<r>")
        await until(pilot, lambda: not draft(app).by_recipe)
        assert len(draft(app).rows) == TOP_ROWS
        assert draft(app).rest == "uniform"
        await write(pilot, "<ctrl+z>")
        assert draft(app).by_recipe
        assert draft(app).recipe == {"family": "temperature", "entropy": "2.0", "seed": "0"}
        await write(pilot, "<ctrl+y>")
        assert not draft(app).by_recipe
        assert len(draft(app).rows) == TOP_ROWS


async def test_text_is_previewed_and_converted_to_rows(started: list[RunSpec], app_on: Make) -> None:
    app = app_on()
    async with editor(app) as pilot:
        await write(pilot, "<ctrl+t>", "My food is ")
        await shown(pilot, "0.6000")
        assert "My food is·" in screen_text(app)
        await write(pilot, "<down>", "<down>", "2.5")
        await until(pilot, lambda: ("target", "lm") in FakeModelClient.questions)
        assert draft(app).recipe["entropy"] == "2.5"
        await shown(pilot, "Valid target")
        await write(pilot, "<ctrl+o>")
        await until(pilot, lambda: isinstance(app.screen, Question))
        await write(pilot, "<r>")
        await until(pilot, lambda: [row.mass for row in draft(app).rows] == ["0.6", "0.4"])
        await write(pilot, "<ctrl+t>", "<ctrl+g>")
        await until(pilot, lambda: started)
        assert started[0].target == Lm(text="My food is ", entropy=2.5)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (220, 60)])
async def test_text_has_the_whole_line(started: list[RunSpec], app_on: Make, size: tuple[int, int]) -> None:
    app = app_on()
    async with editor(app, size=size) as pilot:
        await write(pilot, "<ctrl+t>", "The sky at night is")
        await until(pilot, lambda: draft(app).recipe["text"] == "The sky at night is")
        assert "The sky at night is" in screen_text(app)


async def test_preview_of_the_previous_target_is_dimmed_until_the_new_one_is_built(
    started: list[RunSpec], app_on: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = asyncio.Event()
    ask = FakeModelClient.ask

    async def wait(self: FakeModelClient, question: str, **fields: Any) -> AsyncIterator[dict[str, Any]]:
        if question == "target" and fields["target"]["text"] != "a":
            await answer.wait()
        async for one in ask(self, question, **fields):
            yield one

    monkeypatch.setattr(FakeModelClient, "ask", wait)
    app = app_on()
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, lambda: isinstance(app.screen, StartScreen) and app.screen.presets and app.screen.model)
        await write(pilot, "<n>")
        await until(pilot, lambda: isinstance(app.screen, EditorScreen) and "reading the model" not in screen_text(app))
        await write(pilot, "<ctrl+t>", "a")
        await shown(pilot, "Valid target")
        view = app.screen.query_one(TargetView)
        assert not view.data.is_old
        await write(pilot, "b")
        await shown(pilot, "Building the target…")
        assert view.data.is_old
        assert "0.6000" in screen_text(app)
        assert {role for line in view.lines(30, 12) for _, role in line} == {"faint"}
        assert "Valid target" not in screen_text(app)
        await write(pilot, "<ctrl+o>")
        await shown(pilot, "target is not built")
        assert draft(app).by_recipe
        answer.set()
        await shown(pilot, "Valid target")
        assert not view.data.is_old
