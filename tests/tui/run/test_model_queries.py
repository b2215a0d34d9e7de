"""Queries to the model on a run's screen: a text instead of the prompt, and attribution."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.run import model_queries
from distprompt_tui.tui.run.screen import RunScreen
from tests.tui.conftest import screen_text, until, watched
from tests.tui.recording import Recorder, recorded, searching
from tests.tui.run.operating import bars, complete

Make = Callable[..., DistPromptApp]


class Answers:
    """Replaces the model server: answers at once, or when released."""

    questions: ClassVar[list[dict[str, Any]]] = []
    let: ClassVar[asyncio.Event]

    def __init__(self, model: str, report: Callable[[str], None]) -> None:
        self.model, self._report = model, report

    async def ask(self, question: str, **fields: Any) -> AsyncIterator[dict[str, Any]]:
        self._report("loading tiny")
        self.questions.append({"model": self.model, "ask": question, **fields})
        await self.let.wait()
        if fields.get("text") == "":
            raise DistPromptError("an empty [/] text")
        if question == "influence":
            yield {"influence": [0.5 * position - 1 for position in range(10)], "done": True}
        else:
            prompt = [{"id": 5, "text": "Once", "changed": 0}, {"id": 6, "text": " upon", "changed": 0}]
            tokens = [[0, " banana", 0.18, 0.9, 0.3], [9, "[bold red]x[/]", 0.03, 0.1, 0.2]]
            numbers = {"kl": 7.25, "entropy": 0.5, "reverse_kl": None, "js": 0.4, "tv": 0.7}
            yield {"step": 0, "prompt": prompt, "tokens": tokens, "done": True, **numbers}

    async def close(self) -> None:
        """No process to end."""


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> type[Answers]:
    Answers.questions, Answers.let = [], asyncio.Event()
    Answers.let.set()
    monkeypatch.setattr(model_queries, "ModelClient", Answers)
    return Answers


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_text_replaces_the_prompt(tmp_path: Path, app_on: Make, size: tuple[int, int]) -> None:
    run = recorded(tmp_path / "runs")
    app = app_on(attach=run)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: complete(app))
        await pilot.press("t", *"Once upon", "enter")
        await until(pilot, lambda: "after Once upon   KL 7.250   entropy 0.500" in screen_text(app))
        assert Answers.questions == [{"model": "tiny", "ask": "instead", "run": str(run.path), "text": "Once upon"}]
        text = screen_text(app)
        assert "text: KL 7.250, excess 7.060, entropy 0.500 → 2.611" in text
        assert ("text 7.250 = head optimum 0.190 + excess 7.060" in text) == (size[0] == 120)
        assert "·upon" in text
        assert len(bars(app).table) == 2
        last = "     gap" if size[0] == 80 else " of KL"
        assert f"target     text {last}" in text
        await pilot.press("t", "end", *" a", "enter")  # the text is still there
        await until(pilot, lambda: len(Answers.questions) == 2)
        assert Answers.questions[1]["text"] == "Once upon a"
        await pilot.press("escape")
        await until(pilot, lambda: complete(app))
        assert f"target achieved {last}" in screen_text(app)
        assert isinstance(app.screen, RunScreen)


async def test_the_density_shows_the_answer(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: complete(app))
        await pilot.press("v", "t", *"Once upon", "enter")
        await until(pilot, lambda: "text q ↑" in screen_text(app) and "KL 7.250 nats" in screen_text(app))
        assert "2 recorded tokens" in screen_text(app)
        await pilot.press("v")
        await until(pilot, lambda: "⠂⠂ text" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: "⠂⠂ achieved" in screen_text(app))


async def test_failed_query_is_reported(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: complete(app))
        await pilot.press("t", "enter")
        await until(pilot, lambda: "✕ an empty [/] text" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: "budget spent" in screen_text(app) and "✕" not in screen_text(app))


async def test_query_can_be_cancelled(tmp_path: Path, app_on: Make) -> None:
    Answers.let.clear()
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: complete(app))
        await pilot.press("t", "x", "enter")
        await until(pilot, lambda: "◐ loading tiny" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: "loading tiny" not in screen_text(app))
        Answers.let.set()
        await pilot.press("t", "y", "enter")
        await until(pilot, lambda: "after y " in screen_text(app))


@pytest.mark.parametrize("method", ["soft", "hard"])
@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_positions_are_explained(tmp_path: Path, app_on: Make, method: str, size: tuple[int, int]) -> None:
    app = app_on(attach=recorded(tmp_path / "runs", method))
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: complete(app))
        await pilot.press("down", "a")
        await until(pilot, lambda: "−1.00" in screen_text(app) and "−0.50" in screen_text(app))
        question = Answers.questions[0]
        assert question["token"] == bars(app).table.ids[1]
        assert question["ids"] == (None if method == "soft" else list(range(10)))
        assert ("best prompt" in screen_text(app)) == (method == "soft")
        assert "mean embedding" in screen_text(app)
        await pilot.press("escape")
        await until(pilot, lambda: "−1.00" not in screen_text(app))


async def test_live_prompt_is_frozen_during_attribution(tmp_path: Path, app_on: Make) -> None:
    recorder = searching(tmp_path / "runs", "hard", steps=4)
    async with watched(recorder, app_on, size=(120, 40)) as (app, pilot):
        await until(pilot, lambda: complete(app))
        await pilot.press("a")
        await until(pilot, lambda: "+3.50" in screen_text(app))
        recorder.steps(4)
        await until(pilot, lambda: "step 8/100" in screen_text(app))
        assert app.screen.display_state.state.step == 4
        assert "+3.50" in screen_text(app)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen.display_state.state.step == 8)
        assert "+3.50" not in screen_text(app)


async def test_attribution_of_history_and_text(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs", "hard"))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: complete(app))
        await pilot.press("h", "home", "a")
        await until(pilot, lambda: "+3.50" in screen_text(app))
        assert app.screen.display_state.cursor_step == 1
        await pilot.press("right")  # another moment, another prompt
        await until(pilot, lambda: "step 2 of 40" in screen_text(app))
        assert "+3.50" not in screen_text(app)
        await pilot.press("t", "z", "enter")
        await until(pilot, lambda: "after z " in screen_text(app))
        await pilot.press("a")
        await until(pilot, lambda: len(Answers.questions) == 3)
        assert Answers.questions[2]["ids"] == [5, 6]


async def test_no_query_before_the_first_snapshot(tmp_path: Path, app_on: Make) -> None:
    recorder = Recorder(tmp_path / "runs")
    recorder.start()
    app = app_on(attach=recorder.run)
    with recorder.living_worker():
        async with app.run_test(size=(100, 30), notifications=True) as pilot:
            await until(pilot, lambda: "running" in screen_text(app))
            await pilot.press("a", "t")
            await until(pilot, lambda: "before the first snapshot" in screen_text(app))
            assert Answers.questions == []
