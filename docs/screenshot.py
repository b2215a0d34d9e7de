"""Take the README's pictures: the app, headless, on the real default model.

python docs/screenshot.py live|start|editor|compare|sweep [--step 250] [--size 120x36]

Each is written beside this file, as SVG.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from distprompt_tui.core.config.presets import load_preset, override, with_method
from distprompt_tui.runs.directory import list_runs
from distprompt_tui.runs.process import start_run, stop, worker_pid
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.editor.screen import EditorScreen
from distprompt_tui.tui.run.screen import RunScreen
from distprompt_tui.tui.runs.compare_screen import CompareScreen
from distprompt_tui.tui.runs.run_table import RunTable
from distprompt_tui.tui.runs.screen import RunsScreen
from distprompt_tui.tui.start.screen import StartScreen
from distprompt_tui.tui.start.target_preview import TargetView
from distprompt_tui.tui.sweeps.list_screen import SweepsScreen
from distprompt_tui.tui.sweeps.screen import SweepScreen
from distprompt_tui.tui.sweeps.sweep_points import PointHeader
from distprompt_tui.tui.sweeps.sweep_table import SweepTable

WAIT_SECONDS = 900

COMPARED = (("outlier", "soft"), ("outlier", "hard"), ("mid-entropy", "soft"))
"""Presets and methods of the runs on the picture of a comparison."""

Picture = Callable[[DistPromptApp, Pilot[Any], int], Awaitable[None]]


async def until(pilot: Pilot[Any], condition: Callable[[], object]) -> None:
    """Let the app go on until a condition holds."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():
            await pilot.pause(0.2)


async def live(app: DistPromptApp, pilot: Pilot[Any], step: int) -> None:
    """A search at `step`, with floor and head optimum found."""
    app.start_search(override(load_preset("outlier").spec, [f"budget.steps={4 * step}"]))
    await until(pilot, lambda: isinstance(app.screen, RunScreen))
    screen = app.screen
    assert isinstance(screen, RunScreen)
    await until(pilot, lambda: screen.view.state.step >= step and screen.view.state.bounds.head_optimum is not None)


async def start(app: DistPromptApp, pilot: Pilot[Any], step: int) -> None:
    """The start screen with a target and its bounds."""
    await _on_the_start_screen(app, pilot)
    await until(pilot, lambda: app.screen.query_one(TargetView).data.bounds.done)


async def editor(app: DistPromptApp, pilot: Pilot[Any], step: int) -> None:
    """The editor with a target of one's own."""
    await _on_the_start_screen(app, pilot)
    await pilot.press("n")
    await until(pilot, lambda: isinstance(app.screen, EditorScreen))
    for token, mass in ((" yes", "0.4"), (" no", "0.3"), (" maybe", "0.2")):
        for written in (token, mass):
            await pilot.press(*written, "enter")
            await pilot.pause(0.5)
    await until(pilot, lambda: app.screen.query_one(TargetView).data.bounds.done)


async def compare(app: DistPromptApp, pilot: Pilot[Any], step: int) -> None:
    """Runs on one plot, after `step` steps each."""
    for preset, method in COMPARED:
        spec = override(with_method(load_preset(preset).spec, method), [f"budget.steps={step}"])
        run = start_run(spec, app.runs_dir)
        await until(pilot, lambda run=run: worker_pid(run) is None)  # type: ignore[misc]
    await pilot.press("u")
    await until(pilot, lambda: isinstance(app.screen, RunsScreen) and app.screen.query_one(RunTable).row_count == 3)
    await pilot.press("space", "space", "space", "c")
    await until(pilot, lambda: isinstance(app.screen, CompareScreen))
    await pilot.pause(2)


async def sweep(app: DistPromptApp, pilot: Pilot[Any], step: int) -> None:
    """The sweep that was written to last, of those that are there: it takes too long for a picture."""
    await _on_the_start_screen(app, pilot)
    await pilot.press("S")
    await until(pilot, lambda: isinstance(app.screen, SweepsScreen) and app.screen.query_one(SweepTable).row_count)
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(app.screen, SweepScreen) and app.screen.query_one(PointHeader).data)
    await pilot.pause(2)


PICTURES: dict[str, Picture] = {
    "live": live, "start": start, "editor": editor, "compare": compare, "sweep": sweep
}  # fmt: skip


async def _on_the_start_screen(app: DistPromptApp, pilot: Pilot[Any]) -> None:
    await until(pilot, lambda: isinstance(app.screen, StartScreen) and app.screen.preset and app.screen.model)
    screen = app.screen
    assert isinstance(screen, StartScreen)
    screen.choose("presets", "outlier")
    await until(pilot, lambda: screen.preset is not None and screen.preset.name == "outlier")


async def capture(name: str, step: int, size: tuple[int, int]) -> None:
    """Bring the app to where the picture is, and write what the screen shows."""
    with tempfile.TemporaryDirectory() as folder:
        app = DistPromptApp(runs_dir=Path(folder))
        async with app.run_test(size=size) as pilot:
            await PICTURES[name](app, pilot, step)
            Path(__file__).with_name(f"{name}.svg").write_text(app.export_screenshot(title="distprompt-tui"))
            for run in list_runs(Path(folder)):
                await asyncio.to_thread(stop, run)


def main() -> None:
    """Parse and capture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", choices=PICTURES)
    parser.add_argument("--step", type=int, default=250)
    parser.add_argument("--size", default="120x36")
    options = parser.parse_args()
    columns, rows = map(int, options.size.split("x"))
    os.environ["COLORTERM"] = "truecolor"  # the app's own colours, whatever terminal this is started in
    asyncio.run(capture(options.picture, options.step, (columns, rows)))


if __name__ == "__main__":
    main()
