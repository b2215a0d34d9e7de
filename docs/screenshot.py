"""Take the README's picture: the app, headless, on a real search of the default model.

python docs/screenshot.py docs/live.svg [PRESET] [--step 250] [--size 120x36]
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from distprompt_tui.presets import load_preset, override
from distprompt_tui.runs.directory import list_runs
from distprompt_tui.runs.process import stop
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.screens.live import LiveScreen

WAIT_SECONDS = 900


async def capture(path: Path, preset: str, step: int, size: tuple[int, int]) -> None:
    """Search until `step`, with floor and head limit found, and write what the screen shows then."""
    with tempfile.TemporaryDirectory() as folder:
        spec = override(load_preset(preset).spec, [f"budget.steps={4 * step}"])
        app = DistPromptApp(spec=spec, runs_dir=Path(folder))
        async with app.run_test(size=size) as pilot:
            for _ in range(2 * WAIT_SECONDS):
                await pilot.pause(0.5)
                if isinstance(app.screen, LiveScreen):
                    state = app.screen.view.state
                    if state.step >= step and state.bounds.head_limit is not None:
                        break
            path.write_text(app.export_screenshot(title="distprompt-tui"))
            await asyncio.to_thread(stop, list_runs(Path(folder))[0])


def main() -> None:
    """Parse and capture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("preset", nargs="?", default="outlier")
    parser.add_argument("--step", type=int, default=250)
    parser.add_argument("--size", default="120x36")
    options = parser.parse_args()
    columns, rows = map(int, options.size.split("x"))
    asyncio.run(capture(options.path, options.preset, options.step, (columns, rows)))


if __name__ == "__main__":
    main()
