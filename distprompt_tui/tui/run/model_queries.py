"""What a person asks the run's model: a text in the prompt's place, and which position of the prompt moves a token."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from distprompt_tui.errors import DistPromptError
from distprompt_tui.runs.reducer import as_of
from distprompt_tui.runs.state import RunState
from distprompt_tui.tui.platform.subprocesses import Probe

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
    """Questions about one run. Its model loads on the first one, in a process of its own.

    Attributes:
        says: what is going on until the answer comes; empty where nothing is asked.
        problem: why there is no answer.
        instead: the run with a text in the place of its prompt.
        influence: the answer about a token.
    """

    def __init__(self, run: RunDirectory, changed: Callable[[], None]) -> None:
        self.says = ""
        self.problem = ""
        self.text = ""
        self.instead: RunState | None = None
        self.influence: Influence | None = None
        self._run = run
        self._changed = changed
        self._probe: Probe | None = None

    async def try_text(self, text: str, model: str, state: RunState) -> None:
        """Measure a text as the prompt.

        Args:
            text: in the run's context.
            model: the run's, by name.
            state: of the run.
        """
        self.text, self.instead, self.influence = text, None, None
        answer = await self._ask(model, "instead", text=text)
        measured = as_of(state, answer) if answer is not None else None
        if measured is not None:
            self.instead = replace(measured, best_kl=measured.kl, best_step=None)

    async def explain(self, token: int, text: str, model: str, state: RunState) -> None:
        """Find out which position of the prompt that is shown moves a token."""
        self.influence = None
        is_soft = state.snapshot is not None and any(part.cosine is not None for part in state.snapshot.prompt)
        ids = None if is_soft or state.snapshot is None else [part.id for part in state.snapshot.prompt]
        answer = await self._ask(model, "influence", token=token, ids=ids)
        if answer is not None:
            self.influence = Influence(text, tuple(answer["influence"]), is_soft, state)

    def look_elsewhere(self) -> None:
        """Another prompt is shown: what was found out about the last one goes."""
        self.problem, self.influence, self.instead = "", None, None

    def forget(self) -> bool:
        """Back to the run, one answer at a time. Returns whether there was something to forget."""
        if self.says or self.problem:
            self.says = self.problem = ""
        elif self.influence is not None:
            self.influence = None
        elif self.instead is not None:
            self.instead = None
        else:
            return False
        return True

    async def close(self) -> None:
        probe, self._probe = self._probe, None
        if probe is not None:
            await probe.close()

    async def _ask(self, model: str, question: str, **fields: Any) -> dict[str, Any] | None:
        """The answer; None where there is a problem instead."""
        if self._probe is None:
            self._probe = Probe(model, self._report)
        self.problem = ""
        self._report("asking the model")
        try:
            async with aclosing(self._probe.ask(question, run=str(self._run.path), **fields)) as answers:
                return await anext(answers)
        except DistPromptError as error:
            self.problem = str(error)
            return None
        finally:
            self._report("")

    def _report(self, text: str) -> None:
        self.says = text
        self._changed()
