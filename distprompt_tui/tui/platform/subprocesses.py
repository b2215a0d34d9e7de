"""Subprocesses that prepare a model or check the machine, and what the model server shares with them: JSON lines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from typing import IO, Any

from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.core.text.checks import Check
from distprompt_tui.runs.isolation import isolated, python

LINE_LIMIT = 1 << 22  # bytes of the longest answer: 200 tokens and a curve take about 20 kB

Report = Callable[[str, float | None], None]


async def prepare_model(name: str, report: Report) -> None:
    """Convert or download a model, without loading it. The files are kept for later starts.

    Args:
        name: the model's name in the registry.
        report: receives the progress message, and the fraction in 0..1 if known.

    Raises:
        DistPromptError: it failed; the message is the reason.
    """
    async with _command("models", "prepare", "--no-load", name) as (process, errors):
        while (answer := await read_answer(process)) is not None:
            if "progress" in answer:
                report(str(answer["progress"]), answer.get("fraction"))
        if await process.wait() != 0:
            raise DistPromptError(last_line(errors) or f"{name} could not be prepared")


async def examine_machine(columns: int, rows: int) -> list[Check]:
    """Run the checks of `distprompt-tui doctor` for this terminal. Takes seconds because it imports torch.

    Args:
        columns: of the terminal, which the subprocess cannot detect.
        rows: of the terminal.

    Raises:
        DistPromptError: it failed; the message is the reason.
    """
    async with _command("doctor", COLUMNS=str(columns), LINES=str(rows)) as (process, errors):
        answer = await read_answer(process)
        if answer is None or await process.wait() != 0:
            raise DistPromptError(last_line(errors) or "the doctor process ended without an error message")
        return [Check(**check) for check in answer["checks"]]


@contextlib.asynccontextmanager
async def _command(*arguments: str, **environment: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, IO[bytes]]]:
    """Run `distprompt-tui … --json`; yield the process and its stderr file. The process is killed on exit."""
    with tempfile.TemporaryFile() as errors:
        process = await asyncio.create_subprocess_exec(
            *python("distprompt_tui", *arguments, "--json"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            limit=LINE_LIMIT,
            env=isolated(os.environ | environment),
        )
        try:
            yield process, errors
        finally:
            await end_process(process)


async def read_answer(process: asyncio.subprocess.Process) -> dict[str, Any] | None:
    """Read the next JSON object that a subprocess prints; None at the end of its output."""
    assert process.stdout is not None
    while line := await process.stdout.readline():
        with contextlib.suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict):
                return value
    return None


async def end_process(process: asyncio.subprocess.Process) -> None:
    """Kill a subprocess, which has no data to lose, and wait until it has ended."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    await process.wait()


def last_line(file: IO[bytes]) -> str:
    """Return the last line of a subprocess's error output, which is the reason of a failure; empty if there is none."""
    file.seek(0)
    lines = [line.strip() for line in file.read().decode("utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("distprompt-tui: ") if lines else ""
