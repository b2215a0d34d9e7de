"""All sweeps, and one as it fills: at every size, read on, started, stopped, only looked at, damaged, hostile."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from textual.pilot import Pilot

from distprompt_tui.core.text.formatting import Line
from distprompt_tui.sweeps.curves import panels
from distprompt_tui.sweeps.directory import SweepDirectory
from distprompt_tui.sweeps.process import runner_pid
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.drawing.styled_text import plain_text, width_of
from distprompt_tui.tui.start.screen import StartScreen
from distprompt_tui.tui.sweeps.list_screen import SweepsScreen
from distprompt_tui.tui.sweeps.screen import SweepScreen
from distprompt_tui.tui.sweeps.sweep_plot import SweepPicture, SweepPlot
from distprompt_tui.tui.sweeps.sweep_points import point_lines
from distprompt_tui.tui.sweeps.sweep_preview import PREVIEW_FROM_ROWS, SweepPreview
from distprompt_tui.tui.sweeps.sweep_table import SweepTable
from distprompt_tui.tui.widgets.dialogs import Question
from tests.fuzz.inputs import HOSTILE
from tests.reports.factories import completed_sweep, example_sweep
from tests.sweeps.factories import hump, rows
from tests.tui.conftest import screen_text, until
from tests.tui.test_hostile import assert_harmless

Make = Callable[..., DistPromptApp]
SIZES = [(80, 24), (120, 40), (60, 16)]


@pytest.fixture(autouse=True)
def sweeps(tmp_path: Path, small_world: object, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of all sweeps, this test's own."""
    monkeypatch.setenv("DISTPROMPT_HOME", str(tmp_path))
    return tmp_path / "sweeps"


def text(lines: list[Line]) -> str:
    return "\n".join(plain_text(line) for line in lines)


def notices(app: DistPromptApp) -> str:
    return "\n".join(notice.message for notice in app._notifications)


async def at_sweeps(app: DistPromptApp, pilot: Pilot[Any]) -> None:
    """From the start screen to the list of sweeps, read."""
    app.updates_per_second = 20.0
    await until(pilot, lambda: isinstance(app.screen, StartScreen))
    await pilot.press("S")
    await until(pilot, lambda: isinstance(app.screen, SweepsScreen) and app.screen.query_one(SweepTable).row_count)


async def at_sweep(app: DistPromptApp, pilot: Pilot[Any], name: str) -> None:
    """On to the screen of the first sweep of a name, read."""
    await at_sweeps(app, pilot)
    table = app.screen.query_one(SweepTable)
    names = [entry.directory.name for entry in table.data.entries]
    table.go_to(next(place for place, known in enumerate(names) if name in known))
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(app.screen, SweepScreen) and "Reading" not in screen_text(app))


@pytest.mark.parametrize("size", SIZES)
async def test_a_sweep_is_listed_and_shown_at_every_size(sweeps: Path, app_on: Make, size: tuple[int, int]) -> None:
    directory = completed_sweep(example_sweep(), sweeps, refuse=lambda search: search.target_index == 5)
    app = app_on()
    async with app.run_test(size=size) as pilot:
        await at_sweeps(app, pilot)
        shown = screen_text(app)
        assert "■ done" in shown
        assert "60/60" in shown
        assert "○ not started" in shown
        if size[1] >= 24:
            assert directory.name in shown  # of the one under the cursor
        assert "finding-entropy" in shown
        has_preview = size[1] >= PREVIEW_FROM_ROWS
        if has_preview:
            await until(pilot, lambda: "✓ supported  vanilla" in screen_text(app))
            assert "soft, 10 vectors  KL(p‖q) in nats  and 1 other setting" in screen_text(app)
            app.screen.query_one(SweepTable).go_to(1)
            await until(pilot, lambda: "No results yet. 720 searches:" in screen_text(app))
            assert "vanilla   0.5, 2.5, 4.5, 6.5, 8.5, 10.5 nats   10 seeds   vanilla" in screen_text(app)
            app.screen.query_one(SweepTable).go_to(0)
            await until(pilot, lambda: "✓ supported  vanilla" in screen_text(app))
        await until(pilot, lambda: app.screen.query_one(SweepPreview).display == has_preview)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, SweepScreen) and "supported" in screen_text(app))
        shown = screen_text(app)
        assert "60 of 60 searches  10 invalid" in shown
        assert "✓ supported  vanilla" in shown
        assert "no result for 10 searches: the entropy is out of" in shown
        assert "soft, 10 vectors" in shown
        assert any("\u2800" < char <= "\u28ff" for char in shown)
        assert "o vanilla   · head optimum of each   ▁ floor" in shown
        if size[1] >= 24:
            assert "excess  floor" in shown
            assert "interval" in shown
        await pilot.press("right", "l")
        assert "hard, 10 tokens" in screen_text(app)
        is_whole = "head optima alone: supported" in screen_text(app)
        assert is_whole == (size[1] >= 40)
        assert ("peak chosen on other targets" in screen_text(app)) == is_whole
        assert ("Holm p 0." in screen_text(app)) == (size[0] >= 80)
        await pilot.press("v")
        assert ("head optima alone: supported" in screen_text(app)) != is_whole
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, SweepsScreen))


async def test_points_appear_while_running(sweeps: Path, app_on: Make) -> None:
    directory = completed_sweep(example_sweep(methods=["soft"]), sweeps)
    lines = directory.rows_file.read_bytes().splitlines(keepends=True)
    directory.rows_file.write_bytes(b"")
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        with directory.locked():
            await at_sweep(app, pilot, "made-up")
            await until(pilot, lambda: "● running   0 of 30 searches" in screen_text(app))
            assert "The first searches are running" in screen_text(app)
            assert "not tested: needs results at three entropies" not in screen_text(app)
            for count, words in [(3, "not tested"), (25, "supported"), (30, "supported")]:
                directory.rows_file.write_bytes(b"".join(lines[:count]) + lines[0][:40])
                await until(pilot, lambda count=count: f"{count} of 30 searches" in screen_text(app))
                assert words in screen_text(app)
        await until(pilot, lambda: "■ done" in screen_text(app))


async def test_sweep_not_started_shows_its_size(sweeps: Path, app_on: Make) -> None:
    app = app_on()
    async with app.run_test(size=(80, 24)) as pilot:
        await at_sweep(app, pilot, "finding-entropy")
        assert "Not started. Press r to start its 720 searches" in screen_text(app)
        await pilot.press("right", "l", "v", "s", "w")
        assert not sweeps.exists()


async def test_started_watched_and_stopped(
    sweeps: Path, app_on: Make, tmp_path: Path, tiny_folders: dict[str, Path]
) -> None:
    fields = {"name": "tiny", "models": [str(tiny_folders["llama"])], "lengths": [4], "targets": 60, "batch": 1}
    fields |= {"threads": 1, "device": "cpu", "entropies": [2.0], "soft": {"steps": 100}}
    file = tmp_path / "presets" / "sweeps" / "tiny.toml"
    file.parent.mkdir(parents=True)
    file.write_text(tomli_w.dumps(fields | {"series": [{"name": "vanilla", "target": {"family": "vanilla"}}]}))
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await at_sweep(app, pilot, "tiny")
        await pilot.press("r", "r")
        assert "starting or stopping" in notices(app)
        await until(pilot, lambda: "● running" in screen_text(app))
        (path,) = sweeps.iterdir()
        measured = re.compile(r"about \S+( s)? left")  # a task was measured, its worker is seen
        await until(pilot, lambda: measured.search(screen_text(app)))
        await pilot.press("r")
        assert "already running" in notices(app)
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, Question))
        await pilot.press("s")
        await until(pilot, lambda: "■ stopped" in screen_text(app))
        assert runner_pid(SweepDirectory(path)) is None
        assert "resume" in screen_text(app)
        log = path / "worker.log"  # the process lets go of the sweep, then says how it ended
        await until(pilot, lambda: "stopped; repeat the command to continue" in log.read_text())


async def test_failed_sweep_start_shows_the_reason(sweeps: Path, app_on: Make) -> None:
    completed_sweep(example_sweep(name="unknown", models=["nothing"]), sweeps).rows_file.unlink()
    moved = completed_sweep(example_sweep(name="moved"), sweeps)
    moved.rows_file.unlink()
    moved.path.rename(sweeps / "moved-elsewhere")
    app = app_on()
    for name, why in [("unknown", "no model 'nothing'"), ("moved", "is not the folder of this grid")]:
        app = app_on()
        async with app.run_test(size=(120, 40)) as pilot:
            await at_sweep(app, pilot, name)
            assert "Stopped before a search ended" in screen_text(app)
            await pilot.press("r")
            await until(pilot, lambda app=app, why=why: why in notices(app))


async def test_read_only_starts_and_stops_nothing(sweeps: Path, app_on: Make) -> None:
    directory = completed_sweep(example_sweep(), sweeps)
    app = app_on(read_only=True)
    async with app.run_test(size=(120, 40)) as pilot:
        with directory.locked():
            await at_sweep(app, pilot, "made-up")
            await until(pilot, lambda: "● running" in screen_text(app))
            await pilot.press("s", "r")
            assert isinstance(app.screen, SweepScreen)
            assert "s stop" not in screen_text(app)
            await pilot.press("escape", "s", "r", "end", "r")
            await pilot.pause()
            assert isinstance(app.screen, SweepsScreen)
            assert list(sweeps.iterdir()) == [directory.path]


async def test_sweep_of_another_user_is_read_only(sweeps: Path, app_on: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = completed_sweep(example_sweep(), sweeps)
    monkeypatch.setattr("distprompt_tui.tui.sweeps.controller.is_owned_by_user", lambda path: path != directory.path)
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        with directory.locked():
            await at_sweep(app, pilot, "made-up")
            await until(pilot, lambda: "● running" in screen_text(app))
            await pilot.press("s")
            assert isinstance(app.screen, SweepScreen)
            assert "s stop" not in screen_text(app)
            assert "another user" in notices(app)


async def test_huge_grid_is_not_expanded(sweeps: Path, app_on: Make) -> None:
    directory = completed_sweep(example_sweep(), sweeps)
    text = directory.sweep_file.read_text().replace("targets = 6", "targets = 1000")
    directory.sweep_file.write_text(text.replace("seeds = [\n    0,\n]", f"seeds = {list(range(1000))}"))
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await at_sweep(app, pilot, "made-up")
        assert "its grid has 10,000,000 searches; the maximum is 100,000" in screen_text(app)


async def test_a_damaged_sweep_is_one_clear_line(sweeps: Path, app_on: Make) -> None:
    directory = completed_sweep(example_sweep(), sweeps)
    directory.sweep_file.write_text('name = "made-up"\nmodels = []\n')
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await at_sweeps(app, pilot)
        assert "✕ damaged" in screen_text(app)
        await pilot.press("enter")
        await until(pilot, lambda: "The sweep cannot be read." in screen_text(app))
        assert "sweep.toml:2:models" in "".join(screen_text(app).replace("│", "").split())
        await pilot.press("r", "s", "right", "l")
        assert isinstance(app.screen, SweepScreen)


async def test_hostile_rows_are_sanitised(sweeps: Path, app_on: Make) -> None:
    series = [{"name": "vanilla [/", "target": {"family": "vanilla"}}]
    sweep = example_sweep(title=HOSTILE, description=HOSTILE, models=["[bold]model"], series=series)
    directory = completed_sweep(sweep, sweeps)
    good = json.loads(directory.rows_file.read_text().split("\n")[0])
    spoilt = [good | {"model": HOSTILE, "series": HOSTILE}, good]
    spoilt += [good | {"key": "a", "kl": HOSTILE}, good | {"key": "b", "length": -1}, {"key": ["c"]}, {}]
    failures = [{"key": "d", "attempts": 2, "error": HOSTILE}, {"key": 3}]
    with directory.failures_file.open("a") as file:
        file.writelines(json.dumps(failure) + "\n" for failure in failures)
    with directory.rows_file.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in spoilt)
        file.write('[1]\nnull\n{"key": NaN}\n{"half')
    directory.path.rename(sweeps / f"made-up{HOSTILE}")
    app = app_on()
    async with app.run_test(size=(140, 50)) as pilot:
        await at_sweep(app, pilot, "made-up")
        await until(pilot, lambda: "60 of 60 searches  ✕ 1 failed" in screen_text(app))
        for key in ("right", "v", "l", "w", "escape", "r", "escape"):
            assert_harmless(app)
            await pilot.press(key)
            await pilot.pause(0.05)
        assert_harmless(app)


async def test_in_ascii_and_without_colour_it_still_reads(
    sweeps: Path, app_on: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    completed_sweep(example_sweep(), sweeps)
    app = app_on(ascii_only=True)
    async with app.run_test(size=(100, 34)) as pilot:
        await at_sweep(app, pilot, "made-up")
        await until(pilot, lambda: "supported" in screen_text(app))
        assert screen_text(app).isascii()
        strips = app.screen._compositor.render_strips()
        assert {segment.style.color.name for strip in strips for segment in strip if segment.style.color} <= {"default"}


def test_of_lines_on_one_another_each_says_whose_it_is() -> None:
    made = [row for name in ("one", "two", "three") for row in rows(hump, series=name)]
    (panel,) = panels(made)
    shown = text(SweepPlot(SweepPicture(panel.curves, (0.5, 10.5))).lines(100, 20))
    for letter, name in zip("oxv", ("one", "two", "three"), strict=True):
        assert shown.count(letter) - f"{letter} {name}".count(letter) >= 4  # once a line between two points
        assert f"{letter} {name}" in shown
    assert "· head optimum of each   ▁ floor" in shown


def test_one_entropy_is_bars_of_head_optimum_and_excess() -> None:
    whole = rows(lambda entropy: 4.0, entropies=[3.0], noise=0.0, head_share=0.5, series="high")
    small = rows(lambda entropy: 1.0, entropies=[3.0], noise=0.0, head_share=None, series="low")
    (panel,) = panels([*whole, *small])
    high, _, low, _, legend = SweepPlot(SweepPicture(panel.curves, (3.0,))).lines(80, 8)
    assert plain_text(high).count("█") == plain_text(high).count("░") > 10
    assert plain_text(low).count("█") == pytest.approx(plain_text(high).count("█") / 2, abs=1)
    assert "4.000 [4.000, 4.000]" in plain_text(high)
    assert "█ head optimum   ░ excess   KL in nats at entropy 3" in plain_text(legend)


@pytest.mark.parametrize("width", range(30, 140, 10))
def test_the_points_keep_the_columns_that_matter_most(width: int) -> None:
    (panel,) = panels(rows(hump, entropies=(0.5, None)))
    lines = point_lines(panel.curves, width)
    assert len(lines) == 3
    assert all(width_of(line) <= width for line in lines)
    assert "entropy" in plain_text(lines[0])
    assert ("KL" in plain_text(lines[0])) == (width >= 50)
    if width >= 90:
        assert "uniform" in plain_text(lines[0])
        assert "as made" in text(lines)


def test_rows_are_what_the_folder_says(sweeps: Path) -> None:
    from distprompt_tui.sweeps.results_reader import SweepReader

    directory = completed_sweep(example_sweep(), sweeps, refuse=lambda search: search.target_index == 0)
    reader = SweepReader(directory)
    assert reader.read()
    assert not reader.read()
    assert [asdict(row) for row in reader.rows.values()] == [asdict(row) for row in directory.read_rows()]
    assert reader.failures == directory.read_failures()
    assert len(reader.costs) == 1
