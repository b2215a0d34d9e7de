"""Clients of the model server, which keeps one model in memory for all screens.

The first question starts the server. A later question about the same model, from any screen, finds it loaded; one about
another model starts another server in its place. The server ends with the app, after `IDLE_SECONDS` without a question,
and before a search that needs its memory (`release_memory`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
import time
import weakref
from collections.abc import AsyncGenerator, Callable
from typing import Any

from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.runs.isolation import isolated, python
from distprompt_tui.tui.platform.subprocesses import LINE_LIMIT, end_process, last_line, read_answer

IDLE_SECONDS = 600.0
_PATIENCE_SECONDS = 6.0  # about the time to load the model again

Report = Callable[[str], None]


class ModelServerClosedError(DistPromptError):
    """The app ended the server during a question: it says nothing about the question."""


class ModelServer:
    """One server process. It answers one question at a time; the others wait.

    Attributes:
        device: of the loaded model; empty until then.
        loading_since: `time.monotonic()` at which the server started to load its model; None if it is not loading.
    """

    def __init__(self) -> None:
        self.device = ""
        self.loading_since: float | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._started_for: tuple[str, str | None] | None = None
        self._loading: asyncio.Task[None] | None = None
        self._progress = ""
        self._report: Report = _ignore
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open for the server's lifetime
        self._lock = asyncio.Lock()
        self._asked = 0
        self._has_open_question = False
        self._idle: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None

    async def ask(
        self, model: str, report: Report, question: str, **fields: Any
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield all answers to a question, as described at `ModelClient.ask`."""
        async with self._lock:
            self._stay()
            self._report = report
            try:
                await self._drain_open_question()
                about, is_other = (model, fields.get("run")), False
                async for answer in self._answers(about, question, fields):
                    is_other = bool(answer.get("other_model"))
                    if not is_other:
                        yield answer
                if is_other:
                    await self.close()
                    async for answer in self._answers(about, question, fields):
                        yield answer
            finally:
                self._report = _ignore
                self._cancel_open_question()
                self._end_when_idle()

    async def close(self) -> None:
        """End the process; the next question starts another."""
        process, loading = self._process, self._loading
        self._process = self._loading = self._started_for = None
        self._has_open_question = False
        self._stay()
        self.device = ""
        self.loading_since = None
        if loading is not None:
            loading.cancel()
        if process is not None:
            await end_process(process)

    @property
    def is_running(self) -> bool:
        return self._process is not None

    async def release_memory(self, needed_bytes: int | None) -> None:
        """End the process if its model is on a GPU, or if less than `needed_bytes` of memory are available."""
        import psutil

        is_on_cpu = self.device in ("", "cpu")
        if not is_on_cpu or (needed_bytes is not None and psutil.virtual_memory().available < needed_bytes):
            await self.close()

    async def _answers(
        self, about: tuple[str, str | None], question: str, fields: dict[str, Any]
    ) -> AsyncGenerator[dict[str, Any], None]:
        if self._started_for is not None and self._started_for[0] != about[0]:
            await self.close()
        process = await self._ready(*about)
        self._asked += 1
        model = {} if self._started_for == about else {"model": about[0]}
        await self._send({"id": self._asked, "ask": question, **model, **fields})
        self._has_open_question = True
        while self._has_open_question:
            answer = await self._next_answer(process)
            if "error" in answer:
                raise DistPromptError(str(answer["error"]))
            yield answer

    async def _send(self, message: dict[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):  # the missing answer reports it
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            await self._process.stdin.drain()

    async def _ready(self, model: str, run: str | None) -> asyncio.subprocess.Process:
        """Return the server with a model loaded. Loading continues if the question is cancelled."""
        if self._process is None or self._process.returncode is not None:
            await self.close()
            self._errors.seek(0)
            self._errors.truncate()
            self._process = await asyncio.create_subprocess_exec(
                *python("distprompt_tui.worker.model_server", model, *([run] if run is not None else [])),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=self._errors,
                limit=LINE_LIMIT,
                env=isolated(os.environ),
            )
            self._started_for = (model, run)
            self.loading_since = time.monotonic()
            self._loading = asyncio.create_task(self._load(self._process, model))
        if self._loading is not None:
            if not self._loading.done():
                self._report(self._progress or f"loading {model}")
            await asyncio.shield(self._loading)
        return self._process

    async def _load(self, process: asyncio.subprocess.Process, model: str) -> None:
        self._tell(f"loading {model}")
        while (answer := await read_answer(process)) is not None:
            if answer.get("ready"):
                self.loading_since = None
                self.device = str(answer.get("device", ""))
                return
            if "error" in answer:
                raise DistPromptError(str(answer["error"]))
            self._tell(str(answer.get("progress", "")))
        raise DistPromptError(last_line(self._errors) or f"{model} could not be loaded")

    def _tell(self, progress: str) -> None:
        self._progress = progress
        self._report(progress)

    async def _next_answer(self, process: asyncio.subprocess.Process) -> dict[str, Any]:
        while (answer := await read_answer(process)) is not None:
            if answer.get("id") == self._asked:
                self._has_open_question = not answer.get("done")
                return answer
            if "progress" in answer:
                self._report(str(answer["progress"]))
        if self._process is not process:
            raise ModelServerClosedError("the model server was closed")
        await self.close()
        raise DistPromptError(last_line(self._errors) or "the model server ended without an error message")

    def _cancel_open_question(self) -> None:
        """Tell the server to end a computation whose answer nobody waits for."""
        process = self._process
        if self._has_open_question and process is not None and process.stdin is not None:
            with contextlib.suppress(ConnectionError):
                process.stdin.write(json.dumps({"cancel": self._asked}).encode() + b"\n")

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

    def _end_when_idle(self) -> None:
        if self._process is not None:
            self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._start_closing)

    def _start_closing(self) -> None:
        self._closing = asyncio.create_task(self._close_when_answered())

    async def _close_when_answered(self) -> None:
        async with self._lock:
            await self.close()

    def _stay(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None


_SERVERS: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, ModelServer] = weakref.WeakKeyDictionary()


def shared_server() -> ModelServer:
    """Return the model server of the running event loop, which is that of the app."""
    loop = asyncio.get_running_loop()
    if loop not in _SERVERS:
        _SERVERS[loop] = ModelServer()
    return _SERVERS[loop]


class ModelClient:
    """Asks the shared server about one model; `report` receives the progress of loading it.

    If a question is about a `run`, the model must be the one that the run recorded.
    """

    def __init__(self, model: str, report: Report) -> None:
        self.model = model
        self._report = report

    @property
    def device(self) -> str:
        """The device of the loaded model; empty if none is loaded."""
        return shared_server().device

    @property
    def loading_since(self) -> float | None:
        """`ModelServer.loading_since` of the shared server."""
        return shared_server().loading_since

    async def ask(self, question: str, **fields: Any) -> AsyncGenerator[dict[str, Any], None]:
        """Yield all answers to a question; the last one has `done`. If the caller is cancelled, so is the question.

        Raises:
            DistPromptError: the model server cannot answer or has ended; the message is the reason.
        """
        async with contextlib.aclosing(shared_server().ask(self.model, self._report, question, **fields)) as answers:
            async for answer in answers:
                yield answer


def _ignore(text: str) -> None:
    """Drop the progress of a question that nobody waits for."""
