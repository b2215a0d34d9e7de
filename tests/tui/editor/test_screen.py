"""The target editor's screen: input, errors, saving, and layout at every size."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.pilot import Pilot
from textual.widgets import Input

from distprompt_tui.config.presets import Preset, load_preset
from distprompt_tui.config.spec import Explicit, Lm, Mixture, Outlier, RunSpec, Temperature, Uniform, Vanilla
from distprompt_tui.models.registry import ModelEntry
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.drawing.styled_text import plain_text, width_of
from distprompt_tui.tui.editor.draft_form import DraftForm
from distprompt_tui.tui.editor.lines import RestData, ValidationData, rest_lines, validation_lines
from distprompt_tui.tui.editor.recipe_dialogs import FamilyDialog
from distprompt_tui.tui.editor.screen import EditorScreen
from distprompt_tui.tui.editor.target_draft import MAX_ROWS, TOP_ROWS, Draft, Row, RowValidation
from distprompt_tui.tui.editor.target_rows import note_line
from distprompt_tui.tui.keymap import EDITOR_APP_KEYS, EDITOR_KEYS
from distprompt_tui.tui.palette import AppCommands
from distprompt_tui.tui.run.screen import RunScreen
from distprompt_tui.tui.start import listings
from distprompt_tui.tui.start.preset_dialogs import NameDialog
from distprompt_tui.tui.start.screen import StartScreen
from distprompt_tui.tui.start.target_preview import TargetView
from distprompt_tui.tui.tools.help_screen import help_lines
from distprompt_tui.tui.widgets.dialogs import Question
from distprompt_tui.tui.widgets.visible_input import show_whitespace
from tests.tui.conftest import FakeModelClient, preset_spec, screen_text, until
from tests.tui.recording import HOSTILE
from tests.tui.vocabularies import write_byte_level

Make = Callable[..., DistPromptApp]
COIN = Explicit(probabilities={" yes": 0.5, " no": 0.5})
SIZES = [(60, 16), (80, 24), (120, 40), (220, 60)]


@pytest.fixture
def started(small_world: list[RunSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[RunSpec]:
    """The start screen's surroundings, with a model with longer tokens and a folder for presets."""
    monkeypatch.setenv("DISTPROMPT_HOME", str(tmp_path / "home"))
    vocabulary = write_byte_level(tmp_path / "bytes")
    model = ModelEntry("tiny", "Tiny", 1_000_000, vocabulary.size, "folder", "prepared", tmp_path / "bytes")
    targets = {"coin": COIN, "calm": Temperature(entropy=2.0), "echo": Lm(text="Once", entropy=3.0)}
    shipped = [Preset(name, tmp_path, preset_spec(name, target), True) for name, target in targets.items()]

    def read_presets() -> list[Preset]:
        saved = (tmp_path / "home" / "presets").glob("*.toml")
        return [*shipped, *(load_preset(str(path)) for path in saved)]

    monkeypatch.setattr(listings, "read_models", lambda: [model])
    monkeypatch.setattr(listings, "read_presets", read_presets)
    return small_world


@asynccontextmanager
async def editor(app: DistPromptApp, preset: str = "", size: tuple[int, int] = (80, 24)) -> AsyncIterator[Pilot[int]]:
    """Open the editor with a preset or blank, ready for input."""
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: isinstance(app.screen, StartScreen) and app.screen.presets and app.screen.model)
        if preset:
            app.screen.choose("presets", preset)  # type: ignore[attr-defined]
            await pilot.pause()
        await pilot.press("e" if preset else "n")
        await until(pilot, lambda: isinstance(app.screen, EditorScreen) and "reading the model" not in screen_text(app))
        yield pilot


async def write(pilot: Pilot[Any], *parts: str) -> None:
    """Type texts; names in angle brackets are keys."""
    for part in parts:
        if part.startswith("<"):
            await pilot.press(part.strip("<>"))
        else:
            await pilot.press(*("space" if char == " " else char for char in part))
    await pilot.pause()


def draft(app: DistPromptApp) -> Draft:
    return app.screen.query_one(DraftForm).draft.trimmed()


async def shown(pilot: Pilot[Any], text: str) -> None:
    await until(pilot, lambda: text in screen_text(pilot.app))  # type: ignore[arg-type]


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


# Lines.


@given(st.text(max_size=20), st.booleans())
def test_symbols_keep_positions(text: str, all_spaces: bool) -> None:
    shown = show_whitespace(text, space="·", all_spaces=all_spaces)
    assert len(shown) == len(text)
    assert all(char.isprintable() for char in shown)
    assert not all_spaces or " " not in shown
    assert not shown.startswith(" ")
    assert not shown.endswith(" ")


def test_signs_between_words_are_for_tokens_only() -> None:
    assert show_whitespace(" a b ", space="·", all_spaces=True) == "·a·b·"
    assert show_whitespace(" a b ", space="·", all_spaces=False) == "·a b·"


@given(st.text(max_size=80), st.booleans(), st.text(max_size=80), st.integers(10, 120), st.integers(1, 3))
def test_the_validation_fits(problem: str, is_wrong: bool, row: str, width: int, height: int) -> None:
    lines = validation_lines(ValidationData(problem, is_wrong, row), width, height)
    assert lines
    assert all(width_of(line) <= width for line in lines)


@given(st.floats(0, 1e9), st.integers(10, 80))
def test_the_rest_fits(total: float, width: int) -> None:
    lines = rest_lines(RestData(total), width)
    assert len(lines) == 2
    assert all(width_of(line) <= width for line in lines)
    assert width < 40 or ("too much" in plain_text(lines[0])) == (total > 1 + 1e-9)


def test_note_is_the_full_sentence_if_it_fits() -> None:
    report = RowValidation("2 tokens", "it is two tokens", is_wrong=True)
    assert plain_text(note_line(report, 40)) == "✕ it is two tokens"
    assert plain_text(note_line(report, 12)) == "✕ 2 tokens"
    assert width_of(note_line(report, 5)) == 5
