"""The target editor's screen: input, errors, saving, and layout at every size."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from distprompt_tui.core.config.presets import Preset, load_preset
from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.config.target_specs import Explicit
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.drawing.styled_text import plain_text
from distprompt_tui.tui.editor.draft_form import DraftForm
from distprompt_tui.tui.editor.screen import EditorScreen
from distprompt_tui.tui.editor.target_draft import MAX_ROWS, TOP_ROWS, Draft, Row
from distprompt_tui.tui.keymap import EDITOR_APP_KEYS, EDITOR_KEYS
from distprompt_tui.tui.palette import AppCommands
from distprompt_tui.tui.run.screen import RunScreen
from distprompt_tui.tui.start import listings
from distprompt_tui.tui.start.preset_dialogs import NameDialog
from distprompt_tui.tui.start.screen import StartScreen
from distprompt_tui.tui.tools.help_screen import help_lines
from distprompt_tui.tui.widgets.dialogs import Question
from tests.tui.conftest import FakeModelClient, preset_spec, screen_text, until
from tests.tui.editor.operating import draft, editor, shown, write
from tests.tui.recording import HOSTILE

Make = Callable[..., DistPromptApp]
COIN = Explicit(probabilities={" yes": 0.5, " no": 0.5})
SIZES = [(60, 16), (80, 24), (120, 40), (220, 60)]


@pytest.mark.parametrize("size", SIZES)
async def test_new_target_is_entered_and_started(started: list[RunSpec], app_on: Make, size: tuple[int, int]) -> None:
    app = app_on()
    async with editor(app, size=size) as pilot:
        await write(pilot, " yes", "<tab>", "0.5", "<enter>", " no", "<tab>", "0.3")
        text = screen_text(app)
        assert "·yes" in text
        assert "0.2000 of 1" in text
        await shown(pilot, "Valid target")
        await shown(pilot, "0.250")
        assert "entropy" in screen_text(app)
        await write(pilot, "<ctrl+g>")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        (spec,) = started
        assert spec.target == Explicit(probabilities={" yes": 0.5, " no": 0.3})
        assert (spec.model.name, spec.search.method, spec.search.length, spec.preset) == ("tiny", "soft", 10, "")
        await write(pilot, "<d>")
        await until(pilot, lambda: isinstance(app.screen, EditorScreen))
        assert draft(app).rows == (Row(" yes", "0.5"), Row(" no", "0.3"))


async def test_enter_replaces_several_tokens_by_the_first(started: list[RunSpec], app_on: Make) -> None:
    app = app_on()
    async with editor(app) as pilot:
        await write(pilot, " banana yes")
        await shown(pilot, "·banana·yes is 2 tokens: ·banana + ·yes")
        await write(pilot, "<ctrl+g>")
        assert not started
        await write(pilot, "<enter>")
        assert draft(app).rows == (Row(" banana", ""),)
        await write(pilot, "<enter>", "1", "<ctrl+g>")
        await until(pilot, lambda: started)
        assert started[0].target == Explicit(probabilities={" banana": 1.0})


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ((" yes", "<tab>", "-1"), "Row 1: the probability -1 is negative"),
        ((" yes", "<tab>", "nan"), "Row 1: nan is not a probability"),
        ((" yes", "<tab>", "0.9", "<enter>", " no", "<tab>", "0.2"), "The probabilities sum to 1.1, more than 1"),
        ((" yes", "<tab>", "0.1", "<enter>", " yes", "<tab>", "0.2"), "already in row 1"),
        (("id:9999", "<tab>", "0.2"), "Row 1: token id 9999 is outside this vocabulary"),
        ((" yes",), "Row 1 has no probability yet"),
        ((), "Enter a token and its probability"),
    ],
)
async def test_errors_are_shown_and_nothing_starts(
    started: list[RunSpec], app_on: Make, parts: tuple[str, ...], sentence: str
) -> None:
    app = app_on()
    async with editor(app) as pilot:
        await write(pilot, *parts)
        await shown(pilot, sentence)
        await write(pilot, "<f5>")
        await pilot.pause(0.05)
        assert not started
        assert isinstance(app.screen, EditorScreen)


async def test_rows_are_rescaled_and_deleted(started: list[RunSpec], app_on: Make) -> None:
    app = app_on()
    async with editor(app) as pilot:
        await write(pilot, " yes", "<tab>", "3", "<enter>", " no", "<tab>", "1")
        await shown(pilot, "3.0000 too much")
        await write(pilot, "<ctrl+n>")
        assert draft(app).rows == (Row(" yes", "0.75"), Row(" no", "0.25"))
        await shown(pilot, "no rest")
        await write(pilot, "<up>", "<ctrl+l>")
        assert draft(app).rows == (Row(" no", "0.25"),)
        await write(pilot, "<ctrl+r>")
        assert (draft(app).rest, app.focused.id if app.focused else "") == ("model", "text")
        await write(pilot, "Once", "<ctrl+g>")
        await until(pilot, lambda: started)
        assert started[0].target == Explicit(probabilities={" no": 0.25}, rest="model", text="Once")


async def test_explicit_preset_opens_with_its_rows(started: list[RunSpec], app_on: Make) -> None:
    app = app_on()
    async with editor(app, "coin") as pilot:
        await until(pilot, lambda: draft(app).rows == (Row(" yes", "0.5"), Row(" no", "0.5")))
        assert "not saved" not in screen_text(app)
        await write(pilot, "<ctrl+g>")
        await until(pilot, lambda: started)
        assert (started[0].target, started[0].preset, started[0].title) == (COIN, "coin", "The coin one")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        await write(pilot, "<d>")
        await until(pilot, lambda: isinstance(app.screen, EditorScreen))
        await write(pilot, "<escape>")
        await until(pilot, lambda: isinstance(app.screen, StartScreen))


async def test_target_of_many_tokens_opens_with_the_largest(
    started: list[RunSpec], app_on: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = Explicit(probabilities={f"id:{number}": 0.5 if number == 3 else 0.005 for number in range(MAX_ROWS + 1)})
    presets = [Preset("many", tmp_path, preset_spec("many", many), True)]
    monkeypatch.setattr(listings, "read_presets", lambda: presets)
    app = app_on()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: isinstance(app.screen, StartScreen) and app.screen.preset and app.screen.model)
        await write(pilot, "<e>")
        await until(pilot, lambda: isinstance(app.screen, EditorScreen) and len(draft(app).rows) == TOP_ROWS)
        await shown(pilot, "too many tokens for the editor")


async def test_rows_and_texts_are_undone_and_redone(started: list[RunSpec], app_on: Make) -> None:
    app = app_on()
    async with editor(app) as pilot:
        await write(pilot, " yes", "<tab>", "0.5", "<enter>", " no", "<tab>", "0.25")
        complete = draft(app)
        await write(pilot, "<ctrl+n>")
        assert draft(app) != complete
        await write(pilot, "<ctrl+z>")
        assert draft(app) == complete
        await write(pilot, "<ctrl+z>")
        assert draft(app).rows == (Row(" yes", "0.5"), Row(" no", ""))
        await write(pilot, "<ctrl+z>", "<ctrl+z>", "<ctrl+z>")
        assert draft(app).rows == ()
        await write(pilot, *["<ctrl+y>"] * 4)
        assert draft(app) == complete


async def test_saving_as_a_preset(started: list[RunSpec], app_on: Make, tmp_path: Path) -> None:
    app = app_on()
    async with editor(app) as pilot:
        await write(pilot, " yes", "<tab>", "0.5", "<ctrl+s>")
        await until(pilot, lambda: isinstance(app.screen, NameDialog))
        await write(pilot, "no/name", "<enter>")
        await shown(pilot, "invalid preset name 'no/name'")
        await write(pilot, "<end>", "<ctrl+u>", "die", "<enter>")
        await shown(pilot, "die is a shipped preset")
        await write(pilot, "<x>")
        await until(pilot, lambda: isinstance(app.screen, NameDialog))
        await write(pilot, "<end>", "<ctrl+u>", "mine", "<enter>")
        path = tmp_path / "home" / "presets" / "mine.toml"
        await until(pilot, lambda: path.is_file() and isinstance(app.screen, EditorScreen))
        saved = load_preset("mine").spec
        assert (saved.target, saved.title) == (Explicit(probabilities={" yes": 0.5}), "mine")
        assert saved.description.endswith(".")
        await write(pilot, "<ctrl+s>")
        await until(pilot, lambda: isinstance(app.screen, NameDialog))
        await write(pilot, "mine", "<enter>")
        await shown(pilot, "The preset mine already exists")
        await write(pilot, "<r>")
        await until(pilot, lambda: isinstance(app.screen, EditorScreen))
        await write(pilot, "<escape>")
        await until(pilot, lambda: isinstance(app.screen, StartScreen) and app.screen.preset is not None)
        await until(pilot, lambda: app.screen.preset.name == "mine")  # type: ignore[attr-defined]


@pytest.mark.parametrize("key", ["<escape>", "<ctrl+q>"])
async def test_unsaved_changes_are_confirmed(started: list[RunSpec], app_on: Make, key: str) -> None:
    app = app_on()
    async with editor(app) as pilot:
        await write(pilot, " yes", key)
        await until(pilot, lambda: isinstance(app.screen, Question))
        await write(pilot, "<x>")
        await until(pilot, lambda: isinstance(app.screen, EditorScreen))
        assert draft(app).rows == (Row(" yes", ""),)
        await write(pilot, key)
        await until(pilot, lambda: isinstance(app.screen, Question))
        await write(pilot, "<l>")
        if key == "<escape>":
            await until(pilot, lambda: isinstance(app.screen, StartScreen))
        else:
            await until(pilot, lambda: app.return_code == 0)


async def test_every_key_is_in_the_help_and_the_palette(started: list[RunSpec], app_on: Make) -> None:
    app = app_on()
    text = "\n".join(plain_text(line) for line in help_lines((*EDITOR_KEYS, *EDITOR_APP_KEYS), 72))
    async with editor(app) as pilot:
        provider = AppCommands(app.screen)
        await provider.startup()
        names = {command.name for command in provider._commands()}
        for key in EDITOR_KEYS:
            assert key.help in text
            if key.action and key.action != "as_rows":
                assert key.help in names
        await write(pilot, "<f1>")
        await shown(pilot, "Rescale the probabilities")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("ascii_only", [False, True])
async def test_any_string_can_be_entered(
    started: list[RunSpec], app_on: Make, size: tuple[int, int], ascii_only: bool
) -> None:
    app = app_on(ascii_only=ascii_only)
    async with editor(app, size=size) as pilot:
        written = tuple(Row(text, "0.01") for text in HOSTILE)
        form = app.screen.query_one(DraftForm)
        for rest in ("uniform", "model"):
            form.write(Draft(rows=written, rest=rest, text="[/ \x1b]0;owned\x07 "))
            await pilot.pause()
            await write(pilot, "<down>", "<down>", "<tab>")
            text = screen_text(app)
            assert all(char.isprintable() or char == "\n" for char in text)


async def test_cursor_does_not_blink(started: list[RunSpec], app_on: Make) -> None:
    app = app_on()
    async with editor(app) as pilot:
        await write(pilot, " yes", "<tab>", "0.5", "<enter>")
        assert all(not field.cursor_blink for field in app.screen.query(Input))


async def test_zero_floor_is_shown(started: list[RunSpec], app_on: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(self: FakeModelClient, question: str, **fields: Any) -> AsyncIterator[dict[str, Any]]:
        yield {"floor": 0.0, "head_optimum": None, "why_no_floor": None}
        yield {"done": True}

    monkeypatch.setattr(FakeModelClient, "ask", ask)
    app = app_on()
    async with editor(app) as pilot:
        await write(pilot, " yes", "<tab>", "0.5")
        await shown(pilot, "floor           0.000")
