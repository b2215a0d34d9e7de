"""Helpers beside the app: to prepare a model, to examine the machine, to answer questions. They speak JSON lines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import IO, Any

from distprompt_tui.diagnostics.checks import Check
from distprompt_tui.errors import DistPromptError
from distprompt_tui.runs.isolation import isolated, python

_LINE_LIMIT = 1 << 22
"""Bytes of the longest answer: 200 tokens and a curve take some 20 kB."""

_PATIENCE_SECONDS = 3.0
"""About what loading the model again takes."""

Report = Callable[[str, float | None], None]


async def prepare_model(name: str, report: Report) -> None:
    """Convert or download a model once; the files are kept for all later starts.

    Args:
        name: as the registry knows it.
        report: is handed what is going on, and how far in 0..1 where that is known.

    Raises:
        DistPromptError: it did not work; the text is the reason.
    """
    async with _command("models", "prepare", name) as (process, errors):
        while (answer := await _read(process)) is not None:
            if "progress" in answer:
                report(str(answer["progress"]), answer.get("fraction"))
        if await process.wait() != 0:
            raise DistPromptError(_last_line(errors) or f"{name} could not be prepared")


async def examine_machine(columns: int, rows: int) -> list[Check]:
    """What `distprompt-tui doctor` finds in this terminal. Takes seconds: torch is imported for it.

    Args:
        columns: of the terminal, which the process itself does not see.
        rows: of the terminal.

    Raises:
        DistPromptError: it did not work; the text is the reason.
    """
    async with _command("doctor", COLUMNS=str(columns), LINES=str(rows)) as (process, errors):
        answer = await _read(process)
        if answer is None or await process.wait() != 0:
            raise DistPromptError(_last_line(errors) or "the doctor ended without a word")
        return [Check(**check) for check in answer["checks"]]


class ModelClient:
    """Sends questions to a model server, one at a time. The server is started and loads the model on the first one.

    Attributes:
        model: its name. Where the first question is about a `run`, it is loaded as that run was begun with it.
        device: where it is loaded; empty until it is.
    """

    def __init__(self, model: str, report: Callable[[str], None]) -> None:
        self.model = model
        self.device = ""
        self._report = report
        self._process: asyncio.subprocess.Process | None = None
        self._loading: asyncio.Task[None] | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the client
        self._lock = asyncio.Lock()
        self._asked = 0
        self._has_open_question = False

    async def ask(self, question: str, **fields: Any) -> AsyncGenerator[dict[str, Any], None]:
        """All answers to a question, the last one with `done`.

        Raises:
            DistPromptError: the model cannot answer, or the process is gone; the text is the reason.
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
        """End the process; the next question starts another."""
        process, loading = self._process, self._loading
        self._process = self._loading = None
        self._has_open_question = False
        if loading is not None:
            loading.cancel()
        if process is not None:
            await _end(process)

    async def _ready(self, *run: str) -> asyncio.subprocess.Process:
        """The process with the model loaded. Loading goes on when the question that began it is given up."""
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
        """The next answer to the newest question."""
        while (answer := await _read(process)) is not None:
            if answer.get("id") == self._asked:
                self._has_open_question = not answer.get("done")
                return answer
            if "progress" in answer:
                self._report(str(answer["progress"]))
        await self.close()
        raise DistPromptError(_last_line(self._errors) or "the process that answers questions about the model ended")

    async def _drain_open_question(self) -> None:
        """Wait a little for the rest of an answer that nobody reads; a longer one costs more than loading again."""
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
    """`distprompt-tui … --json` as a process, and the file with what it writes to stderr. Ended on the way out."""
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
    """The next JSON object of a process; None at its end."""
    assert process.stdout is not None
    while line := await process.stdout.readline():
        with contextlib.suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict):
                return value
    return None


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill a helper: it holds nothing that could be lost. Waits for the kernel to say so, which takes a moment."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    await process.wait()


def _last_line(file: Any) -> str:
    file.seek(0)
    lines = [line.strip() for line in file.read().decode("utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("distprompt-tui: ") if lines else ""
