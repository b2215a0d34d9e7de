"""Continuing a prompt token by token, and new searches from the path."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from textual.pilot import Pilot

from distprompt_tui.core.config.search_specs import Soft
from distprompt_tui.core.config.spec import Context, RunSpec
from distprompt_tui.core.config.target_specs import Lm, Uniform
from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.run import model_queries
from distprompt_tui.tui.run.continuation import AppendedToken, Continuation, PromptStart, path_lines, path_title
from distprompt_tui.tui.run.fork_dialog import ForkDialog
from distprompt_tui.tui.run.screen import RunScreen
from distprompt_tui.tui.run.step_screen import PathView, StepScreen
from distprompt_tui.tui.run.step_specs import spec_from_path
from distprompt_tui.tui.run.token_panel import TokenList
from tests.tui.conftest import screen_text, until
from tests.tui.recording import recorded, searching

Make = Callable[..., DistPromptApp]

ROWS = {
    (): [[0, " banana", 0.5, 0.75], [9, "[bold red]x[/]", 0.25, 0.125], [3, "\x1b]0;owned\x07", 0.125, 0.0]],
    (9,): [[11, " word11", 0.9, None], [0, " banana", 0.05, None]],
    (9, 0): [[12, " word12", 0.5, None]],
}
"""Rows of the next tokens by path."""


class Answers:
    """Replaces the model server: answers at once, or when released."""

    questions: ClassVar[list[dict[str, Any]]] = []
    let: ClassVar[asyncio.Event]
    problem: ClassVar[str] = ""

    def __init__(self, model: str, report: Callable[[str], None]) -> None:
        self._report = report

    async def ask(self, question: str, **fields: Any) -> AsyncIterator[dict[str, Any]]:
        self._report("loading tiny")
        self.questions.append({"ask": question, **fields})
        await self.let.wait()
        if self.problem and fields["path"]:
            raise DistPromptError(self.problem)
        if question == "instead":
            prompt = [{"id": 5, "text": "Once", "changed": 0}, {"id": 6, "text": " upon", "changed": 0}]
            tokens = [[0, " banana", 0.18, 0.9, 0.3], [9, "[bold red]x[/]", 0.03, 0.1, 0.2]]
            numbers = {"kl": 7.25, "entropy": 0.5, "reverse_kl": None, "js": 0.4, "tv": 0.7}
            yield {"step": 0, "prompt": prompt, "tokens": tokens, "done": True, **numbers}
            return
        path = tuple(fields["path"])
        rows = ROWS.get(path, [[13, " word13", 1.0, None]])
        text = None if fields["ids"] is None else "Once upon"
        texts = {"text": text, "path_text": " word" * len(path), "is_stable": len(path) < 2}
        kl = None if path else 1.75
        yield {"rows": rows, "entropy": 2.5 + len(path), "kl": kl, "count": 64, "done": True, **texts}

    async def close(self) -> None:
        """No process to end."""


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> type[Answers]:
    Answers.questions, Answers.let, Answers.problem = [], asyncio.Event(), ""
    Answers.let.set()
    monkeypatch.setattr(model_queries, "ModelClient", Answers)
    return Answers


async def at_the_tokens(app: DistPromptApp, pilot: Pilot[Any]) -> None:
    await until(pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.query_one(TokenList).table.complete)


def path(app: DistPromptApp) -> list[int]:
    return [token.id for token in app.screen.path] if isinstance(app.screen, StepScreen) else [-1]


async def at_the_first_token(app: DistPromptApp, pilot: Pilot[Any]) -> None:
    """Append the first token to the run's best prompt."""
    await at_the_tokens(app, pilot)
    await pilot.press("right")
    await until(pilot, lambda: path(app) == [0])


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
@pytest.mark.parametrize("ascii_only", [False, True])
async def test_tokens_are_appended_and_taken_back(
    tmp_path: Path, app_on: Make, size: tuple[int, int], ascii_only: bool
) -> None:
    app = app_on(attach=recorded(tmp_path / "runs", "hard"), ascii_only=ascii_only)
    async with app.run_test(size=size) as pilot:
        await at_the_tokens(app, pilot)
        bars = app.screen.query_one(TokenList)
        while bars.current_token != 9:
            await pilot.press("down")
        await pilot.press("right")
        await until(pilot, lambda: path(app) == [9])
        first, second = Answers.questions
        assert (first["ask"], first["ids"], first["path"], first["include"]) == ("continue", list(range(10)), [], [9])
        assert (second["path"], second["include"]) == ([9], [])
        text = screen_text(app)
        assert "Path  1 token, P 0.2500, surprisal 1.386 nats" in text
        assert "After 1 more token" in text
        assert "entropy 3.500" in text
        assert "word11" in text
        assert "0.9000" in text
        assert "target" not in text.replace("t target", "")  # it does not describe the second step
        await pilot.press("down", "right")
        await until(pilot, lambda: path(app) == [9, 0])
        assert ("> _banana 0.0500" if ascii_only else "▸ ·banana 0.0500") in screen_text(app)
        await pilot.press("left", "left")
        await until(pilot, lambda: path(app) == [])
        assert len(Answers.questions) == 3  # earlier answers are kept
        text = screen_text(app)
        assert "KL 1.750" in text
        assert "target" in text
        assert "61 other tokens: 12 %" in text
        assert "owned" in text
        assert "\x1b" not in text
        await pilot.press("left")
        assert path(app) == []
        await pilot.press("right")  # the cursor is on the token that was taken back
        await until(pilot, lambda: path(app) == [9])
        await pilot.press("0")
        await until(pilot, lambda: path(app) == [])
        await pilot.press("escape")
        assert isinstance(app.screen, RunScreen)


async def test_a_typed_text_is_continued(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=(120, 40)) as pilot:
        await at_the_tokens(app, pilot)
        await pilot.press("t", *"Once upon", "enter")
        await until(pilot, lambda: "after Once upon" in screen_text(app))
        await pilot.press("down", "g")
        await until(pilot, lambda: path(app) == [9])
        assert Answers.questions[1]["ids"] == [5, 6]
        assert "Once·upon ▸ [bold·red]x[/] 0.2500" in screen_text(app)


async def test_a_soft_prompt_is_continued_from_its_best_vectors(
    tmp_path: Path, app_on: Make, small_world: list[RunSpec]
) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await at_the_first_token(app, pilot)
        assert Answers.questions[0]["ids"] is None
        assert "best prompt, 10 vectors ▸ ·banana 0.5000" in screen_text(app)
        await pilot.press("left", "n")
        await until(pilot, lambda: "Append a token first" in screen_text(app))
        await pilot.press("t")
        await until(pilot, lambda: "cannot be the target" in screen_text(app))
        await pilot.press("right")
        await until(pilot, lambda: path(app) == [0])
        await pilot.press("n")
        await until(pilot, lambda: "Vectors are no text" in screen_text(app))
        assert "Prefix:" not in screen_text(app)
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, ForkDialog))
        assert "The path is put after the prompt" in screen_text(app)
        await pilot.press("enter")
        await until(pilot, lambda: len(small_world) == 1)
        assert small_world[0].context == Context(suffix=" word")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))


@pytest.mark.parametrize(("key", "is_target"), [("p", False), ("t", True)])
async def test_a_path_starts_a_new_search(
    tmp_path: Path, app_on: Make, small_world: list[RunSpec], key: str, is_target: bool
) -> None:
    app = app_on(attach=recorded(tmp_path / "runs", "hard"))
    async with app.run_test(size=(80, 24)) as pilot:
        await at_the_first_token(app, pilot)
        await pilot.press("right")
        await until(pilot, lambda: path(app) == [0, 13])
        await pilot.press("n")
        await until(pilot, lambda: "tokenised to" in screen_text(app))
        await pilot.press(key)
        await until(pilot, lambda: isinstance(app.screen, ForkDialog))
        await pilot.press("down", "backspace", "backspace", "4", "enter")
        await until(pilot, lambda: len(small_world) == 1)
        (spec,) = small_world
        assert spec.search.length == 4
        assert (spec.target == Lm(text="Once upon")) == is_target
        assert spec.context.prefix == ("" if is_target else "Once upon")


async def test_one_key_makes_the_distribution_a_target(
    tmp_path: Path, app_on: Make, small_world: list[RunSpec]
) -> None:
    app = app_on(attach=recorded(tmp_path / "runs", "hard"))
    async with app.run_test(size=(80, 24)) as pilot:
        await at_the_first_token(app, pilot)
        assert "t target" in screen_text(app)
        await pilot.press("t")
        await until(pilot, lambda: isinstance(app.screen, ForkDialog))
        text = screen_text(app)
        assert "The target is the distribution after this text. One more value may" in text
        assert "initial_pool" in text.partition("init ")[2][:18]  # the value is not cut
        assert "soft, hard, gcg, hotflip, random, exhaustive" in text
        await pilot.press("enter")
        await until(pilot, lambda: len(small_world) == 1)
        assert small_world[0].target == Lm(text="Once upon")


async def test_keys_during_a_query_append_nothing(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs", "hard"))
    async with app.run_test(size=(80, 24)) as pilot:
        await at_the_first_token(app, pilot)
        Answers.let.clear()
        await pilot.press("right", "right", "left")
        await until(pilot, lambda: "loading tiny" in screen_text(app))
        Answers.let.set()
        await until(pilot, lambda: path(app) == [0, 13])
        assert [question["path"] for question in Answers.questions] == [[], [0], [0, 13]]


async def test_a_failed_step_is_reported_and_keeps_the_path(tmp_path: Path, app_on: Make) -> None:
    Answers.problem = "too [/] long"
    app = app_on(attach=recorded(tmp_path / "runs", "hard"))
    async with app.run_test(size=(80, 24)) as pilot:
        await at_the_tokens(app, pilot)
        await pilot.press("right")
        await until(pilot, lambda: "✕ too [/] long" in screen_text(app))
        assert path(app) == []
        await pilot.press("escape")
        assert isinstance(app.screen, RunScreen)
        assert "✕" not in screen_text(app)


async def test_the_path_grows_by_lines_to_a_limit(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs", "hard"))
    async with app.run_test(size=(80, 24)) as pilot:
        await at_the_first_token(app, pilot)
        heights = []
        for count in range(2, 20):
            await pilot.press("right")
            await until(pilot, lambda count=count: len(path(app)) == count)
            heights.append(app.screen.query_one(PathView).content_size.height)
        assert heights == sorted(heights)
        assert (heights[0], heights[-1]) == (2, 3)
        assert "·word13 1.0000" in screen_text(app)


async def test_history_keeps_its_arrow_keys(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs", "hard"))
    async with app.run_test(size=(80, 24)) as pilot:
        await at_the_tokens(app, pilot)
        await pilot.press("h", "home", "right")
        await until(pilot, lambda: "step 2 of 40" in screen_text(app))
        assert Answers.questions == []


async def test_a_read_only_app_starts_no_search(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs", "hard"), read_only=True)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await at_the_first_token(app, pilot)
        await pilot.press("t")
        await until(pilot, lambda: "read-only" in screen_text(app))
        app.clear_notifications()
        await until(pilot, lambda: "read-only" not in screen_text(app))
        await pilot.press("n")
        assert isinstance(app.screen, StepScreen)


async def test_nothing_is_continued_before_the_first_snapshot(tmp_path: Path, app_on: Make) -> None:
    recorder = searching(tmp_path / "runs", steps=0)
    app = app_on(attach=recorder.run)
    with recorder.living_worker():
        async with app.run_test(size=(100, 30), notifications=True) as pilot:
            await until(pilot, lambda: "running" in screen_text(app))
            await pilot.press("right")
            await until(pilot, lambda: "before the first snapshot" in screen_text(app))


def test_a_long_path_shows_its_end() -> None:
    start = PromptStart("prompt", tuple(range(60)), tuple(f" t{i}" for i in range(60)), 60)
    path = [AppendedToken(i, f" word{i}", 0.5) for i in range(10)]
    lines = path_lines(start, path, 40, 2, ascii_only=False)
    texts = ["".join(text for text, _ in line) for line in lines]
    assert len(texts) == 2
    assert texts[0].startswith("… ")
    assert texts[-1].endswith("·word9 0.5000")
    (line,) = path_lines(start, path, 60, 1, ascii_only=False)
    assert "".join(text for text, _ in line) == "…  ▸ ·word7 0.5000 ▸ ·word8 0.5000 ▸ ·word9 0.5000"
    assert path_title(path) == "Path  10 tokens, P 0.0010, surprisal 6.931 nats"


def test_specs_from_a_path() -> None:
    spec = RunSpec(
        preset="x", target=Uniform(), search=Soft(length=3), context=Context(prefix="A", suffix="B", bos=False)
    )
    after = Continuation((), 1.0, None, 9, "A p B q", " q", True)
    assert spec_from_path(spec, after, "prefix").context == Context(prefix="A p B q", bos=False)
    assert spec_from_path(spec, after, "suffix").context == Context(prefix="A", suffix="B q", bos=False)
    target = spec_from_path(spec, after, "target")
    assert (target.target, target.preset, target.context) == (Lm(text="A p B q"), "", spec.context)
