"""The app's subprocesses with a stand-in model server and a stand-in preparation."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from distprompt_tui.errors import DistPromptError
from distprompt_tui.tui.platform import subprocesses
from distprompt_tui.tui.platform.subprocesses import ModelClient, prepare_model

PROBE = """
import json, sys, time
def say(**fields): print(json.dumps(fields), flush=True)
print("a library that prints")
say(progress="loading tiny")
say(ready=True)
for line in sys.stdin:
    question = json.loads(line)
    number, wanted = question["id"], question.get("text", "")
    if wanted == "die":
        print("ValueError: it broke", file=sys.stderr); sys.exit(1)
    if wanted == "error":
        say(id=number, error="no such token", done=True)
        continue
    say(id=number, step=1)
    if wanted == "slow":
        time.sleep(60)
    say(id=number, step=2, done=True)
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a stand-in for Python that runs the script at the returned path for any module."""
    script = tmp_path / "script.py"
    script.write_text(PROBE)
    stand_in = tmp_path / "python"
    stand_in.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}"\n')
    stand_in.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stand_in))
    return script


async def answers(stream: AsyncIterator[dict]) -> list[int]:
    return [answer["step"] async for answer in stream]


async def test_questions_are_answered_by_one_process(program: Path) -> None:
    said: list[str] = []
    client = ModelClient("tiny", said.append)
    assert await answers(client.ask("distribution", text="a")) == [1, 2]
    first = client._process
    assert await answers(client.ask("distribution", text="b")) == [1, 2]
    assert client._process is first
    assert "loading tiny" in said
    await client.close()


async def test_simultaneous_questions_are_serialised(program: Path) -> None:
    client = ModelClient("tiny", lambda text: None)
    both = await asyncio.gather(*(answers(client.ask("distribution", text=text)) for text in "ab"))
    assert both == [[1, 2], [1, 2]]
    await client.close()


async def test_error_answer_raises(program: Path) -> None:
    client = ModelClient("tiny", lambda text: None)
    with pytest.raises(DistPromptError, match="no such token"):
        await answers(client.ask("distribution", text="error"))
    assert await answers(client.ask("distribution", text="a")) == [1, 2]
    await client.close()


async def test_crashed_server_reports_the_error_and_restarts(program: Path) -> None:
    client = ModelClient("tiny", lambda text: None)
    with pytest.raises(DistPromptError, match="it broke"):
        await answers(client.ask("distribution", text="die"))
    assert await answers(client.ask("distribution", text="a")) == [1, 2]
    await client.close()


async def test_long_cancelled_answer_is_dropped(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocesses, "_PATIENCE_SECONDS", 0.1)
    client = ModelClient("tiny", lambda text: None)
    async for _ in client.ask("distribution", text="slow"):
        break
    stuck = client._process
    assert await answers(client.ask("distribution", text="a")) == [1, 2]
    assert client._process is not stuck
    await client.close()


async def test_closing_ends_the_process(program: Path) -> None:
    client = ModelClient("tiny", lambda text: None)
    await answers(client.ask("distribution", text="a"))
    process = client._process
    assert process is not None
    await client.close()
    assert process.returncode is not None


async def test_preparing_reports_how_far_it_is(program: Path) -> None:
    program.write_text(
        'print(\'{"progress": "reading", "fraction": 0.25}\')\nprint(\'{"folder": "/somewhere"}\', flush=True)'
    )
    said: list[tuple[str, float | None]] = []
    await prepare_model("tiny", lambda text, fraction: said.append((text, fraction)))
    assert said == [("reading", 0.25)]


async def test_a_failed_preparation_is_its_last_line(program: Path) -> None:
    program.write_text("import sys\nprint('x' * 100_000, file=sys.stderr)\nsys.exit('distprompt-tui: no such model')")
    with pytest.raises(DistPromptError, match=r"^no such model$"):
        await prepare_model("tiny", lambda text, fraction: None)
