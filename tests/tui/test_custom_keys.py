"""The user's own keys: how a key may be written, what is wrong in a file, and what the app and the command show."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distprompt_tui import tui
from distprompt_tui.cli import app as command
from distprompt_tui.tui import app as app_module
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.custom_keys import KeyMap, key_name, read_key_map, symbol_of
from distprompt_tui.tui.editor.screen import EditorScreen
from distprompt_tui.tui.keymap import ANYWHERE, APP_KEYS, TABLES, binding_id
from distprompt_tui.tui.start.screen import StartScreen
from distprompt_tui.tui.widgets.app_screen import AppScreen
from tests.tui.conftest import screen_text, until

Make = Callable[..., DistPromptApp]


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "keys.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "name", "symbol"),
    [
        ("f2", "f2", "F2"),
        ("F12", "f12", "F12"),
        ("e", "e", "e"),
        ("S", "S", "S"),
        ("[", "left_square_bracket", "["),
        (",", "comma", ","),
        (" ", "space", "space"),
        ("esc", "escape", "esc"),
        ("PgDn", "pagedown", "pgdn"),
        ("^g", "ctrl+g", "^g"),
        ("Ctrl+G", "ctrl+g", "^g"),
        ("ctrl++", "ctrl+plus", "^+"),
        ("shift+ctrl+a", "ctrl+shift+a", "ctrl+shift+a"),
        ("left", "left", "←"),
    ],
)
def test_key_is_written_by_name_character_or_symbol(text: str, name: str, symbol: str) -> None:
    assert key_name(text) == name
    assert symbol_of(name) == symbol


@pytest.mark.parametrize("text", ["fn2", "ctrl+", "hyper+x", "ctrl+ctrl+x", "two words", "\n", "f99"])
def test_unknown_key_has_no_name(text: str) -> None:
    assert key_name(text) is None


def test_names_of_the_default_keys_can_be_written_in_a_file() -> None:
    for table in TABLES.values():
        for key in table:
            if key.action:
                assert [key_name(name) for name in key.keys.split(",")] == key.keys.split(",")


def test_every_screen_has_its_section() -> None:
    for module in pkgutil.walk_packages(tui.__path__, "distprompt_tui.tui."):
        importlib.import_module(module.name)
    screens = [kind for kind in AppScreen.__subclasses__() if kind.keys]
    assert {kind.key_section for kind in screens} == set(TABLES) - {ANYWHERE}
    for kind in screens:
        assert kind.keys == TABLES[kind.key_section]
    for section, table in TABLES.items():
        ids = [binding_id(section, key) for key in table if key.action]
        assert len(ids) == len(set(ids))


def test_own_keys_replace_the_defaults_and_keys_may_be_swapped(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '[start]\nedit = "n"\nblank = "e"\n"length(1)" = [">", "ctrl+right"]\n[anywhere]\nquit = "f10"\nhelp = "h"\n'
        '[run]\nhistory = "f3"\n[sweep]\nfindings = "f3"\n',
    )
    found = read_key_map(path)
    assert found.problems == ()
    table = {key.action: key for key in found.table("start", TABLES["start"])}
    assert (table["edit"].display, table["blank"].display) == ("n", "e")
    assert table["length(1)"].keys == "greater_than_sign,ctrl+right"
    assert table["length(1)"].pair == "[ >"
    assert table["steps(1)"] in TABLES["start"]
    app_keys = {key.action: key for key in found.table(ANYWHERE, APP_KEYS)}
    assert app_keys["quit"].keys == "f10,ctrl+q,ctrl+c"


def test_all_mistakes_of_a_file_are_reported_and_the_defaults_stay(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        settings = 3
        [strat]
        edit = "f2"
        [start]
        edti = "f2"
        edit = "fn2"
        method = ["f2", 3]
        blank = "m"
        prepare = "up"
        "steps(1)" = "f4"
        "steps(-1)" = "f4"
        [editor]
        save = "s"
        start = "f1"
        [anywhere]
        runs = "x"
        doctor = "f9"
        """,
    )
    found = read_key_map(path)
    told = [
        "settings is not a table of actions",
        "[strat] is not a screen; did you mean 'start'",
        "start.edti is not an action; did you mean 'edit'",
        "start.edit: unknown key 'fn2'; did you mean 'f2'",
        "start.method: a key is a text",
        "editor.save: 's' is typed into the fields",
        "start.blank: m is already the key of 'method' on the screen 'start'",
        "start.prepare: ↑ is already the key of 'Move in a list",
        "start.steps(-1): F4 is already the key of 'steps' on the screen 'start'",
        "editor.start: F1 is already the key of 'help' on every screen",
        "anywhere.runs: x is already the key of",
    ]
    assert len(found.problems) == len(told)
    for words in told:
        assert sum(problem.startswith(f"keys.toml: {words}") for problem in found.problems) == 1, words
    assert set(found.overrides) == {"start.steps(1)", "anywhere.doctor"}


def test_default_that_stays_takes_its_key_back(tmp_path: Path) -> None:
    """`edit` keeps its `e` after its own entry was dropped, so `blank` cannot have it."""
    found = read_key_map(written(tmp_path, '[start]\nblank = "e"\nedit = "m"\n'))
    assert found == KeyMap(problems=found.problems)
    assert len(found.problems) == 2


@pytest.mark.parametrize("data", [b"[start", b"\xff\xfe"])
def test_unreadable_file_is_one_problem(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "keys.toml"
    path.write_bytes(data)
    (problem,) = read_key_map(path).problems
    assert str(path) in problem
    assert read_key_map(tmp_path / "none.toml") == KeyMap()


async def test_own_keys_work_and_are_shown_in_key_bar_help_and_palette(
    tmp_path: Path, app_on: Make, small_world: object
) -> None:
    path = written(tmp_path, '[start]\nblank = "f2"\n[anywhere]\nhelp = "i"\nquit = "Q"\n')
    app = app_on(keys_file=path)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "F2 new" in screen_text(app))
        assert "i help" in screen_text(app)
        await pilot.press("n", "question_mark")
        await pilot.pause()
        assert isinstance(app.screen, StartScreen)
        await pilot.press("i")
        await until(pilot, lambda: "F2        New target" in screen_text(app))
        await pilot.press("escape", "ctrl+p", *"New target")
        await until(pilot, lambda: "key F2" in screen_text(app))
        await pilot.press("escape", "f2")
        await until(pilot, lambda: isinstance(app.screen, EditorScreen))
        assert "F1 help" in screen_text(app)
        assert "^q quit" in screen_text(app)
        await pilot.press("f1")
        await until(pilot, lambda: "All keys, terms and bars" in screen_text(app))


async def test_palette_shows_brackets_as_the_key_bar_does(app_on: Make, small_world: object) -> None:
    app = app_on(ascii_only=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, StartScreen))
        await pilot.press("ctrl+p", *"longer")
        await until(pilot, lambda: "key ]" in screen_text(app))
        assert "??" not in screen_text(app)


async def test_mistakes_are_told_at_the_start(tmp_path: Path, app_on: Make, small_world: object) -> None:
    text = "[start]\n" + "".join(f'wrong{number} = "x"\n' for number in range(app_module._MAX_SHOWN_PROBLEMS + 1))
    app = app_on(keys_file=written(tmp_path, text))
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: app._notifications)
        (notice,) = app._notifications
        assert "start.wrong0 is not an action" in notice.message
        assert "wrong3" not in notice.message
        assert notice.message.endswith("The default keys stay. All 4 mistakes: 'distprompt-tui keys'.")


def test_command_lists_the_keys_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTPROMPT_HOME", str(tmp_path))
    listed = CliRunner().invoke(command, ["keys"])
    assert listed.exit_code == 0
    assert f"your own keys go into {tmp_path / 'keys.toml'}" in " ".join(listed.stdout.split())
    written(tmp_path, '[start]\nedit = "f2"\nedti = "f3"\n')
    listed = CliRunner().invoke(command, ["keys"])
    assert listed.exit_code == 2
    assert ["*", "F2", "edit"] in [line.split()[:3] for line in listed.stdout.splitlines()]
    assert listed.stderr == "distprompt-tui: keys.toml: start.edti is not an action; did you mean 'edit'?\n"
    found = json.loads(CliRunner().invoke(command, ["keys", "--json"]).stdout)
    (edit,) = (key for key in found["keys"] if (key["section"], key["action"]) == ("start", "edit"))
    assert (edit["keys"], edit["default"]) == (["f2"], ["e"])
    assert len(found["problems"]) == 1
