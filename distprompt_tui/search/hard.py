"""Hard prompts: token swaps ranked by a surrogate model, measured exactly, and accepted if they lower the objective.

A coordinate search like ARCA (Jones et al. 2023) and AutoPrompt (Shin et al. 2020), with three differences: swaps are
ranked by a regression on all measured swaps at their position, not by the gradient; the number of candidates at a
position is inversely proportional to their cost; and the search starts from a pool of prompts with target tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distprompt_tui.config.spec import Hard
from distprompt_tui.errors import UsageError
from distprompt_tui.models.bf16_copy import gains_from_half_precision, in_half_precision
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.token_features import token_features
from distprompt_tui.search.candidates import swapped
from distprompt_tui.search.initialization import DRAWS, mix_target_tokens, sample
from distprompt_tui.search.prompt_runner import BasePrompt
from distprompt_tui.search.surrogate import NO_OBSERVATIONS, Observations, posterior_mean
from distprompt_tui.search.token_search import SwapSearch

MIN_OBSERVATIONS = 16  # with fewer measured swaps, candidates are drawn from the target and at random


class HardSearch(SwapSearch[Hard]):
    """Swaps at one position in each step, with the positions in random order; see `TokenSearch`.

    A step moves to a better prompt only. After `patience` steps without improvement, a step moves to the best of many
    variants of the best prompt, even if it is worse. The observations of all positions are kept throughout.
    """

    with_gradient = False

    @property
    def _draft_model(self) -> LanguageModel | None:
        is_used = self._settings.draft and not self._fluency_weight and gains_from_half_precision(self._model)
        return in_half_precision(self._model) if is_used else None

    def _start(self) -> None:
        positions = self._settings.length
        self._measured = [NO_OBSERVATIONS] * positions
        self._steps_without_improvement = 0
        self._order = list(range(positions))  # starts at the last position, where candidates cost least
        super()._start()

    def _move_to(self, ids: Tensor, objective: float, base: BasePrompt | None = None) -> None:
        super()._move_to(ids, objective, base)
        self._steps_without_improvement = 0
        self._reset_tried()

    def _on_manual_edit(self) -> None:
        self._steps_without_improvement = 0
        self._reset_tried()

    def _reset_tried(self) -> None:
        self._untried = ~self._forbidden.scatter(1, self._current.ids[:, None], True)
        self._tried: list[Tensor] = []

    def _extra_state(self) -> dict[str, Tensor]:
        counts = torch.tensor([len(measured.tokens) for measured in self._measured])
        return {
            "order": torch.tensor(self._order, dtype=torch.long),
            "fruitless": torch.tensor(self._steps_without_improvement),
            "tried": torch.cat([torch.zeros(0, 2, dtype=torch.long), *self._tried]),
            "measured.counts": counts,
            "measured.tokens": torch.cat([measured.tokens for measured in self._measured]),
            "measured.changes": torch.cat([measured.changes for measured in self._measured]),
            "measured.steps": torch.cat([measured.steps for measured in self._measured]),
        }

    def _load_extra_state(self, own: dict[str, Tensor]) -> None:
        if "order" not in own:
            raise UsageError(
                "the hard search of an earlier version cannot be resumed: "
                "start a new run from its prompt with search.init=prompt and search.init_prompt=RUN"
            )
        counts = own["measured.counts"].tolist()
        parts = (own[f"measured.{name}"].split(counts) for name in ("tokens", "changes", "steps"))
        self._measured = [Observations(*part) for part in zip(*parts, strict=True)]
        self._steps_without_improvement, self._order = int(own["fruitless"]), own["order"].tolist()
        self._reset_tried()
        self._mark_tried(own["tried"].cpu())

    def _mark_tried(self, swaps: Tensor) -> None:
        self._untried[swaps[:, 0], swaps[:, 1]] = False
        self._tried.append(swaps)

    def _propose(self) -> Tensor:
        free = self._free.tolist()
        patience = self._settings.patience if len(free) > 1 else 0  # with one position, swaps cover all prompts
        self._position: int | None = None
        if patience and self._steps_without_improvement >= patience:
            return self._propose_perturbations()
        for _ in range(2 * len(free)):  # the rest of an order, and a whole one
            position = self._next_position(free)
            if len(prompts := self._propose_swaps(position)):
                self._position = position
                return prompts
        return self._propose_perturbations() if patience else self._current.ids.new_empty(0, len(self._current.ids))

    def _next_position(self, free: list[int]) -> int:
        self._order = [position for position in self._order if position in free]
        if not self._order:
            self._order = [free[i] for i in torch.randperm(len(free), generator=self._generator)]
        return self._order.pop()

    def _accept(self, prompts: Tensor) -> None:
        kls = self._measure(prompts, None if self._position is None else self._base)
        best = int(kls.argmin())
        if self._position is not None:
            tokens = prompts[:, self._position]
            self._measured[self._position] = self._measured[self._position].with_more(
                tokens, kls - self._current.objective, self._step, self._settings.memory
            )
        if (self._position is None and kls[best].isfinite()) or float(kls[best]) < self._current.objective:
            self._move_to(prompts[best], float(kls[best]))
        else:
            self._steps_without_improvement += 1

    def _propose_swaps(self, position: int) -> Tensor:
        settings, generator = self._settings, self._generator
        wanted = self._evaluator.candidates_within_budget(settings.width, position)
        learned = len(self._measured[position].tokens) >= MIN_OBSERVATIONS
        at_random = sample(self._allowed, (round(wanted * settings.explore) if learned else wanted, 1), generator)
        at_random = mix_target_tokens(at_random, self._allowed, self._target, generator)[:, 0]
        found = [self._new_swaps(position, at_random[self._untried[position, at_random]])]
        missing = wanted - len(found[0])
        while missing > 0 and len(tokens := self._untried[position].nonzero()[:, 0]):
            pool = tokens[torch.randperm(len(tokens), generator=generator)[: settings.pool]]
            ranked = pool[self._expected_changes(position, pool).argsort().cpu()] if learned else pool
            while missing > 0 and len(ranked):
                found.append(self._new_swaps(position, ranked[:missing]))
                ranked = ranked[missing:]
                missing -= len(found[-1])
        return torch.cat(found)

    def _new_swaps(self, position: int, tokens: Tensor) -> Tensor:
        """Swap tokens in; return the new prompts that are stable under retokenization, (at most count, n)."""
        swaps = torch.stack([torch.full_like(tokens, position), tokens], dim=1)
        self._mark_tried(swaps)
        prompts = swapped(self._current.ids, swaps)
        return prompts[self._evaluator.is_new(prompts)]

    def _expected_changes(self, position: int, pool: Tensor) -> Tensor:
        """Return the expected change of the objective by each token at a position, (count,) on the model's device."""
        assert self._base is not None
        surprisal = None if self._base.surprisal is None else self._base.surprisal[position]
        features, device = token_features(self._model), self._model.device
        return posterior_mean(self._measured[position], pool, features, self._step, surprisal, device)

    def _propose_perturbations(self) -> Tensor:
        """Return `width` variants of the best prompt, with the locked tokens and `perturbation` random changes."""
        settings, generator, free = self._settings, self._generator, self._free
        best = self._current.ids.scatter(0, free, self._best.ids[free]).repeat(settings.width, 1)
        for _ in range(DRAWS):
            drawn = sample(self._allowed, (settings.width, settings.length), generator)
            others = mix_target_tokens(drawn, self._allowed, self._target, generator)
            order = torch.rand(settings.width, len(free), generator=generator).argsort(dim=1)[
                :, : settings.perturbation
            ]
            positions = free[order]
            prompts = best.scatter(1, positions, others.gather(1, positions))
            if len(prompts := prompts[self._evaluator.is_new(prompts)]):
                break
        return prompts
