"""Table, density and ranks on the screen of a run: keys, sizes, and data of history, texts and frozen views."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from distprompt_tui.runs.schema import Snapshot
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.run import density_view, rank_view
from distprompt_tui.tui.run.density_view import DensityView
from distprompt_tui.tui.run.rank_view import RankView
from distprompt_tui.tui.run.screen import RunScreen
from distprompt_tui.tui.run.token_panel import TokenList, TokensPanel
from tests.tui.conftest import screen_text, until, watched
from tests.tui.recording import SIZE, distributions, recorded, searching
from tests.tui.run.operating import complete

Make = Callable[..., DistPromptApp]


def panel(app: DistPromptApp) -> TokensPanel:
    return app.screen.query_one(TokensPanel)


def density(app: DistPromptApp) -> DensityView:
    return app.screen.query_one(DensityView)


@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("size", [(80, 24), (120, 40), (60, 16)])
async def test_one_key_swaps_table_density_and_ranks(
    tmp_path: Path, app_on: Make, size: tuple[int, int], ascii_only: bool
) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"), ascii_only=ascii_only)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: complete(app))
        await pilot.press("v")
        await until(pilot, lambda: "Tokens  density" in screen_text(app))
        if size != (60, 16):
            await until(pilot, lambda: "log-log" in screen_text(app) and "tokens  of KL" in screen_text(app))
        await pilot.press("v")
        await until(pilot, lambda: "probability by rank" in screen_text(app))
        if size != (60, 16):
            await until(pilot, lambda: "Each distribution is sorted by itself." in screen_text(app))
        await pilot.press("v")
        await until(pilot, lambda: "Tokens  by probability" in screen_text(app))
        assert app.screen.focused is app.screen.query_one(TokenList)
        if ascii_only:
            assert screen_text(app).isascii()


async def test_two_views_stand_side_by_side_on_a_wide_terminal(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=(160, 45)) as pilot:
        await until(pilot, lambda: complete(app) and "tokens  of KL" in screen_text(app))
        assert panel(app).shown_views == ("table", "density")
        assert "·banana" in screen_text(app)
        await pilot.press("v")
        await until(pilot, lambda: "log-log" in screen_text(app) and "sorted by itself" in screen_text(app))
        assert panel(app).shown_views == ("density", "ranks")
        await pilot.press("v")
        await until(pilot, lambda: panel(app).shown_views == ("table", "ranks"))
        await pilot.resize_terminal(120, 40)
        await until(pilot, lambda: panel(app).shown_views == ("ranks",) and "probability by rank" in screen_text(app))


async def test_arrow_keys_list_the_tokens_of_a_cell(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: complete(app))
        await pilot.press("v")
        await until(pilot, lambda: density(app).data is not None)
        await pilot.press("left")
        await until(pilot, lambda: " token" in screen_text(app) and "of KL" in screen_text(app))
        data = density(app).data
        assert data is not None
        cell = data.cell(density(app).cursor or (0, 0))
        assert cell.place in screen_text(app)
        before = density(app).cursor
        await pilot.press("left", "left")
        await until(pilot, lambda: density(app).cursor != before)
        await pilot.press("escape")
        await until(pilot, lambda: "tokens  of KL" in screen_text(app))
        assert isinstance(app.screen, RunScreen)


async def test_the_density_sums_to_the_divergence_of_the_headline(tmp_path: Path, app_on: Make) -> None:
    run = recorded(tmp_path / "runs")
    app = app_on(attach=run)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: complete(app))
        await pilot.press("v")
        await until(pilot, lambda: density(app).data is not None)
        data, table = density(app).data, panel(app).bars.table
        assert data is not None
        p, q = np.load(run.target), np.load(run.achieved).astype(np.float64)
        expected = pytest.approx(float((p * np.log(p / q)).sum()), abs=1e-7)
        assert sum(decade.totals.contribution for decade in data.decades) == expected
        assert float(data.density.contributions.sum()) == expected
        assert sum(table.contributions[:5]) + table.rest(0, 5).contribution == expected
        assert table.kl == expected
        assert f"KL {table.kl:.3f} nats" in screen_text(app)


async def test_history_shows_the_recorded_tokens(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: complete(app))
        await pilot.press("v")
        await until(pilot, lambda: density(app).data is not None)
        await pilot.press("h")
        await until(pilot, lambda: "not recorded" in screen_text(app))
        assert "20 recorded tokens" in screen_text(app)
        screen = app.screen
        assert isinstance(screen, RunScreen)
        snapshot = screen.display_state.state.snapshot
        assert isinstance(snapshot, Snapshot)
        assert f"KL {snapshot.kl:.3f} nats" in screen_text(app)
        await pilot.press("v")
        await until(pilot, lambda: f"Ranks among 20 recorded tokens; {SIZE - 20} were not recorded" in screen_text(app))
        await pilot.press("v", "v", "escape")
        await until(pilot, lambda: "not recorded" not in screen_text(app) and "tokens  of KL" in screen_text(app))


async def test_views_follow_a_growing_run_and_a_frozen_one(tmp_path: Path, app_on: Make) -> None:
    recorder = searching(tmp_path / "runs", steps=3)
    async with watched(recorder, app_on, size=(120, 40)) as (app, pilot):
        await until(pilot, lambda: complete(app))
        await pilot.press("v")

        def shows(step: int) -> bool:
            p, q = distributions(1 - np.exp(-step / 20))
            return f"KL {float((p * np.log(p / q)).sum()):.3f} nats" in screen_text(app)

        await until(pilot, lambda: shows(3))
        recorder.steps(4)
        await until(pilot, lambda: shows(7))
        await pilot.press("f")
        await until(pilot, lambda: "view frozen" in screen_text(app))
        recorder.steps(4)
        await until(pilot, lambda: "+4 steps" in screen_text(app))
        assert shows(7)
        await pilot.press("f")
        await until(pilot, lambda: shows(11))


async def test_hidden_views_are_not_summarised(tmp_path: Path, app_on: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = searching(tmp_path / "runs", steps=3)
    made: list[str] = []
    for name, module, widget in (("density", density_view, DensityView), ("ranks", rank_view, RankView)):
        summarise = getattr(module, widget.__name__).summarise

        def counted(*args: object, name: str = name, summarise: Callable[..., object] = summarise) -> object:
            made.append(name)
            return summarise(*args)

        monkeypatch.setattr(widget, "summarise", staticmethod(counted))
    async with watched(recorder, app_on, size=(120, 40)) as (app, pilot):

        async def grow() -> list[str]:
            """Return the summaries of one more step, after the table shows it."""
            shown = panel(app).bars.table
            made.clear()
            recorder.steps(1)
            await until(pilot, lambda: panel(app).bars.table is not shown)
            return made

        await until(pilot, lambda: complete(app))
        assert await grow() == []
        await pilot.press("v")
        await until(pilot, lambda: "density" in made)
        await grow()
        await until(pilot, lambda: "density" in made)
        assert "ranks" not in made
        await pilot.press("v")
        await until(pilot, lambda: "ranks" in made)
        await grow()
        await until(pilot, lambda: "ranks" in made)
        assert "density" not in made


async def test_keys_of_the_table_are_off_without_it(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: complete(app))
        assert "o sort" in screen_text(app)
        await pilot.press("v")
        await until(pilot, lambda: "o sort" not in screen_text(app) and "/ find" not in screen_text(app))
        await pilot.press("o", "slash", "v", "v")
        await until(pilot, lambda: "Tokens  by probability" in screen_text(app) and "o sort" in screen_text(app))


async def test_a_zero_probability_is_named(tmp_path: Path, app_on: Make) -> None:
    run = recorded(tmp_path / "runs")
    q = np.load(run.achieved)
    q[2], q[0] = 0, q[0] + q[2]
    np.save(run.achieved, q)
    app = app_on(attach=run)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: complete(app))
        await pilot.press("v")
        await until(pilot, lambda: "1 token with p > 0 and q = 0: counted as q = 1.4e-45." in screen_text(app))
