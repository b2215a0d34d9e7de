"""Hard prompts: token swaps ranked by the gradient, measured exactly, taken only where they help.

After HotFlip (Ebrahimi et al. 2018), AutoPrompt (Shin et al. 2020) and GCG (Zou et al. 2023), with a bank of initial
prompts made of the target's own tokens, no candidate measured twice, and the best swaps merged.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from distprompt_tui.search.candidates import best_swaps, first_changes, in_pairs, swapped
from distprompt_tui.search.evaluate import Parent
from distprompt_tui.search.initial import draw, partly_from_target
from distprompt_tui.search.token_search import SwapSearch
from distprompt_tui.spec import Hard

Kind = Literal["singles", "pairs", "variants"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class HardSearch(SwapSearch[Hard]):
    """Gradient-ranked single swaps; see `TokenSearch`. The prompt changes for a better one.

    A step that does not help is followed by one that tries its best swaps in pairs; after `patience` steps that do not
    help, one goes on from the best of many variants of the best prompt, worse or not.
    """

    _kind: Kind = "singles"
    """What the last step measured."""

    def _move_to(self, ids: Tensor, objective: float, parent: Parent | None = None) -> None:
        super()._move_to(ids, objective, parent)
        self._fruitless = 0
        self._rank()

    def _changed_by_hand(self) -> None:
        self._fruitless, self._kind = 0, "singles"
        self._rank()

    def _own(self) -> dict[str, Tensor]:
        return {
            "tried": torch.cat([torch.zeros(0, 2, dtype=torch.long), *self._struck]),
            "fruitless": torch.tensor(self._fruitless),
            "kind": torch.tensor(KINDS.index(self._kind)),
        }

    def _take_up(self, own: dict[str, Tensor]) -> None:
        self._fruitless, self._kind = int(own["fruitless"]), KINDS[int(own["kind"])]
        self._rank()
        self._strike(own["tried"].to(self._model.device))

    def _rank(self) -> None:
        """Score every swap of the current prompt; none was tried yet."""
        assert self._parent is not None
        self._scores = self._scored(self._parent)
        self._struck: list[Tensor] = []

    def _strike(self, swaps: Tensor) -> None:
        """These swaps, (count, 2), are done with."""
        self._scores[swaps[:, 0], swaps[:, 1]] = torch.inf
        self._struck.append(swaps.cpu())

    def _propose(self) -> Tensor:
        patience = self._settings.patience if len(self._free) > 1 else 0  # of one position, swaps are all there is
        if self._fruitless and self._kind == "singles":
            self._kind = "pairs"
            if len(prompts := self._pairs()):
                return prompts
        if not patience or self._fruitless < patience:
            self._kind = "singles"
            if len(prompts := self._singles()) or not patience:
                return prompts
        self._kind = "variants"
        return self._variants()

    def _take(self, prompts: Tensor) -> None:
        """Measure them, and merges of the best swaps; move to the best of all where it is an improvement."""
        kls = self._measure(prompts, None if self._kind == "variants" else self._parent)
        if self._kind == "singles":
            merged = self._merges(prompts[kls.argsort().to(prompts.device)])
            prompts = torch.cat([prompts, merged])
            kls = torch.cat([kls, self._evaluator.measure(merged, self._parent)])
        best = int(kls.argmin())
        if (self._kind == "variants" and kls[best].isfinite()) or float(kls[best]) < self._now.objective:
            self._move_to(prompts[best], float(kls[best]))
        else:
            self._fruitless += 1

    def _singles(self) -> Tensor:
        """Swapped prompts that are drawn from the best-ranked untried swaps."""
        found = [self._now.ids.new_empty(0, len(self._now.ids))]
        missing = self._settings.width
        while missing > 0 and len(pool := best_swaps(self._scores, self._settings.top_k)):
            drawn = pool[torch.randperm(len(pool), generator=self._generator)[:missing].to(pool.device)]
            self._strike(drawn)
            prompts = swapped(self._now.ids, drawn)
            found.append(prompts[self._evaluator.fresh(prompts)])
            missing -= len(found[-1])
        return torch.cat(found)

    def _pairs(self) -> Tensor:
        """The `pairs` best swaps that were measured, two at a time."""
        tried = torch.cat(self._struck).to(self._model.device)
        kls = self._evaluator.measure(swapped(self._now.ids, tried), self._parent)  # they are known
        prompts = in_pairs(self._now.ids, tried[kls.argsort()[: self._settings.pairs].to(tried.device)])
        return prompts[self._evaluator.fresh(prompts)]

    def _variants(self) -> Tensor:
        """The best prompt, with what is locked now, and `kick` random positions changed, `width` times."""
        settings = self._settings
        shape = (settings.width, settings.length)
        others = partly_from_target(
            draw(self._allowed, shape, self._generator), self._allowed, self._target, self._generator
        )
        free = self._free
        order = torch.rand(settings.width, len(free), generator=self._generator).argsort(dim=1)[:, : settings.kick]
        positions = free[order.to(free.device)]
        best = self._now.ids.scatter(0, free, self._best.ids[free])
        prompts = best.repeat(settings.width, 1).scatter(1, positions, others.gather(1, positions))
        return prompts[self._evaluator.fresh(prompts)]

    def _merges(self, prompts: Tensor) -> Tensor:
        """The first two swaps at once, the first three, up to `merge`, each at a position of its own; (count, n).

        Args:
            prompts: single swaps of the current one, the best first, (count, n).
        """
        merged = self._now.ids.clone()
        several: list[Tensor] = []
        used: set[int] = set()
        for position, ids in zip(first_changes(self._now.ids, prompts).tolist(), prompts, strict=True):
            if len(used) == self._settings.merge:
                break
            if position not in used:
                used.add(position)
                merged[position] = ids[position]
                several.append(merged.clone())
        found = torch.stack(several[1:]) if len(several) > 1 else prompts[:0]
        return found[self._evaluator.fresh(found)]
