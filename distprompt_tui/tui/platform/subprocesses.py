"""Subprocesses that prepare a model, check the machine or run a model server. They exchange JSON lines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import IO, Any

from distprompt_tui.errors import DistPromptError
from distprompt_tui.runs.isolation import isolated, python
from distprompt_tui.text.checks import Check

_LINE_LIMIT = 1 << 22  # bytes of the longest answer: 200 tokens and a curve take about 20 kB

_PATIENCE_SECONDS = 3.0  # about the time to load the model again

Report = Callable[[str, float | None], None]


async def prepare_model(name: str, report: Report) -> None:
    """Convert or download a model. The files are kept for later starts.

    Args:
        name: the model's name in the registry.
        report: receives the progress message, and the fraction in 0..1 if known.

    Raises:
        DistPromptError: it failed; the message is the reason.
    """
    async with _command("models", "prepare", name) as (process, errors):
        while (answer := await _read(process)) is not None:
            if "progress" in answer:
                report(str(answer["progress"]), answer.get("fraction"))
        if await process.wait() != 0:
            raise DistPromptError(_last_line(errors) or f"{name} could not be prepared")


async def examine_machine(columns: int, rows: int) -> list[Check]:
    """Run the checks of `distprompt-tui doctor` for this terminal. Takes seconds because it imports torch.

    Args:
        columns: of the terminal, which the subprocess cannot detect.
        rows: of the terminal.

    Raises:
        DistPromptError: it failed; the message is the reason.
    """
    async with _command("doctor", COLUMNS=str(columns), LINES=str(rows)) as (process, errors):
        answer = await _read(process)
        if answer is None or await process.wait() != 0:
            raise DistPromptError(_last_line(errors) or "the doctor process ended without an error message")
        return [Check(**check) for check in answer["checks"]]


class ModelClient:
    """Sends questions to a model server, one at a time. The first question starts the server and loads the model.

    Attributes:
        model: its name. If the first question is about a `run`, the model is loaded as recorded in that run.
        device: of the loaded model; empty until then.
    """

    def __init__(self, model: str, report: Callable[[str], None]) -> None:
        self.model = model
        self.device = ""
        self._report = report
        self._process: asyncio.subprocess.Process | None = None
        self._loading: asyncio.Task[None] | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open for the client's lifetime
        self._lock = asyncio.Lock()
        self._asked = 0
        self._has_open_question = False

    async def ask(self, question: str, **fields: Any) -> AsyncGenerator[dict[str, Any], None]:
        """Yield all answers to a question; the last one has `done`.

        Raises:
            DistPromptError: the model server cannot answer or has ended; the message is the reason.
        """
        async with self._lock:
            await self._drain_open_question()
            process = await self._ready(*([fields["run"]] if "run" in fields else []))
            self._asked += 1
            assert process.stdin is not None
            process.stdin.write(json.dumps({"id": self._asked, "ask": question, **fields}).encode() + b"\n")
            self._has_open_question = True
            while self._has_open_question:
                answer = await self._next_answer(process)
                if "error" in answer:
                    raise DistPromptError(str(answer["error"]))
                yield answer

    async def close(self) -> None:
        """End the server; the next question starts another."""
        process, loading = self._process, self._loading
        self._process = self._loading = None
        self._has_open_question = False
        if loading is not None:
            loading.cancel()
        if process is not None:
            await _end(process)

    async def _ready(self, *run: str) -> asyncio.subprocess.Process:
        """Return the server with the model loaded. Loading continues if the question is cancelled."""
        if self._process is None or self._process.returncode is not None:
            await self.close()
            self._process = await asyncio.create_subprocess_exec(
                *python("distprompt_tui.worker.model_server", self.model, *run),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=self._errors,
                limit=_LINE_LIMIT,
                env=isolated(os.environ),
            )
            self._loading = asyncio.create_task(self._load(self._process))
        if self._loading is not None:
            await asyncio.shield(self._loading)
        return self._process

    async def _load(self, process: asyncio.subprocess.Process) -> None:
        self._report(f"loading {self.model}")
        while (answer := await _read(process)) is not None:
            if answer.get("ready"):
                self.device = str(answer.get("device", ""))
                return
            if "error" in answer:
                raise DistPromptError(str(answer["error"]))
            self._report(str(answer.get("progress", "")))
        raise DistPromptError(_last_line(self._errors) or f"{self.model} could not be loaded")

    async def _next_answer(self, process: asyncio.subprocess.Process) -> dict[str, Any]:
        while (answer := await _read(process)) is not None:
            if answer.get("id") == self._asked:
                self._has_open_question = not answer.get("done")
                return answer
            if "progress" in answer:
                self._report(str(answer["progress"]))
        await self.close()
        raise DistPromptError(_last_line(self._errors) or "the model server ended without an error message")

    async def _drain_open_question(self) -> None:
        """Wait briefly for the rest of a cancelled answer. A longer wait would cost more than loading again."""
        if not self._has_open_question or self._process is None:
            return
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while self._has_open_question:
                    await self._next_answer(self._process)
        except TimeoutError:
            await self.close()


@contextlib.asynccontextmanager
async def _command(*arguments: str, **environment: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, IO[bytes]]]:
    """Run `distprompt-tui … --json`; yield the process and its stderr file. The process is killed on exit."""
    with tempfile.TemporaryFile() as errors:
        process = await asyncio.create_subprocess_exec(
            *python("distprompt_tui", *arguments, "--json"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            limit=_LINE_LIMIT,
            env=isolated(os.environ | environment),
        )
        try:
            yield process, errors
        finally:
            await _end(process)


async def _read(process: asyncio.subprocess.Process) -> dict[str, Any] | None:
    assert process.stdout is not None
    while line := await process.stdout.readline():
        with contextlib.suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict):
                return value
    return None


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill a subprocess, which has no data to lose, and wait until it has ended."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    await process.wait()


def _last_line(file: Any) -> str:
    file.seek(0)
    lines = [line.strip() for line in file.read().decode("utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("distprompt-tui: ") if lines else ""
