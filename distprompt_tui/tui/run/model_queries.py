"""Queries to the run's model: the distribution after a text, and a token's attribution to prompt positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.runs.reducer import state_at
from distprompt_tui.runs.schema import read_snapshot
from distprompt_tui.runs.state import RunState
from distprompt_tui.tui.platform.model_client import ModelClient
from distprompt_tui.tui.run.continuation import Continuation, PromptStart

if TYPE_CHECKING:
    from distprompt_tui.runs.directory import RunDirectory


@dataclass(frozen=True)
class Influence:
    """Contribution of each prompt position to a token's log-probability, nats, as of `state`.

    Attributes:
        token: the token's string, not sanitised.
        values: one for each position; above 0 if the position raises the token.
        of_best: whether the prompt is the run's best one; of soft prompts, only that one is stored.
    """

    token: str
    values: tuple[float, ...]
    of_best: bool
    state: RunState


class ModelQueries:
    """Queries about one run, answered by the model server that all screens share.

    Attributes:
        status: progress of the current query; empty without one.
        problem: why there is no answer.
        substituted: the run's state with a text as the prompt.
    """

    def __init__(self, run: RunDirectory, changed: Callable[[], None]) -> None:
        self.status = ""
        self.problem = ""
        self.text = ""
        self.substituted: RunState | None = None
        self.influence: Influence | None = None
        self._run = run
        self._changed = changed

    async def try_text(self, text: str, model: str, state: RunState) -> None:
        """Compute the distribution after a text instead of the prompt, in the run's context."""
        self.text, self.substituted, self.influence = text, None, None
        answer = await self._ask(model, "instead", text=text)
        if (snapshot := read_snapshot(answer)) is not None:
            measured = state_at(state, snapshot)
            self.substituted = replace(measured, best_kl=measured.kl, best_step=None)

    async def attribute(self, token: int, text: str, model: str, state: RunState) -> None:
        """Compute how much each prompt position adds to a token's log-probability."""
        self.influence = None
        is_soft = state.snapshot is not None and any(part.cosine is not None for part in state.snapshot.prompt)
        ids = None if is_soft or state.snapshot is None else [part.id for part in state.snapshot.prompt]
        answer = await self._ask(model, "influence", token=token, ids=ids)
        if answer is not None:
            self.influence = Influence(text, tuple(answer["influence"]), is_soft, state)

    async def continuation(
        self, model: str, start: PromptStart, path: Sequence[int], include: Sequence[int]
    ) -> Continuation:
        """Compute the distribution after a prompt and the tokens of a path, with rows for the ids in `include`.

        Raises:
            DistPromptError: there is no answer; the message is the reason.
        """
        ids = None if start.ids is None else list(start.ids)
        answer = await self._ask(model, "continue", ids=ids, path=list(path), include=list(include))
        if answer is None:
            problem, self.problem = self.problem, ""
            raise DistPromptError(problem)
        return Continuation.read(answer)

    def reset(self) -> None:
        """Drop all answers, because the prompt on the screen has changed."""
        self.problem, self.influence, self.substituted = "", None, None

    def dismiss(self) -> bool:
        """Drop the latest answer. Return whether there was one."""
        if self.status or self.problem:
            self.status = self.problem = ""
        elif self.influence is not None:
            self.influence = None
        elif self.substituted is not None:
            self.substituted = None
        else:
            return False
        return True

    async def _ask(self, model: str, question: str, **fields: Any) -> dict[str, Any] | None:
        client = ModelClient(model, self._report)
        self.problem = ""
        self._report("querying the model")
        try:
            async with aclosing(client.ask(question, run=str(self._run.path), **fields)) as answers:
                return await anext(answers)
        except DistPromptError as error:
            self.problem = str(error)
            return None
        finally:
            self._report("")

    def _report(self, text: str) -> None:
        self.status = text
        self._changed()
