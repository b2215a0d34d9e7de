"""Common part of all token searches: steps, reports, best prompt, saved state, locks and manual edits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from distprompt_tui.core.config.search_specs import SwapSearchConfig, TokenSearchConfig
from distprompt_tui.core.errors import UsageError
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search.base_prompt import BasePrompt
from distprompt_tui.search.candidate_log import CandidateLog
from distprompt_tui.search.candidates import swap_scores
from distprompt_tui.search.evaluator import Evaluator, Group
from distprompt_tui.search.initialization import allowed_ids, initial_prompts, usable_ids
from distprompt_tui.search.protocol import Best, HardPrompt, SearchState, Step
from distprompt_tui.search.retokenization import is_retokenization_stable
from distprompt_tui.search.transfers import upload

Settings = TypeVar("Settings", bound=TokenSearchConfig)
SwapSettings = TypeVar("SwapSettings", bound=SwapSearchConfig)


@dataclass(frozen=True)
class ScoredPrompt:
    """A prompt on the CPU with its divergence and objective in nats (equal without a fluency weight), its step, and
    `changed` and `improvement` of `HardPrompt`."""

    ids: Tensor
    kl: float
    objective: float
    step: int
    changed: tuple[int, ...]
    improvement: tuple[float | None, ...]


class TokenSearch(ABC, Generic[Settings]):
    """A search over tokens; see `search.protocol.Search`.

    Subclasses propose the prompts of a step and select the next prompt from the results. `target` is p, (V,);
    `total_steps` is the maximum number of steps; `warn` receives messages for the user.
    """

    with_gradient: ClassVar[bool] = True  # whether candidates are ranked by the gradient at their base prompt

    def __init__(
        self,
        model: LanguageModel,
        target: Tensor,
        settings: Settings,
        total_steps: int,
        seed: int,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        model.check_length(settings.length)
        self._model = model
        self._target = target.to("cpu", torch.float32)
        self._settings = settings
        self._total = total_steps
        self._warn = warn
        self._generator = torch.Generator().manual_seed(seed)
        self._allowed = allowed_ids(model, settings)
        self._evaluator = Evaluator(model, target, settings.length, warn, self._fluency_weight, self._draft_model)
        self._step = 0
        nowhere = torch.zeros(0, dtype=torch.long)
        self._current = self._best = ScoredPrompt(nowhere, float("inf"), float("inf"), 0, (), ())
        self._best_survives = False
        self._base: BasePrompt | None = None
        self._locked: frozenset[int] = frozenset()
        self._candidate_log = CandidateLog()
        self._forbidden_there: tuple[frozenset[int], Tensor] | None = None  # on the device, for these locks

    @property
    def _fluency_weight(self) -> float:
        return 0.0

    @property
    def _draft_model(self) -> LanguageModel | None:
        return None

    @abstractmethod
    def _start(self) -> None:
        """Move to the initial prompt."""

    @abstractmethod
    def _propose(self) -> Tensor:
        """Return the prompts for the next step to measure, (count, n) on the CPU; none to end the search."""

    @abstractmethod
    def _accept(self, prompts: Tensor) -> None:
        """Measure the proposed prompts, and move to the next prompt of the method."""

    def steps(self) -> Iterator[Step]:
        if self._base is None:
            self._start()
        yield self.report()
        while self._step < self._total:
            prompts = self._propose()
            if not len(prompts):
                return
            self._step += 1
            self._accept(prompts)
            yield self.report()

    @property
    def current(self) -> tuple[HardPrompt, Tensor]:
        assert self._base is not None
        return self._as_prompt(self._current), self._base.logits

    @property
    def best(self) -> Best:
        return Best(self._best.kl, self._as_prompt(self._best), self._best.step)

    def state_dict(self) -> SearchState:
        hashes, kls = self._evaluator.cached()
        tensors = {
            "generator": self._generator.get_state(),
            "known_hashes": hashes,
            "known_kls": kls,
            "now.ids": self._current.ids.clone(),
            "best.ids": self._best.ids.clone(),
            **self._extra_state(),
        }
        numbers = {
            "step": self._step,
            "positions": self._evaluator.positions,
            "batch": self._evaluator.batch.size,
            "fitted": self._evaluator.batch.successes,
            "locked": sorted(self._locked),
            **{
                name: {
                    "kl": at.kl,
                    "objective": at.objective,
                    "step": at.step,
                    "changed": list(at.changed),
                    "improvement": list(at.improvement),
                }
                for name, at in (("now", self._current), ("best", self._best))
            },
        }
        return SearchState(tensors, numbers)

    def load_state_dict(self, state: SearchState) -> None:
        self._current, self._best = (
            ScoredPrompt(
                state.tensors[f"{name}.ids"].cpu(),
                state.numbers[name]["kl"],
                state.numbers[name]["objective"],
                state.numbers[name]["step"],
                tuple(state.numbers[name]["changed"]),
                tuple(state.numbers[name]["improvement"]),
            )
            for name in ("now", "best")
        )
        self._best_survives = self._survives(self._best.ids)
        self._locked = frozenset(state.numbers["locked"])
        self._step = state.numbers["step"]
        self._generator.set_state(state.tensors["generator"].cpu())
        batch = self._evaluator.batch
        batch.size, batch.successes = state.numbers["batch"], state.numbers["fitted"]
        self._evaluator.load_cache(state.tensors["known_hashes"], state.tensors["known_kls"])
        self._base = self._evaluator.base_prompt(self._current.ids, with_gradient=self.with_gradient)
        self._load_extra_state(state.tensors)
        self._evaluator.positions = state.numbers["positions"]  # without repeated work

    def _extra_state(self) -> dict[str, Tensor]:
        return {}

    def _load_extra_state(self, own: dict[str, Tensor]) -> None:
        """Restore `_extra_state`, after the current prompt and its base prompt."""

    def report(self) -> Step:
        return Step(self._step, (self._current.kl,), self._evaluator.positions)

    def _as_prompt(self, at: ScoredPrompt) -> HardPrompt:
        tried = tuple(map(self._candidate_log.at, range(len(at.ids))))
        return HardPrompt(at.ids, at.changed, at.improvement, self._locked, tried)

    def _measure(self, prompts: Tensor, base: BasePrompt | None) -> Tensor:
        return self._measure_groups([(prompts, base)])

    def _measure_groups(self, groups: Sequence[Group]) -> Tensor:
        """Measure groups of prompts in the same batches; (count,) on the CPU for the prompts of all groups."""
        kls = self._evaluator.measure_groups(groups)
        prompts = torch.cat([prompts for prompts, _ in groups])
        exact = self._evaluator.measured(prompts)
        self._candidate_log.note(self._current.ids, self._current.objective, self._step, prompts, kls, exact)
        return kls

    def _move_to(self, ids: Tensor, objective: float, base: BasePrompt | None = None) -> None:
        """Move to a measured prompt, (n,), and update the best one; `base` avoids another run if it is given."""
        self._base = base or self._evaluator.base_prompt(ids, with_gradient=self.with_gradient)
        kl = self._base.kl if self._fluency_weight else objective
        self._current = self._changed_prompt(self._current, ids, objective, kl)

    def _changed_prompt(self, old: ScoredPrompt, ids: Tensor, objective: float, kl: float) -> ScoredPrompt:
        """Return a measured prompt, (n,), that replaces another in this step, and update the best one."""
        changed: list[int] = [self._step] * len(ids)
        improvement: list[float | None] = [None] * len(ids)
        if len(old.ids) == len(ids):
            for position, is_kept in enumerate((ids == old.ids).tolist()):
                changed[position] = old.changed[position] if is_kept else self._step
                improvement[position] = old.improvement[position] if is_kept else old.kl - kl
        new = ScoredPrompt(ids, kl, objective, self._step, tuple(changed), tuple(improvement))
        if objective < self._best.objective or not self._best_survives:
            self._best, self._best_survives = new, len(old.ids) > 0 or self._survives(ids)
        return new

    def _survives(self, ids: Tensor) -> bool:
        return all(is_retokenization_stable(self._model, [ids.tolist()]))


class SwapSearch(TokenSearch[SwapSettings]):
    """A search that moves between prompts of the same length.

    Between two steps, the user can lock positions and change tokens. The best prompt remains the best of all prompts,
    regardless of later locks.
    """

    @property
    def _fluency_weight(self) -> float:
        return self._settings.fluency_weight

    def lock(self, position: int, *, locked: bool) -> Step:
        """Lock or unlock a position, counted from 0.

        Raises:
            UsageError: there is no such position, or all positions would be locked.
        """
        self._check_position(position)
        now = self._locked | {position} if locked else self._locked - {position}
        if len(now) == self._settings.length:
            raise UsageError("all other positions are locked: one position must stay unlocked")
        self._locked = now
        self._on_manual_edit()
        return self.report()

    def edit(self, position: int, token: int) -> Step:
        """Change a token, and continue from the result even if it is worse.

        Raises:
            UsageError: there is no such position or token, or the prompt would not be stable under retokenization.
        """
        self._check_position(position)
        if token not in usable_ids(self._model).tolist():
            raise UsageError(f"invalid token {token}: it is a control token, or does not exist")
        ids = self._current.ids.clone()
        ids[position] = token
        if not self._survives(ids):
            text = self._model.vocabulary.text(token)
            raise UsageError(f"with {text!r} there, the prompt's text is tokenised differently: choose another token")
        self._move_to(ids, float(self._measure(ids[None], self._base)))
        self._on_manual_edit()
        return self.report()

    def _check_position(self, position: int) -> None:
        if not 0 <= position < self._settings.length:
            raise UsageError(f"there is no position {position + 1} in a prompt of length {self._settings.length}")

    def _on_manual_edit(self) -> None:
        """Reset the method's state to the current prompt and locks."""

    def _start(self) -> None:
        self._locked = frozenset(self._settings.locked)
        self._move_to(*self._initial_prompt(self._generator))

    def _initial_prompt(self, generator: torch.Generator) -> tuple[Tensor, float]:
        """Return the best of the initial prompts, (n,), and its objective, nats."""
        prompts = initial_prompts(self._model, self._settings, self._allowed, self._target, generator)
        kls = self._evaluator.measure(prompts)
        ids = prompts[int(kls.argmin())]
        if not self._survives(ids):
            self._warn("the text of the initial prompt is tokenised to other ids")
        return ids, float(kls.min())

    @property
    def _free(self) -> Tensor:
        free = sorted(set(range(self._settings.length)) - self._locked)
        return torch.tensor(free)

    @property
    def _forbidden(self) -> Tensor:
        """Forbidden tokens by position, (n, V) bool."""
        forbidden = torch.ones(self._settings.length, self._model.vocab_size, dtype=torch.bool)
        forbidden[self._free[:, None], self._allowed] = False
        return forbidden

    def _scored(self, base: BasePrompt) -> Tensor:
        """Compute the first-order change of the objective by each swap, (n, V), on the model's device."""
        assert base.gradient is not None
        if self._forbidden_there is None or self._forbidden_there[0] != self._locked:
            self._forbidden_there = self._locked, self._forbidden.to(self._model.device)
        ids = upload(base.ids, self._model.device)
        return swap_scores(base.gradient, ids, self._model.embedding_matrix, self._forbidden_there[1], base.surprisal)
