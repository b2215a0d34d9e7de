"""One chain of the hard search: a prompt, the swaps measured at each of its positions, and the next proposals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from distprompt_tui.core.config.search_specs import Hard
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.token_features import token_features
from distprompt_tui.search.base_prompt import BasePrompt
from distprompt_tui.search.candidate_log import CandidateLog
from distprompt_tui.search.candidates import swapped
from distprompt_tui.search.evaluator import Evaluator
from distprompt_tui.search.initialization import DRAWS, mix_target_tokens, sample
from distprompt_tui.search.surrogate import NO_OBSERVATIONS, Observations, posterior_mean
from distprompt_tui.search.token_search import ScoredPrompt

MIN_OBSERVATIONS = 16  # with fewer measured swaps, candidates are drawn from the target and at random


@dataclass(frozen=True)
class Shared:
    """What all chains of a search have in common.

    Attributes:
        width: candidates in a step of a chain, at an average position.
        allowed: tokens that a prompt may contain, (count,).
        target: p, (V,) float32.
    """

    model: LanguageModel
    settings: Hard
    width: int
    evaluator: Evaluator
    allowed: Tensor
    target: Tensor


@dataclass(frozen=True)
class _Ranking:
    """A ranking that was requested before it is needed, for a pool of tokens that is likely to be drawn."""

    measured: Observations
    base: BasePrompt | None
    pool: Tensor
    order: Callable[[], Tensor]


@dataclass
class Chain:
    """A prompt that changes by swaps at one position at a time, in random order of the positions.

    Attributes:
        shared: what the chain has in common with others.
        generator: of the chain's random choices, on the CPU.
        current: the prompt.
        base: its prefix cache.
        best: the best prompt of this chain.
        measured: swaps measured at each position, also at earlier prompts.
        order: positions whose turn is still to come; the last is next.
        steps_without_improvement: since the last move.
        position: at which the proposed prompts swap tokens; None if they are perturbations.
        log: candidates for display.
    """

    shared: Shared
    generator: torch.Generator
    current: ScoredPrompt
    best: ScoredPrompt
    base: BasePrompt | None = None
    measured: list[Observations] = field(init=False)
    order: list[int] = field(init=False)
    steps_without_improvement: int = 0
    position: int | None = None
    log: CandidateLog = field(default_factory=CandidateLog)

    def __post_init__(self) -> None:
        length = self.shared.settings.length
        self.measured = [NO_OBSERVATIONS] * length
        self.order = list(range(length))  # starts at the last position, where candidates cost least
        self._tried: list[Tensor] = []
        self._ahead: list[_Ranking] = []

    def reset_tried(self, forbidden: Tensor) -> None:
        """Forget the tried swaps, after a move. `forbidden`: tokens by position, (n, V) bool."""
        self._forbidden = forbidden
        self._untried = ~forbidden.scatter(1, self.current.ids[:, None], True)
        self._tried = []

    def state(self, prefix: str = "") -> dict[str, Tensor]:
        """Return order, tried swaps and observations as tensors, whose names begin with a prefix."""
        tensors = {
            "order": torch.tensor(self.order, dtype=torch.long),
            "fruitless": torch.tensor(self.steps_without_improvement),
            "tried": torch.cat([torch.zeros(0, 2, dtype=torch.long), *self._tried]),
            "measured.counts": torch.tensor([len(measured.tokens) for measured in self.measured]),
            "measured.tokens": torch.cat([measured.tokens for measured in self.measured]),
            "measured.changes": torch.cat([measured.changes for measured in self.measured]),
            "measured.steps": torch.cat([measured.steps for measured in self.measured]),
        }
        return {prefix + name: tensor for name, tensor in tensors.items()}

    def load_state(self, tensors: dict[str, Tensor], forbidden: Tensor, prefix: str = "") -> None:
        """Restore `state`, after the prompt."""
        counts = tensors[f"{prefix}measured.counts"].tolist()
        parts = (tensors[f"{prefix}measured.{name}"].split(counts) for name in ("tokens", "changes", "steps"))
        self.measured = [Observations(*part) for part in zip(*parts, strict=True)]
        self.steps_without_improvement = int(tensors[f"{prefix}fruitless"])
        self.order = tensors[f"{prefix}order"].tolist()
        self.reset_tried(forbidden)
        self._mark_tried(tensors[f"{prefix}tried"].cpu())

    def observe(self, prompts: Tensor, objectives: Tensor, step: int) -> None:
        """Add measured swaps at the current position to its observations."""
        if self.position is not None:
            self.measured[self.position] = self.measured[self.position].with_more(
                prompts[:, self.position], objectives - self.current.objective, step, self.shared.settings.memory
            )

    def propose(self, free: Sequence[int], best: Tensor, step: int) -> Tensor:
        """Return prompts to measure, (count, n); none if there are no more.

        Args:
            free: positions that may change.
            best: the prompt, (n,), from which perturbations start.
            step: number of steps so far.
        """
        patience = self._patience(free)
        self.position = None
        if patience and self.steps_without_improvement >= patience:
            return self._perturbations(free, best)
        for _ in range(2 * len(free)):  # the rest of an order, and a whole one
            position, self.order = _next_position(self.order, free, self.generator)
            if len(prompts := self._swaps(position, step)):
                self.position = position
                return prompts
        return self._perturbations(free, best) if patience else self.current.ids.new_empty(0, len(self.current.ids))

    def rank_ahead(self, free: Sequence[int], step: int) -> None:
        """Request the rankings that the next `propose` is likely to need, whether the chain moves in this step or not.

        The draws of the next step are repeated on a copy of the generator. A wrong guess costs time only.
        """
        self._ahead = []
        generator = torch.Generator()
        generator.set_state(self.generator.get_state())
        position, _ = _next_position(self.order, free, generator)
        if not self._is_learned(position):
            return
        at_random = self._at_random(position, generator)
        before = generator.get_state()
        untried_after_move = ~self._forbidden[position]
        untried_after_move[self.current.ids[position]] = False
        is_last_try = 0 < self._patience(free) <= self.steps_without_improvement + 1
        rows = [] if self.position is None or is_last_try else [self._untried[position].clone()]
        for untried in [*rows, untried_after_move]:
            untried[at_random] = False
            generator.set_state(before)
            pool = self._pool(untried, generator)
            order = self.shared.evaluator.readback.request(self._ranked(position, pool, step))
            self._ahead.append(_Ranking(self.measured[position], self.base, pool, order))

    def _patience(self, free: Sequence[int]) -> int:
        return self.shared.settings.patience if len(free) > 1 else 0  # with one position, swaps cover all prompts

    def _is_learned(self, position: int) -> bool:
        return len(self.measured[position].tokens) >= MIN_OBSERVATIONS

    def _wanted(self, position: int) -> int:
        return self.shared.evaluator.candidates_within_budget(self.shared.width, position)

    def _mark_tried(self, swaps: Tensor) -> None:
        self._untried[swaps[:, 0], swaps[:, 1]] = False
        self._tried.append(swaps)

    def _swaps(self, position: int, step: int) -> Tensor:
        wanted, learned = self._wanted(position), self._is_learned(position)
        at_random = self._at_random(position, self.generator)
        found = [self._new_swaps(position, at_random[self._untried[position, at_random]])]
        missing = wanted - len(found[0])
        while missing > 0 and self._untried[position].any():
            pool = self._pool(self._untried[position], self.generator)
            ranked = pool[self._order(position, pool, step)] if learned else pool
            while missing > 0 and len(ranked):
                found.append(self._new_swaps(position, ranked[:missing]))
                ranked = ranked[missing:]
                missing -= len(found[-1])
        return torch.cat(found)

    def _at_random(self, position: int, generator: torch.Generator) -> Tensor:
        """Draw the tokens that are not ranked: all while there are few observations."""
        shared, wanted = self.shared, self._wanted(position)
        count = round(wanted * shared.settings.explore) if self._is_learned(position) else wanted
        drawn = sample(shared.allowed, (count, 1), generator)
        return mix_target_tokens(drawn, shared.allowed, shared.target, generator)[:, 0]

    def _pool(self, untried: Tensor, generator: torch.Generator) -> Tensor:
        """Draw the tokens that are ranked from the untried ones, (V,) bool."""
        tokens = untried.nonzero()[:, 0]
        return tokens[torch.randperm(len(tokens), generator=generator)[: self.shared.settings.pool]]

    def _new_swaps(self, position: int, tokens: Tensor) -> Tensor:
        """Swap tokens in; return the new prompts that are stable under retokenization, (at most count, n)."""
        swaps = torch.stack([torch.full_like(tokens, position), tokens], dim=1)
        self._mark_tried(swaps)
        prompts = swapped(self.current.ids, swaps)
        return prompts[self.shared.evaluator.is_new(prompts)]

    def _order(self, position: int, pool: Tensor, step: int) -> Tensor:
        """Return the order of a pool by the expected change of the objective, (count,) on the CPU."""
        for ranking in self._ahead:
            is_same_base = ranking.base is self.base or not self.shared.settings.fluency_weight
            if ranking.measured is self.measured[position] and is_same_base and torch.equal(ranking.pool, pool):
                return ranking.order().long()
        return self.shared.evaluator.readback.read(self._ranked(position, pool, step)).long()

    def _ranked(self, position: int, pool: Tensor, step: int) -> Tensor:
        """As `_order`, int32 on the model's device."""
        model, base = self.shared.model, self.base
        surprisal = None if base is None or base.surprisal is None else base.surprisal[position]
        features = token_features(model)
        return posterior_mean(self.measured[position], pool, features, step, surprisal, model.device).argsort().int()

    def _perturbations(self, free: Sequence[int], best: Tensor) -> Tensor:
        """Return `width` variants of a prompt, with the locked tokens and `perturbation` random changes."""
        shared, settings, generator = self.shared, self.shared.settings, self.generator
        places = torch.tensor(free)
        start = self.current.ids.scatter(0, places, best[places]).repeat(shared.width, 1)
        for _ in range(DRAWS):
            drawn = sample(shared.allowed, (shared.width, settings.length), generator)
            others = mix_target_tokens(drawn, shared.allowed, shared.target, generator)
            order = torch.rand(shared.width, len(free), generator=generator).argsort(dim=1)[:, : settings.perturbation]
            positions = places[order]
            prompts = start.scatter(1, positions, others.gather(1, positions))
            if len(prompts := prompts[shared.evaluator.is_new(prompts)]):
                break
        return prompts


def _next_position(order: Sequence[int], free: Sequence[int], generator: torch.Generator) -> tuple[int, list[int]]:
    """Return the next position and the ones after it, in a new random order if none is left."""
    left = [position for position in order if position in free]
    if not left:
        left = [free[i] for i in torch.randperm(len(free), generator=generator)]
    return left[-1], left[:-1]
