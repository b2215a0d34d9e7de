"""A run with hostile strings everywhere: no screen of the app emits a control sequence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tomli_w

from distprompt_tui.core.config.toml_files import read_toml
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.run.fork_dialog import ForkDialog
from distprompt_tui.tui.run.screen import RunScreen
from distprompt_tui.tui.runs.compare_screen import CompareScreen
from distprompt_tui.tui.runs.run_table import RunTable
from distprompt_tui.tui.runs.screen import RunsScreen
from distprompt_tui.tui.widgets.log_screen import LogScreen
from tests.fuzz.inputs import HOSTILE
from tests.fuzz.readers import assert_visible
from tests.tui.conftest import screen_text, until
from tests.tui.recording import recorded

Make = Callable[..., DistPromptApp]
NAMES = ("type", "outcome", "family", "method", "optimizer", "decay", "init", "dtype", "reason", "bos")
"""Strings that determine how a file is read."""


def spoilt(value: Any, name: str = "") -> Any:
    """Return a value with every free string replaced by a hostile one."""
    if isinstance(value, dict):
        return {key: spoilt(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [spoilt(item, name) for item in value]
    return value + HOSTILE if isinstance(value, str) and name not in NAMES else value


def foreign_run(runs_dir: Path, name: str, reason: str) -> RunDirectory:
    """Return an ended run with hostile strings."""
    run = recorded(runs_dir)
    events = [json.loads(line) for line in run.events.read_text().splitlines()]
    events += [{"type": "warning", "text": "careful"}, {"type": "ended", "reason": reason, "error": "it broke"}]
    last = {"v": 1, "seq": 10_000, "t": events[-3]["t"]}
    lines = [json.dumps(spoilt(last | event), separators=(",", ":"), ensure_ascii=False) for event in events]
    run.events.write_text("\n".join(lines) + "\n")
    run.spec_file.write_text(tomli_w.dumps(spoilt(read_toml(run.spec_file)[0])))
    run.log.write_text(f"a library said {HOSTILE}\n")
    return RunDirectory(run.path.rename(runs_dir / f"{name}{HOSTILE}"))


def assert_harmless(app: DistPromptApp) -> None:
    for line in screen_text(app).split("\n"):
        assert_visible(line)


async def test_no_screen_emits_control_sequences(tmp_path: Path, app_on: Make, small_world: object) -> None:
    runs = tmp_path / "runs"
    app = app_on(attach=foreign_run(runs, "a", "error"))
    foreign_run(runs, "b", HOSTILE)
    async with app.run_test(size=(140, 50)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, RunScreen) and "it broke" in screen_text(app))
        assert_harmless(app)
        for key, there in [("w", LogScreen), ("n", ForkDialog)]:
            await pilot.press(key)
            await until(pilot, lambda there=there: isinstance(app.screen, there))
            await pilot.pause(0.1)
            assert_harmless(app)
            await pilot.press("escape")
            await until(pilot, lambda: isinstance(app.screen, RunScreen))
        for key in ("h", "left", "p", "escape", "o", "m", "e", "enter", "y", "enter"):
            await pilot.press(key)
            await pilot.pause()
            assert_harmless(app)
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        await pilot.press("u")
        await until(
            pilot, lambda: isinstance(app.screen, RunsScreen) and len(app.screen.query_one(RunTable).data.runs) == 2
        )
        assert_harmless(app)
        await pilot.press("space", "down", "space", "c")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen))
        await pilot.pause(0.1)
        assert_harmless(app)
