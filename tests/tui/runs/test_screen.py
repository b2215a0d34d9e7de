"""The runs screen: layout, find, sort, open, resume, delete, mark and compare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.geometry import Size
from textual.pilot import Pilot

from distprompt_tui.runs.directory import RunDirectory, list_runs
from distprompt_tui.runs.schema import Step
from distprompt_tui.runs.state import FORCED
from distprompt_tui.runs.summary import RunLabel, RunSummary, read_runs
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.drawing.styled_text import plain_text, width_of
from distprompt_tui.tui.platform.model_client import ModelServer
from distprompt_tui.tui.run.monitor import RunMonitor
from distprompt_tui.tui.run.screen import RunScreen
from distprompt_tui.tui.runs.compare_screen import CompareScreen
from distprompt_tui.tui.runs.comparison import Compared, ComparedCurves, Legend, PlotData, seed_lines, split_lines
from distprompt_tui.tui.runs.run_rows import COLUMNS, header_line, layout_for, run_line
from distprompt_tui.tui.runs.run_table import RunTable
from distprompt_tui.tui.runs.screen import MOST_MARKED, RunsScreen
from distprompt_tui.tui.start.screen import StartScreen
from distprompt_tui.tui.widgets.dialogs import Question
from tests.tui.conftest import screen_text, until
from tests.tui.recording import Recorder, recorded

Make = Callable[..., DistPromptApp]
SIZES = [(80, 24), (120, 40), (60, 16)]


def table(app: DistPromptApp) -> RunTable:
    return app.screen.query_one(RunTable)


def shown(app: DistPromptApp) -> list[str]:
    """Return the names of the runs in the table."""
    return [summary.run.name for summary in table(app).data.runs]


def current(app: DistPromptApp) -> str:
    summary = table(app).current
    return summary.run.name if summary else ""


async def at_runs(app: DistPromptApp, pilot: Pilot[int], count: int) -> None:
    """Open the list of runs from the start screen, and wait until it is read."""
    await until(pilot, lambda: isinstance(app.screen, StartScreen))
    await pilot.press("u")
    await until(pilot, lambda: isinstance(app.screen, RunsScreen) and len(table(app).data.runs) == count)


@pytest.mark.parametrize("width", range(20, 200, 7))
def test_every_width_keeps_the_columns_that_matter_most(width: int) -> None:
    layout = layout_for(width)
    summary = RunSummary(
        RunDirectory(Path("x")), RunLabel("a-very-long-name-of-a-target", "m" * 40, "soft", 10, 0), "plateau", 0.2, 0.1,
        5.5, 123_456, 1_000_000, None, 0.0,
    )  # fmt: skip
    line = run_line(summary, layout, here=True, number=3, now=3_600.0)
    assert width_of(line) == width_of(header_line(layout, "best"))
    names = [column.name for column, _ in layout.columns]
    assert names == [column.name for column in COLUMNS if column.name in names]
    if width >= 50:
        assert width_of(line) <= width
        assert {"state", "target", "KL", "excess"} <= set(names)
        assert "0.200" in plain_text(line)
    if width >= 114:
        assert len(names) == len(COLUMNS)
        assert "plateau" in plain_text(line)
        assert "1 h ago" in plain_text(line)


@pytest.mark.parametrize("size", SIZES)
async def test_the_list_is_shown_at_every_size(
    tmp_path: Path, app_on: Make, small_world: object, size: tuple[int, int]
) -> None:
    recorded(tmp_path / "runs")
    Recorder(tmp_path / "runs", "hard").start()
    app = app_on()
    async with app.run_test(size=size) as pilot:
        await at_runs(app, pilot, 2)
        text = screen_text(app)
        assert "1–2 of 2" in text
        assert "✕ crashed" in text
        assert "■ budget" in text
        assert "0.010" in text  # left
        await pilot.press("u", "escape")
        await until(pilot, lambda: isinstance(app.screen, StartScreen))


@pytest.mark.parametrize("count", [2, 40])
async def test_headers_are_over_their_values(tmp_path: Path, app_on: Make, small_world: object, count: int) -> None:
    """With and without a scrollbar."""
    for _ in range(count):
        recorded(tmp_path / "runs", steps=2)
    app = app_on()
    async with app.run_test(size=(120, 24)) as pilot:
        await at_runs(app, pilot, count)
        header, first = screen_text(app).splitlines()[2:4]
        for name, value in (("KL", f"{table(app).entries[0].best_kl:.3f}"), ("entropy", ""), ("when", "just now")):
            value = value or f"{table(app).entries[0].entropy:.3f}"
            assert header.index(name) + len(name) == first.index(value) + len(value)


def test_prompts_are_not_cut_where_there_is_space() -> None:
    title = RunLabel("outlier", "smollm2", "exhaustive", 100, 0)
    summary = RunSummary(RunDirectory(Path("x")), title, FORCED, 0.2, 0.1, 5.5, 12, 100, None, 0.0)
    line = plain_text(run_line(summary, layout_for(130), here=False, number=None, now=0.0))
    assert "exhaustive n=100" in line
    assert "■ stopped (forced)" in line


async def test_no_runs_shows_a_message(app_on: Make, small_world: object) -> None:
    app = app_on()
    async with app.run_test(size=(80, 24)) as pilot:
        await at_runs(app, pilot, 0)
        await until(pilot, lambda: "No runs yet" in screen_text(app))
        await pilot.press("enter", "space", "c", "x", "r", "o", "down")
        assert isinstance(app.screen, RunsScreen)


async def test_searching_and_sorting(tmp_path: Path, app_on: Make, small_world: object) -> None:
    soft = recorded(tmp_path / "runs", "soft", steps=10).name
    hard = recorded(tmp_path / "runs", "hard", steps=60).name
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await at_runs(app, pilot, 2)
        await pilot.press("o")
        assert shown(app) == [hard, soft]
        assert "by best KL" in screen_text(app)
        await pilot.press("slash")
        await until(pilot, lambda: app.focused is not None and app.focused.id == "find")
        await pilot.press(*"budget SOFT")
        await until(pilot, lambda: shown(app) == [soft])
        assert "1–1 of 1 found in 2" in screen_text(app)
        await pilot.press("x", "x")
        await until(pilot, lambda: "No run matches 'budget SOFTxx'" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: shown(app) == [hard, soft])
        assert isinstance(app.screen, RunsScreen)


async def test_opening_a_run_and_coming_back_finds_the_cursor_where_it_was(
    tmp_path: Path, app_on: Make, small_world: object
) -> None:
    for _ in range(3):
        recorded(tmp_path / "runs", steps=2)
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await at_runs(app, pilot, 3)
        await pilot.press("j")
        chosen = current(app)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        assert app.screen.directory.name == chosen
        newer = recorded(tmp_path / "runs", "hard", steps=2).name
        await pilot.press("u")
        await until(pilot, lambda: isinstance(app.screen, RunsScreen) and newer in shown(app))
        assert current(app) == chosen
        assert len(app.screen_stack) == 3


async def test_deleting_asks_and_never_deletes_a_living_run(tmp_path: Path, app_on: Make, small_world: object) -> None:
    ended = recorded(tmp_path / "runs", steps=2)
    living = Recorder(tmp_path / "runs")
    living.start()
    app = app_on()
    with living.living_worker():
        async with app.run_test(size=(120, 40)) as pilot:
            await at_runs(app, pilot, 2)
            assert current(app) == living.run.name
            assert "● 1 running" in screen_text(app)
            await pilot.press("x", "r")
            assert isinstance(app.screen, RunsScreen)
            assert any("The run is running. Press enter" in notice.message for notice in app._notifications)
            assert any("Only a stopped, failed or crashed run" in notice.message for notice in app._notifications)
            await pilot.press("down", "x")
            await until(pilot, lambda: isinstance(app.screen, Question))
            await pilot.press("escape")
            assert ended.path.exists()
            await pilot.press("delete", "d")
            await until(pilot, lambda: isinstance(app.screen, RunsScreen) and shown(app) == [living.run.name])
            assert list_runs(tmp_path / "runs") == [living.run]


async def test_failed_deletion_shows_the_reason(tmp_path: Path, app_on: Make, small_world: object) -> None:
    run = recorded(tmp_path / "runs", steps=2)
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await at_runs(app, pilot, 1)
        await pilot.press("x")
        run.control.unlink()
        await pilot.press("d")
        await until(pilot, lambda: any("not a run directory" in notice.message for notice in app._notifications))
        assert run.spec_file.exists()


async def test_only_incomplete_runs_are_resumed_after_the_model_server_made_room(
    tmp_path: Path, app_on: Make, small_world: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed: list[RunDirectory] = []
    needed: list[int | None] = []

    async def release(self: ModelServer, needed_bytes: int | None) -> None:
        assert not resumed
        needed.append(needed_bytes)

    monkeypatch.setattr("distprompt_tui.runs.process.start_worker", resumed.append)
    monkeypatch.setattr(ModelServer, "is_running", True)
    monkeypatch.setattr(ModelServer, "release_memory", release)
    spent = recorded(tmp_path / "runs", steps=2)
    stopped = Recorder(tmp_path / "runs", "hard")
    stopped.start()
    stopped.end("stopped")
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await at_runs(app, pilot, 2)
        for name in (spent.name, stopped.run.name):
            table(app).go_to(shown(app).index(name))
            await pilot.press("r")
        await until(pilot, lambda: resumed)
        assert resumed == [stopped.run]
        assert len(needed) == 1


async def test_read_only_changes_nothing(tmp_path: Path, app_on: Make, small_world: object) -> None:
    recorded(tmp_path / "runs", steps=2)
    app = app_on(read_only=True)
    async with app.run_test(size=(120, 40)) as pilot:
        await at_runs(app, pilot, 1)
        await pilot.press("x")
        assert isinstance(app.screen, RunsScreen)
        assert "delete" not in screen_text(app)


async def test_marks_keep_their_numbers_and_end_with_six(tmp_path: Path, app_on: Make, small_world: object) -> None:
    for _ in range(MOST_MARKED + 1):
        recorded(tmp_path / "runs", steps=1)
    app = app_on()
    async with app.run_test(size=(80, 24)) as pilot:
        await at_runs(app, pilot, MOST_MARKED + 1)
        first = shown(app)[0]
        await pilot.press(*["space"] * (MOST_MARKED + 1))
        numbers = table(app).data.marked
        assert [numbers.get(name) for name in shown(app)] == [1, 2, 3, 4, 5, 6, None]
        assert any("the maximum for one plot" in notice.message for notice in app._notifications)
        await pilot.press("home", "space")
        assert first not in table(app).data.marked
        await pilot.press("end", "space")
        assert table(app).data.marked[shown(app)[-1]] == 1


@pytest.mark.parametrize("size", SIZES)
async def test_marked_runs_are_compared(
    tmp_path: Path, app_on: Make, small_world: object, size: tuple[int, int]
) -> None:
    recorded(tmp_path / "runs", "soft", steps=60)
    growing = Recorder(tmp_path / "runs", "hard")
    growing.start()
    growing.steps(5)
    app = app_on()
    with growing.living_worker():
        async with app.run_test(size=size) as pilot:
            app.updates_per_second = 20.0
            await at_runs(app, pilot, 2)
            await pilot.press("space", "space", "c")
            await until(pilot, lambda: isinstance(app.screen, CompareScreen) and "log, over steps" in screen_text(app))
            text = screen_text(app)
            assert any("\u2800" < char <= "\u28ff" for char in text)
            assert "● running" in text
            assert "■ budget" in text
            if size[1] >= 24:
                assert "search.method" in text
                assert "soft" in text
            growing.steps(30)
            await until(pilot, lambda: app.screen._runs[0].summary.step == 35)
            await pilot.press("l", "t")
            await until(pilot, lambda: "linear, over seconds" in screen_text(app))
            await pilot.press("escape")
            await until(pilot, lambda: isinstance(app.screen, RunsScreen))


async def test_a_run_is_compared_with_its_other_seeds_or_methods(
    tmp_path: Path, app_on: Make, small_world: object
) -> None:
    def change(run: RunDirectory, before: str, after: str) -> None:
        text = run.spec_file.read_text()
        assert before in text
        run.spec_file.write_text(text.replace(before, after, 1))

    hard, harder = (recorded(tmp_path / "runs", "hard", steps=1) for _ in range(2))
    change(harder, "entropy = ", "entropy = 1")
    soft = [recorded(tmp_path / "runs", steps=1) for _ in range(3)]
    for seed, run in enumerate(soft):
        change(run, "seed = 0\n", f"seed = {seed}\n")
    app = app_on()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await at_runs(app, pilot, 5)
        for run, compared_runs in ((soft[1], soft), (hard, [hard, *soft]), (harder, None)):
            await until(pilot, lambda: isinstance(app.screen, RunsScreen))
            await pilot.press("home")
            while table(app).current.run.name != run.name:
                await pilot.press("down")
            await pilot.press("c")
            if compared_runs is None:
                await until(pilot, lambda: any("No other run has" in notice.message for notice in app._notifications))
            else:
                await until(pilot, lambda: isinstance(app.screen, CompareScreen))
                assert {each.summary.run.name for each in app.screen._runs} == {each.name for each in compared_runs}
                assert app.screen._runs[0].summary.run.name == run.name
                await pilot.press("escape")


def test_curves_are_labelled_without_colour(tmp_path: Path) -> None:
    run = recorded(tmp_path)
    curve = RunMonitor(run).poll().state.curve
    (summary,) = read_runs(tmp_path)
    plot = ComparedCurves(PlotData([Compared(2, summary, curve), Compared(5, summary, curve), Compared(6, summary)]))
    text = "\n".join(plain_text(line) for line in plot.lines(100, 20))
    drawn = [line[8:85] for line in text.splitlines()[:-2]]
    for number in "25":
        assert sum(line.count(number) for line in drawn) >= 3
        assert any(f"{number} 0.200" in line for line in text.splitlines())
    assert text.count("head optimum 0.190") == 1


def compared(number: int, best: float, limit: float, **spec: Any) -> Compared:
    title = RunLabel("outlier", "smollm2", "soft", 10, 0)
    summary = RunSummary(RunDirectory(Path(str(number))), title, "budget", best, limit, 6.0, 10, 10, None, 0.0)
    curve = (Step(1, 2.0, 2.0, 5.0, 1.0, 1), Step(10, best, best, 5.0, 10.0, 10))
    return Compared(number, summary, curve, {"target": {"family": "outlier"}, "seed": number} | spec)


def plotted(*runs: Compared) -> str:
    return "\n".join(plain_text(line) for line in ComparedCurves(PlotData(runs)).lines(100, 24))


def test_head_optimum_of_each_model_where_targets_agree() -> None:
    other = {"family": "temperature"}
    assert plotted(compared(1, 0.5, 0.3), compared(2, 0.4, 0.3)).count("head optimum") == 1
    text = plotted(compared(1, 0.5, 0.3), compared(2, 0.4, 0.1), compared(3, 0.45, 0.3))
    assert "1 3 head optimum 0.300" in text
    assert "2 head optimum 0.100" in text
    assert "head optimum" not in plotted(compared(1, 0.5, 0.3), compared(2, 0.4, 0.3, target=other))


def test_the_divergence_of_a_hard_run_is_split_in_three() -> None:
    """By the best soft run of the same length and task, else by the run's witness."""

    def hard(number: int, best: float, **changes: Any) -> Compared:
        run = compared(number, best, 0.1)
        return replace(
            run, summary=replace(run.summary, title=RunLabel("outlier", "smollm2", "hard", 10, 0), **changes)
        )

    def texts(*runs: Compared) -> list[str]:
        return [plain_text(line).strip() for line in split_lines(runs, 100)]

    soft = "2 KL 0.900 = head optimum 0.100 | soft − head optimum 0.200 | hard − soft 0.600"
    assert texts(compared(1, 0.3, 0.1), compared(3, 0.4, 0.1), hard(2, 0.9, witness_kl=0.5)) == [soft]
    witness = "2 KL 0.900 = head optimum 0.100 | witness − head optimum 0.400 | hard − witness 0.400"
    other = compared(1, 0.3, 0.1, target={"family": "uniform"})
    longer = replace(other.summary.title, length=11)
    for unlike in (other, replace(compared(1, 0.3, 0.1), summary=replace(other.summary, title=longer))):
        assert texts(unlike, hard(2, 0.9, witness_kl=0.5)) == [witness]
    assert texts(hard(2, 0.9)) == texts(hard(2, 0.9, witness_kl=0.5, head_optimum=None)) == []
    assert texts(compared(1, 0.3, 0.1)) == []


def test_mean_and_spread_over_seeds() -> None:
    runs = [compared(1, 0.5, 0.3), compared(2, 0.4, 0.3), compared(4, 0.6, 0.3), compared(3, 9.0, 0.3, budget=5)]
    (line,) = seed_lines(runs, 100)
    assert plain_text(line).strip() == (
        "1 2 4 the same search with 3 seeds: KL 0.500 ± 0.100 (mean ± standard deviation)"
    )
    assert plain_text(seed_lines(runs, 76)[0]).endswith("0.500 ± 0.100 (mean ± SD)")
    assert seed_lines(runs[2:], 100) == []
    assert seed_lines([runs[0], compared(5, 0.7, 0.3, seed=1)], 100) == []
    legend = Legend(runs, id="legend", classes="")
    assert legend.get_content_height(Size(100, 40), Size(100, 40), 100) == len(legend.lines(100, 40)) == 6


def test_empty_comparison_shows_a_message(tmp_path: Path) -> None:
    recorded(tmp_path, steps=1)
    (summary,) = read_runs(tmp_path)
    plot = ComparedCurves(PlotData([Compared(1, summary), Compared(2, summary)]))
    assert "No step has been recorded yet" in "\n".join(plain_text(line) for line in plot.lines(80, 10))


async def test_without_colour_and_in_ascii(
    tmp_path: Path, app_on: Make, small_world: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    for method in ("soft", "hard"):
        recorded(tmp_path / "runs", method, steps=20)
    app = app_on(ascii_only=True)
    async with app.run_test(size=(100, 30)) as pilot:
        await at_runs(app, pilot, 2)
        await pilot.press("space", "space")
        assert screen_text(app).isascii()
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen) and "over steps" in screen_text(app))
        assert screen_text(app).isascii()
        strips = app.screen._compositor.render_strips()
        assert {segment.style.color.name for strip in strips for segment in strip if segment.style.color} <= {"default"}


async def test_the_palette_leads_to_the_runs(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs", steps=2))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        await pilot.press("ctrl+p")
        await pilot.pause()
        await pilot.press(*"All runs")
        await until(pilot, lambda: "All runs: find" in screen_text(app))
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(app.screen, RunsScreen))
