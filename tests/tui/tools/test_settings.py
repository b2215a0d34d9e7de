"""Settings: what a file may say, that a damaged one is told and kept, and that a choice lasts."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from distprompt_tui.core.config.paths import keys_file
from distprompt_tui.core.config.toml_files import MAX_TOML_BYTES
from distprompt_tui.core.errors import UsageError
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.drawing.styled_text import plain_text
from distprompt_tui.tui.run.divergence_plot import DivergencePlot
from distprompt_tui.tui.run.screen import RunScreen
from distprompt_tui.tui.run.token_panel import TokenList
from distprompt_tui.tui.settings import Settings, read_settings, write_settings
from distprompt_tui.tui.start.screen import StartScreen
from distprompt_tui.tui.themes import DARK, LIGHT, SIXTEEN_COLORS
from distprompt_tui.tui.tools.settings_screen import SPEEDS, About, AboutData, SettingsScreen, next_of
from tests.tui.conftest import screen_text, until
from tests.tui.recording import recorded

Make = Callable[..., DistPromptApp]

OTHER = Settings(LIGHT, 0.5, "gap", "linear", "log")


def test_what_was_written_is_read_and_nobody_else_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "settings.toml"
    assert read_settings(path) == Settings()
    assert write_settings(path, OTHER) is None
    assert read_settings(path) == OTHER
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["settings.toml"]


def test_a_link_to_the_file_stays_a_link(tmp_path: Path) -> None:
    link = tmp_path / "settings.toml"
    link.symlink_to(tmp_path / "dotfiles.toml")
    write_settings(link, OTHER)
    assert link.is_symlink()
    assert read_settings(tmp_path / "dotfiles.toml") == OTHER


def test_a_file_may_say_less_and_whole_numbers(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("updates_per_second = 3\n")
    assert read_settings(path) == Settings(updates_per_second=3.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"theme = ", "not TOML"),
        (b"\xff\xfe", "not UTF-8"),
        (b"x" * (MAX_TOML_BYTES + 1), "larger than"),
        (b"themes = 'x'", "themes is not a setting; did you mean 'theme'?"),
        (b"theme = 3", "theme: it should be the name of a theme (given: 3)"),
        (b"updates_per_second = 50", "it should be a number from 0.5 to 5.0 (given: 50)"),
        (b"updates_per_second = nan", "updates_per_second: it should be a number"),
        (b"updates_per_second = true", "updates_per_second: it should be a number"),
        (b"bar_scale = 'cubic'", "bar_scale: it should be one of 'log', 'linear' (given: 'cubic')"),
        (b"token_order = ['gap']", "token_order: it should be one of 'probability'"),
    ],
)
def test_a_damaged_file_is_one_line_and_is_put_aside_not_lost(tmp_path: Path, text: bytes, expected: str) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(text)
    with pytest.raises(UsageError) as error:
        read_settings(path)
    assert expected in str(error.value)
    assert str(path) in str(error.value)
    aside = write_settings(path, OTHER)
    assert aside is not None
    assert aside.read_bytes() == text
    assert read_settings(path) == OTHER


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_settings(tmp_path)


def test_the_values_go_around() -> None:
    assert [next_of(SPEEDS, value, 1) for value in SPEEDS] == [*SPEEDS[1:], SPEEDS[0]]
    assert [next_of(SPEEDS, value, -1) for value in SPEEDS] == [SPEEDS[-1], *SPEEDS[:-1]]
    assert next_of(SPEEDS, 1.7, 1) == SPEEDS[0]
    assert next_of(SPEEDS, 1.7, -1) == SPEEDS[-1]


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (60, 16)])
async def test_changes_apply_at_once_and_are_saved(
    tmp_path: Path, app_on: Make, small_world: object, size: tuple[int, int]
) -> None:
    file = tmp_path / "settings.toml"
    app = app_on(settings_file=file)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: isinstance(app.screen, StartScreen))
        await pilot.press("comma")
        await until(pilot, lambda: isinstance(app.screen, SettingsScreen) and app.theme in screen_text(app))
        theme = next_of(sorted(app.available_themes), app.theme, 1)
        assert "Saved in" in screen_text(app)
        await pilot.press("right", "down", "left", "down", "right")
        await until(pilot, lambda: file.exists() and read_settings(file).token_order == "contribution")
        assert app.theme == theme
        assert app.updates_per_second == 1.0
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, StartScreen))
    assert read_settings(file) == Settings(theme, 1.0, "contribution")
    again = app_on(settings_file=file)
    assert (again.theme, again.updates_per_second) == (theme, 1.0)


async def test_a_theme_of_the_palette_is_remembered_and_the_terminals_is_not(tmp_path: Path, app_on: Make) -> None:
    file = tmp_path / "settings.toml"
    app = app_on(attach=recorded(tmp_path / "runs", steps=3), settings_file=file)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        assert not file.exists()
        app.search_themes()
        await pilot.pause()
        await pilot.press(*"distprompt-light")
        await until(pilot, lambda: LIGHT in screen_text(app))
        await pilot.press("down", "enter")
        await until(pilot, lambda: app.theme == LIGHT and file.exists())
    assert read_settings(file).theme == LIGHT


async def test_without_colour_the_theme_is_the_terminals_own(
    tmp_path: Path, app_on: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    file = tmp_path / "settings.toml"
    write_settings(file, Settings(LIGHT))
    app = app_on(attach=recorded(tmp_path / "runs", steps=3), settings_file=file)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        assert app.theme == SIXTEEN_COLORS
    assert read_settings(file).theme == LIGHT


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 55)])
async def test_a_high_terminal_describes_all_settings_and_names_the_folders(
    app_on: Make, small_world: object, size: tuple[int, int]
) -> None:
    app = app_on()
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: isinstance(app.screen, StartScreen))
        await pilot.press("comma", "down")
        await until(pilot, lambda: "Updates a second" in screen_text(app))
        text = screen_text(app)
        is_high = size[1] >= 40
        assert ("Ring when a search on the screen ends" in text) == is_high
        assert ("Values: probability, contribution, target, achieved, gap" in text) == is_high
        assert (re.search(rf"Keys +{re.escape(str(keys_file())[:20])}", text) is not None) == is_high
        await pilot.press("down")
        await until(pilot, lambda: "o changes it there" in screen_text(app))


def test_long_paths_are_broken_and_not_cut() -> None:
    path = f"/{'a' * 150}/presets"
    lines = About(AboutData(places=(("Your presets", path),))).lines(80, 60)
    assert path in "".join(plain_text(line)[20:] for line in lines)


def test_a_speed_for_one_time_outlives_other_settings(app_on: Make) -> None:
    """`--fps` is not kept, and holds until a speed is set."""
    app = app_on(updates_per_second=0.5)
    app.change_settings(bell="on")
    assert (app.updates_per_second, app.settings.updates_per_second) == (0.5, 2.0)
    app.change_settings(updates_per_second=4.0)
    assert app.updates_per_second == 4.0


async def test_a_run_begins_as_set(tmp_path: Path, app_on: Make) -> None:
    file = tmp_path / "settings.toml"
    write_settings(file, OTHER)
    app = app_on(attach=recorded(tmp_path / "runs"), settings_file=file)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(
            pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.query_one(TokenList).table.order == "gap"
        )
        assert app.screen.query_one(TokenList).log_scale
        assert not app.screen.query_one(DivergencePlot).log_scale


@pytest.mark.parametrize("text", ["theme = 3", "theme = 'no such'"])
async def test_app_starts_with_a_damaged_file(tmp_path: Path, app_on: Make, small_world: object, text: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(text)
    app = app_on(settings_file=file)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(
            pilot, lambda: any("The default settings are used." in notice.message for notice in app._notifications)
        )
        assert app.theme in (DARK, SIXTEEN_COLORS)
        assert file.read_text() == text
        await pilot.press("comma")
        await until(pilot, lambda: "! " in screen_text(app) and isinstance(app.screen, SettingsScreen))
