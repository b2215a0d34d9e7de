"""What all searches over tokens share: from candidates to reports, the best kept, and a state to go on from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from distprompt_tui.config.spec import SwapSearchConfig, TokenSearchConfig
from distprompt_tui.errors import UsageError
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search.candidate_log import CandidateLog
from distprompt_tui.search.candidates import swap_scores
from distprompt_tui.search.evaluator import BasePrompt, Evaluator
from distprompt_tui.search.initialization import allowed_ids, initial_prompts, usable_ids
from distprompt_tui.search.protocol import Best, HardPrompt, SearchState, Step
from distprompt_tui.search.retokenization import is_retokenization_stable

Settings = TypeVar("Settings", bound=TokenSearchConfig)
SwapSettings = TypeVar("SwapSettings", bound=SwapSearchConfig)


@dataclass(frozen=True)
class ScoredPrompt:
    """A prompt, its divergence and its objective in nats (the same where fluency does not count), the step that came to
    it, and `changed` and `improvement` of `HardPrompt`."""

    ids: Tensor
    kl: float
    objective: float
    step: int
    changed: tuple[int, ...]
    improvement: tuple[float | None, ...]


class TokenSearch(ABC, Generic[Settings]):
    """A search over tokens; see `search.protocol.Search`.

    A method says which prompts a step measures, and where it goes from what they gave.

    Args:
        model: frozen.
        target: p, (V,), probabilities.
        settings: from the spec.
        total_steps: after which the search ends.
        seed: decides everything.
        warn: told what the person should know.
    """

    with_gradient: ClassVar[bool] = True
    """Whether candidates are ranked by the gradient at the prompt that they are made from."""

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
        self._target = target.to(model.device, torch.float32)
        self._settings = settings
        self._total = total_steps
        self._warn = warn
        self._generator = torch.Generator().manual_seed(seed)
        self._allowed = allowed_ids(model, settings)
        self._evaluator = Evaluator(model, target, settings.length, warn, self._fluency_weight, self._draft_model)
        self._step = 0
        nowhere = torch.zeros(0, dtype=torch.long, device=model.device)
        self._current = self._best = ScoredPrompt(nowhere, float("inf"), float("inf"), 0, (), ())
        self._best_survives = False
        self._base: BasePrompt | None = None
        self._locked: frozenset[int] = frozenset()
        self._candidate_log = CandidateLog()

    @property
    def _fluency_weight(self) -> float:
        """Weight of the prompt's own log-likelihood."""
        return 0.0

    @property
    def _draft_model(self) -> LanguageModel | None:
        """What candidates go through before the model itself, if anything."""
        return None

    @abstractmethod
    def _start(self) -> None:
        """Go to the first prompt."""

    @abstractmethod
    def _propose(self) -> Tensor:
        """The prompts that the next step measures, (count, n); none where nothing is left to try."""

    @abstractmethod
    def _accept(self, prompts: Tensor) -> None:
        """Measure them, and go where the method goes from there."""

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
                state.tensors[f"{name}.ids"].to(self._model.device),
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
        self._evaluator.positions = state.numbers["positions"]  # what was worked again is in the count already

    def _extra_state(self) -> dict[str, Tensor]:
        """What the method itself has to remember, by name."""
        return {}

    def _load_extra_state(self, own: dict[str, Tensor]) -> None:
        """Go on from what `_extra_state` gave; the current prompt and its base prompt are there already."""

    def report(self) -> Step:
        """Where the search is."""
        return Step(self._step, (self._current.kl,), self._evaluator.positions)

    def _as_prompt(self, at: ScoredPrompt) -> HardPrompt:
        tried = tuple(map(self._candidate_log.at, range(len(at.ids))))
        return HardPrompt(at.ids, at.changed, at.improvement, self._locked, tried)

    def _measure(self, prompts: Tensor, base: BasePrompt | None) -> Tensor:
        """As `Evaluator.measure`, kept for whoever looks on."""
        kls = self._evaluator.measure(prompts, base)
        exact = self._evaluator.measured(prompts)
        self._candidate_log.note(self._current.ids, self._current.objective, self._step, prompts, kls, exact)
        return kls

    def _move_to(self, ids: Tensor, objective: float, base: BasePrompt | None = None) -> None:
        """Make a measured prompt the current one, and the best one if it is.

        Args:
            ids: (n,).
            objective: as it was measured.
            base: where it was run already.
        """
        old = self._current
        self._base = base or self._evaluator.base_prompt(ids, with_gradient=self.with_gradient)
        kl = self._base.kl if self._fluency_weight else objective
        changed: list[int] = [self._step] * len(ids)
        improvement: list[float | None] = [None] * len(ids)
        if len(old.ids) == len(ids):
            for position, is_kept in enumerate((ids == old.ids).tolist()):
                changed[position] = old.changed[position] if is_kept else self._step
                improvement[position] = old.improvement[position] if is_kept else old.kl - kl
        self._current = ScoredPrompt(ids, kl, objective, self._step, tuple(changed), tuple(improvement))
        if objective < self._best.objective or not self._best_survives:
            self._best, self._best_survives = self._current, len(old.ids) > 0 or self._survives(ids)

    def _survives(self, ids: Tensor) -> bool:
        """Whether a prompt, (n,), is read again from its text; searches move to such prompts only."""
        return all(is_retokenization_stable(self._model, [ids.tolist()]))


class SwapSearch(TokenSearch[SwapSettings]):
    """A search that goes from prompt to prompt of the same length.

    A person may lock positions and put tokens in by hand, between two steps. The best prompt stays the best of all,
    whatever is locked since.
    """

    @property
    def _fluency_weight(self) -> float:
        return self._settings.fluency_weight

    def lock(self, position: int, *, locked: bool) -> Step:
        """Leave a position alone from now on, or let it change again.

        Raises:
            UsageError: there is no such position, or nothing would be left to search.
        """
        self._check_position(position)
        now = self._locked | {position} if locked else self._locked - {position}
        if len(now) == self._settings.length:
            raise UsageError("every other position is locked: there would be nothing left to search")
        self._locked = now
        self._on_manual_edit()
        return self.report()

    def edit(self, position: int, token: int) -> Step:
        """Put a token in and go on from there, better or worse.

        Raises:
            UsageError: there is no such position or token, or the prompt could not be pasted any more.
        """
        self._check_position(position)
        if token not in usable_ids(self._model).tolist():
            raise UsageError(f"token {token} cannot stand in a prompt: it is a control token, or there is none")
        ids = self._current.ids.clone()
        ids[position] = token
        if not self._survives(ids):
            text = self._model.vocabulary.text(token)
            raise UsageError(f"with {text!r} there, the prompt's text would be read as other tokens: try another")
        self._move_to(ids, float(self._measure(ids[None], self._base)))
        self._on_manual_edit()
        return self.report()

    def _check_position(self, position: int) -> None:
        if not 0 <= position < self._settings.length:
            raise UsageError(f"there is no position {position + 1} in a prompt of {self._settings.length}")

    def _on_manual_edit(self) -> None:
        """Go on from the current prompt alone, with its locks: somebody has set it."""

    def _start(self) -> None:
        self._locked = frozenset(self._settings.locked)
        prompts = initial_prompts(self._model, self._settings, self._allowed, self._target, self._generator)
        kls = self._evaluator.measure(prompts)
        ids = prompts[int(kls.argmin())]
        if not self._survives(ids):
            self._warn("the prompt that the search starts from does not survive being written as text and read again")
        self._move_to(ids, float(kls.min()))

    @property
    def _free(self) -> Tensor:
        """Positions that may change, rising, (count,)."""
        free = sorted(set(range(self._settings.length)) - self._locked)
        return torch.tensor(free, device=self._model.device)

    @property
    def _forbidden(self) -> Tensor:
        """Which token may not be put where, (n, V) bool."""
        forbidden = torch.ones(
            self._settings.length, self._model.vocab_size, dtype=torch.bool, device=self._model.device
        )
        forbidden[self._free[:, None], self._allowed] = False
        return forbidden

    def _scored(self, base: BasePrompt) -> Tensor:
        """First-order change of the objective for every swap of a base prompt, (n, V); see `swap_scores`."""
        assert base.gradient is not None
        return swap_scores(base.gradient, base.ids, self._model.embedding_matrix, self._forbidden, base.surprisal)
