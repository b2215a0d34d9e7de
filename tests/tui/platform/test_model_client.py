"""The clients of the model server, with a stand-in for the server."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.tui.platform import model_client
from distprompt_tui.tui.platform.model_client import ModelClient, ModelServerClosedError, shared_server

SERVER = """
import json, queue, sys, threading, time
def say(**fields): print(json.dumps(fields), flush=True)
model, run = sys.argv[1], sys.argv[2:]
print("a library that prints")
say(progress="loading " + model)
say(ready=True, device="cuda:0" if model == "gpu" else "cpu")
questions, cancelled = queue.SimpleQueue(), set()
def read():
    for line in sys.stdin:
        question = json.loads(line)
        cancelled.add(question["cancel"]) if "cancel" in question else questions.put(question)
    questions.put(None)
threading.Thread(target=read, daemon=True).start()
while (question := questions.get()) is not None:
    number, wanted = question["id"], question.get("text", "")
    if "model" in question and (question["model"] != model or question.get("run", "") == "of another model"):
        say(id=number, other_model=True, done=True)
        continue
    if wanted == "die":
        print("ValueError: it broke", file=sys.stderr); sys.exit(1)
    if wanted == "error":
        say(id=number, error="no such token", done=True)
        continue
    say(id=number, step=1)
    while wanted == "stuck" or wanted == "slow" and number not in cancelled:
        time.sleep(0.01)
    say(id=number, step=2, run=run, done=True)
"""


@pytest.fixture(autouse=True)
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace Python by a program that runs the stand-in for any module."""
    script, program = tmp_path / "script.py", tmp_path / "python"
    script.write_text(SERVER)
    arguments = 'while [ "$1" != "-m" ]; do shift; done; shift 2'
    program.write_text(f'#!/bin/sh\n{arguments}\nexec "{sys.executable}" "{script}" "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


@pytest.fixture
async def said() -> AsyncIterator[list[str]]:
    """The progress that a client reports. The server is closed at the end."""
    yield []
    await shared_server().close()


def client_of(model: str, said: list[str]) -> ModelClient:
    return ModelClient(model, said.append)


async def steps(stream: AsyncIterator[dict]) -> list[int]:
    return [answer["step"] async for answer in stream]


async def test_screens_share_one_process(said: list[str]) -> None:
    assert await steps(client_of("tiny", said).ask("distribution", text="a")) == [1, 2]
    first = shared_server()._process
    assert said[-1] == "loading tiny"
    said.clear()
    other_screen = client_of("tiny", said)
    assert await steps(other_screen.ask("distribution", text="b")) == [1, 2]
    assert shared_server()._process is first
    assert said == []
    assert other_screen.device == "cpu"


async def test_loading_has_a_start_until_the_model_is_loaded(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[float | None] = []
    client = ModelClient("tiny", lambda text: starts.append(client.loading_since))
    monkeypatch.setattr(model_client, "time", SimpleNamespace(monotonic=lambda: 7.0))
    assert client.loading_since is None
    await steps(client.ask("distribution", text="a"))
    assert starts
    assert set(starts) == {7.0}
    assert client.loading_since is None


async def test_question_about_a_run_uses_the_loaded_model(said: list[str]) -> None:
    assert await steps(client_of("tiny", said).ask("distribution", text="a")) == [1, 2]
    first = shared_server()._process
    assert await steps(client_of("tiny", said).ask("instead", run="a run", text="b")) == [1, 2]
    assert shared_server()._process is first


async def test_run_of_another_model_starts_a_server_for_it(said: list[str]) -> None:
    await steps(client_of("tiny", said).ask("distribution", text="a"))
    first = shared_server()._process
    answers = [answer async for answer in client_of("tiny", said).ask("instead", run="of another model", text="b")]
    assert [answer["step"] for answer in answers] == [1, 2]
    assert answers[-1]["run"] == ["of another model"]
    assert shared_server()._process is not first


async def test_another_model_replaces_the_first(said: list[str]) -> None:
    await steps(client_of("tiny", said).ask("distribution", text="a"))
    first = shared_server()._process
    assert first is not None
    await steps(client_of("large", said).ask("distribution", text="a"))
    assert first.returncode is not None
    assert "loading large" in said


async def test_simultaneous_questions_are_serialised(said: list[str]) -> None:
    client = client_of("tiny", said)
    both = await asyncio.gather(*(steps(client.ask("distribution", text=text)) for text in "ab"))
    assert both == [[1, 2], [1, 2]]


async def test_error_answer_raises(said: list[str]) -> None:
    client = client_of("tiny", said)
    with pytest.raises(DistPromptError, match="no such token"):
        await steps(client.ask("distribution", text="error"))
    assert await steps(client.ask("distribution", text="a")) == [1, 2]


async def test_crashed_server_reports_the_error_and_restarts(said: list[str]) -> None:
    client = client_of("tiny", said)
    with pytest.raises(DistPromptError, match="it broke"):
        await steps(client.ask("distribution", text="die"))
    assert await steps(client.ask("distribution", text="a")) == [1, 2]


async def begun(client: ModelClient, text: str) -> asyncio.Task[list[int]]:
    """Return the task of a question that has had its first answer."""
    first = asyncio.Event()

    async def ask() -> list[int]:
        found = []
        async for answer in client.ask("bounds", text=text):
            found.append(answer["step"])
            first.set()
        return found

    task = asyncio.create_task(ask())
    await first.wait()
    return task


async def test_cancelled_computation_ends_and_the_process_stays(said: list[str]) -> None:
    client = client_of("tiny", said)
    task = await begun(client, "slow")
    first = shared_server()._process
    task.cancel()
    assert await steps(client.ask("distribution", text="a")) == [1, 2]
    assert shared_server()._process is first


async def test_answer_that_ignores_its_cancellation_costs_the_process(
    said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_client, "_PATIENCE_SECONDS", 0.1)
    client = client_of("tiny", said)
    task = await begun(client, "stuck")
    stuck = shared_server()._process
    task.cancel()
    assert await steps(client.ask("distribution", text="a")) == [1, 2]
    assert shared_server()._process is not stuck


async def test_closing_ends_the_process_and_the_question(said: list[str]) -> None:
    client = client_of("tiny", said)
    task = await begun(client, "slow")
    process = shared_server()._process
    assert process is not None
    await shared_server().close()
    assert process.returncode is not None
    with pytest.raises(ModelServerClosedError):
        await task


async def test_idle_server_ends(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_client, "IDLE_SECONDS", 0.01)
    await steps(client_of("tiny", said).ask("distribution", text="a"))
    process = shared_server()._process
    assert process is not None
    await process.wait()
    assert await steps(client_of("tiny", said).ask("distribution", text="a")) == [1, 2]


@pytest.mark.parametrize(
    ("model", "available", "kept"), [("tiny", 2_000, True), ("tiny", 500, False), ("gpu", 2_000, False)]
)
async def test_memory_is_released_for_a_search_that_needs_it(
    said: list[str], monkeypatch: pytest.MonkeyPatch, model: str, available: int, kept: bool
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=available))
    await steps(client_of(model, said).ask("distribution", text="a"))
    process = shared_server()._process
    assert process is not None
    await shared_server().release_memory(1_000)
    assert (process.returncode is None) == kept
