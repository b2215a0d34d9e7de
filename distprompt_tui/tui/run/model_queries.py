"""Queries to the run's model: the distribution after a text, and a token's attribution to the prompt's positions."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from distprompt_tui.errors import DistPromptError
from distprompt_tui.runs.reducer import state_at
from distprompt_tui.runs.schema import read_snapshot
from distprompt_tui.runs.state import RunState
from distprompt_tui.tui.platform.subprocesses import ModelClient

if TYPE_CHECKING:
    from distprompt_tui.runs.directory import RunDirectory


@dataclass(frozen=True)
class Influence:
    """What each position of a prompt gives to a token's log-probability, nats.

    Attributes:
        token: the token's string, not yet safe for a terminal.
        values: one for each position; above 0 where the position raises the token.
        of_best: whether the prompt is the run's best one: of soft prompts, no other is kept.
        state: what was shown when it was asked.
    """

    token: str
    values: tuple[float, ...]
    of_best: bool
    state: RunState


class ModelQueries:
    """Queries about one run. Its model is loaded on the first one, in a process of its own.

    Attributes:
        status: progress of the present query; empty while there is none.
        problem: why there is no answer.
        text: the text that was tried last.
        substituted: the run with a text in the place of its prompt.
        influence: the attribution of a token.
    """

    def __init__(self, run: RunDirectory, changed: Callable[[], None]) -> None:
        self.status = ""
        self.problem = ""
        self.text = ""
        self.substituted: RunState | None = None
        self.influence: Influence | None = None
        self._run = run
        self._changed = changed
        self._client: ModelClient | None = None

    async def try_text(self, text: str, model: str, state: RunState) -> None:
        """Measure a text as the prompt.

        Args:
            text: in the run's context.
            model: the run's, by name.
            state: of the run.
        """
        self.text, self.substituted, self.influence = text, None, None
        answer = await self._ask(model, "instead", text=text)
        if (snapshot := read_snapshot(answer)) is not None:
            measured = state_at(state, snapshot)
            self.substituted = replace(measured, best_kl=measured.kl, best_step=None)

    async def attribute(self, token: int, text: str, model: str, state: RunState) -> None:
        """Measure how much each position of the prompt adds to a token's log-probability."""
        self.influence = None
        is_soft = state.snapshot is not None and any(part.cosine is not None for part in state.snapshot.prompt)
        ids = None if is_soft or state.snapshot is None else [part.id for part in state.snapshot.prompt]
        answer = await self._ask(model, "influence", token=token, ids=ids)
        if answer is not None:
            self.influence = Influence(text, tuple(answer["influence"]), is_soft, state)

    def reset(self) -> None:
        """Drop all answers, because another prompt is shown."""
        self.problem, self.influence, self.substituted = "", None, None

    def dismiss(self) -> bool:
        """Drop the newest answer. Returns whether there was one."""
        if self.status or self.problem:
            self.status = self.problem = ""
        elif self.influence is not None:
            self.influence = None
        elif self.substituted is not None:
            self.substituted = None
        else:
            return False
        return True

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _ask(self, model: str, question: str, **fields: Any) -> dict[str, Any] | None:
        """The answer; None and `problem` where there is none."""
        if self._client is None:
            self._client = ModelClient(model, self._report)
        self.problem = ""
        self._report("asking the model")
        try:
            async with aclosing(self._client.ask(question, run=str(self._run.path), **fields)) as answers:
                return await anext(answers)
        except DistPromptError as error:
            self.problem = str(error)
            return None
        finally:
            self._report("")

    def _report(self, text: str) -> None:
        self.status = text
        self._changed()
