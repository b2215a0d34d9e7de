"""The live screen over recorded and growing runs, at several sizes, with every key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from distprompt_tui.runs import schema
from distprompt_tui.runs.state import FORCED
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.run.divergence_plot import DivergencePlot
from distprompt_tui.tui.run.screen import RunScreen
from distprompt_tui.tui.widgets.key_bar import KeyBar
from tests.tui.conftest import screen_text, until, watched
from tests.tui.recording import SIZE, Recorder, recorded, searching
from tests.tui.run.operating import bars, complete

Make = Callable[..., DistPromptApp]


@pytest.mark.parametrize("method", ["soft", "hard"])
@pytest.mark.parametrize("size", [(80, 24), (120, 40), (220, 60), (60, 16)])
async def test_a_run_is_shown_at_every_size(tmp_path: Path, app_on: Make, method: str, size: tuple[int, int]) -> None:
    run = recorded(tmp_path / "runs", method)
    app = app_on(attach=run)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: complete(app))
        text = screen_text(app)
        assert f"outlier › smollm2 › {method} n=10" in text
        assert "budget spent" in text
        assert "head optimum 0.190" in text
        assert "·banana" in text
        assert "Tokens  by probability" in text
        assert "█" in text


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (220, 60)])
async def test_the_last_row_sums_all_tokens_that_are_not_shown(
    tmp_path: Path, app_on: Make, size: tuple[int, int]
) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: complete(app))

        def others() -> int:
            first, last = bars(app).visible_rows()
            return SIZE - (last - first + 1 if last else 0)

        def shown(count: int) -> bool:
            return count == 0 or f"{count} other token" in screen_text(app)

        await until(pilot, lambda: shown(others()))
        await pilot.press("o", "end")
        await until(pilot, lambda: bars(app).table.order == "contribution" and shown(others()))
        await pilot.press("slash", *"word1")
        await until(pilot, lambda: bars(app).table.find == "word1" and others() >= SIZE - 11 and shown(others()))


async def test_hostile_tokens_are_shown_and_harmless(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=(90, 60)) as pilot:
        await until(pilot, lambda: complete(app))
        await pilot.press("o", "o")
        await until(pilot, lambda: bars(app).table.order == "target")
        text = screen_text(app)
        for shown in ("[/", "[TODO]·a", "‹1B›]0;owned‹7›", "·東京", "‹202E›right", "⏎", "[bold·red]x[/]"):
            assert shown in text
        assert "\x1b" not in text


async def test_resizing_never_breaks_a_frame(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs", "hard"))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: complete(app))
        for width, height in [(80, 24), (40, 10), (200, 50), (61, 17), (100, 31), (1, 1), (120, 40)]:
            await pilot.resize_terminal(width, height)
            await pilot.pause()
            lines = screen_text(app).split("\n")
            assert len(lines) == height
        assert "Divergence" in screen_text(app)


async def test_a_terminal_that_is_too_small_says_so(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=(50, 14)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        assert "distprompt needs 60 x 16" in screen_text(app)


async def test_growing_run_is_followed(tmp_path: Path, app_on: Make) -> None:
    recorder = Recorder(tmp_path / "runs")
    async with watched(recorder, app_on, size=(120, 40)) as (app, pilot):
        await until(pilot, lambda: "Starting the worker" in screen_text(app))
        recorder.start()
        await until(pilot, lambda: "running" in screen_text(app))
        recorder.steps(3)
        await until(pilot, lambda: "step 3/100" in screen_text(app))
        assert "is being computed" in screen_text(app)
        recorder.bounds()
        recorder.steps(4)
        await until(pilot, lambda: "step 7/100" in screen_text(app) and "excess" in screen_text(app))
        recorder.end("target reached")
        await until(pilot, lambda: "target reached" in screen_text(app))
        assert "y copy the prompt" in screen_text(app)


async def test_crash_is_shown_with_the_last_output(tmp_path: Path, app_on: Make) -> None:
    recorder = Recorder(tmp_path / "runs")
    recorder.start()
    recorder.run.log.write_text("Traceback\nMemoryError: [/] out of memory\n")
    app = app_on(attach=recorder.run)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: "crashed" in screen_text(app))
        assert "MemoryError: [/] out of memory" in screen_text(app)
        await pilot.press("w")
        await until(pilot, lambda: "Worker output" in screen_text(app))
        await pilot.press("escape")
        assert isinstance(app.screen, RunScreen)


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_an_ended_run_shows_the_entropy_of_its_best_prompt(
    tmp_path: Path, app_on: Make, size: tuple[int, int]
) -> None:
    recorder = searching(tmp_path / "runs", steps=40)
    recorder.bounds()
    recorder.writer.write(schema.Ended(reason="budget", result={"kl": 0.195, "entropy_achieved": 1.2345}))
    app = app_on(attach=recorder.run)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: complete(app))
        text = screen_text(app)
        assert "best KL 0.195" in text
        assert "excess 0.005" in text
        assert text.count("entropy 1.234 → 2.611") == (2 if size[0] == 120 else 1)
        assert "◆ best 0.195 @40" in text


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_a_run_without_a_result_names_its_last_step(tmp_path: Path, app_on: Make, size: tuple[int, int]) -> None:
    recorder = searching(tmp_path / "runs", steps=40)
    recorder.writer.write(schema.Ended(reason=FORCED, result=None))
    app = app_on(attach=recorder.run)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: complete(app))
        text = screen_text(app)
        assert "stopped (forced)" in text
        assert "last step" in text
        assert "crashed" not in text


async def test_sorting_finding_and_moving(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: complete(app))
        await pilot.press("o", "o", "o")
        await until(pilot, lambda: bars(app).table.order == "achieved")
        await pilot.press("down", "down", "j")
        chosen = bars(app).current_token
        await pilot.press("o")
        await until(pilot, lambda: bars(app).table.order == "gap")
        assert bars(app).current_token == chosen
        await pilot.press("slash", *"word4")
        await until(pilot, lambda: bars(app).table.find == "word4")
        assert "10 found" in screen_text(app)
        await pilot.press(*"zzz")
        await until(pilot, lambda: "No token contains" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: len(bars(app).table) == 64)
        await pilot.press("end")
        assert "of 64" in screen_text(app)
        assert bars(app).current_token == bars(app).table.ids[-1]


async def test_scales_change(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: complete(app))
        assert "nats, log" in screen_text(app)
        await pilot.press("l", "b")
        await pilot.pause()
        assert "nats, linear" in screen_text(app)
        assert "log bars" in screen_text(app)


async def test_the_key_bar_can_be_clicked(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: complete(app))
        column = screen_text(app).split("\n")[-1].index("l linear")
        await pilot.click(KeyBar, offset=(column, 0))
        await until(pilot, lambda: "nats, linear" in screen_text(app))
        await pilot.click(KeyBar, offset=(screen_text(app).split("\n")[-1].index("? help"), 0))
        await until(pilot, lambda: "Pause or resume the search" in screen_text(app))


async def test_old_warnings_stay_in_the_log(tmp_path: Path, app_on: Make) -> None:
    recorder = Recorder(tmp_path / "runs")
    recorder.start()
    recorder.writer.write(schema.Warning(text="an old [/] warning"))
    async with watched(recorder, app_on, size=(120, 40), notifications=True) as (app, pilot):
        await until(pilot, lambda: "running" in screen_text(app))
        recorder.writer.write(schema.Warning(text="a new [/] warning"))
        await until(pilot, lambda: "a new [/] warning" in screen_text(app))
        assert "an old" not in screen_text(app)
        await pilot.press("w")
        await until(pilot, lambda: "an old [/] warning" in screen_text(app))


async def test_plot_reads_single_steps(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: complete(app))
        app.screen.query_one(DivergencePlot).focus()
        await pilot.press("home", "right", "right")
        assert "Step 3 " in screen_text(app)
        await pilot.press("end")
        assert "Divergence" in screen_text(app)


async def test_panels_hide_zoom_and_come_back(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: complete(app))
        await pilot.press("1", "2", "3")
        await pilot.pause()
        assert "Divergence" not in screen_text(app)
        await pilot.press("4")  # the last one stays
        await pilot.pause()
        assert "Tokens" in screen_text(app)
        await pilot.press("0")
        await pilot.pause()
        assert "Divergence" in screen_text(app)
        await pilot.press("z")
        await pilot.pause()
        assert "Divergence" not in screen_text(app)
        await pilot.press("escape")
        await pilot.pause()
        assert "Divergence" in screen_text(app)


async def test_copying_reports_the_destination(tmp_path: Path, app_on: Make) -> None:
    run = recorded(tmp_path / "runs", "hard")
    app = app_on(attach=run)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: complete(app))
        await pilot.press("y", "i")
        await pilot.pause()
        assert app.clipboard == "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"
        assert (run.path / "last-copy.txt").read_text() == app.clipboard
        await until(pilot, lambda: "OSC 52" in screen_text(app))
        await pilot.press("y", "j")  # without a result file: the numbers so far
        await until(pilot, lambda: '"kl": ' in app.clipboard)


async def test_nothing_is_copied_before_the_first_step(tmp_path: Path, app_on: Make) -> None:
    recorder = searching(tmp_path / "runs", steps=0)
    async with watched(recorder, app_on, size=(120, 40), notifications=True) as (app, pilot):
        await until(pilot, lambda: "running" in screen_text(app))
        await pilot.press("y", "j")
        await until(pilot, lambda: "Nothing to copy yet" in screen_text(app))
        assert app.clipboard == ""


async def test_again_takes_the_next_seed(tmp_path: Path, app_on: Make, small_world: list) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: complete(app))
        await pilot.press("r")
        await until(pilot, lambda: small_world)
        assert small_world[0].seed == 1


async def test_help_and_palette_list_the_keys(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=(120, 60)) as pilot:
        await until(pilot, lambda: complete(app))
        await pilot.press("question_mark")
        await until(pilot, lambda: "Pause or resume the search" in screen_text(app))
        await pilot.press("escape", "ctrl+p")
        await until(pilot, lambda: "Sort tokens by probability" in screen_text(app))
        assert "Pause or resume" not in screen_text(app)  # the run has ended
        await pilot.press(*"logarithmic or", "enter")
        await until(pilot, lambda: "nats, linear" in screen_text(app))
