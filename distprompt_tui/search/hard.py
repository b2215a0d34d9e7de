"""Hard prompts: token swaps ranked by the gradient, measured exactly, taken only where they help.

After HotFlip (Ebrahimi et al. 2018), AutoPrompt (Shin et al. 2020) and GCG (Zou et al. 2023), with a bank of initial
prompts made of the target's own tokens, no candidate measured twice, and the best swaps merged.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distprompt_tui.search.candidates import best_swaps, first_changes, swapped
from distprompt_tui.search.evaluate import Parent
from distprompt_tui.search.token_search import SwapSearch
from distprompt_tui.spec import Hard


class HardSearch(SwapSearch[Hard]):
    """Gradient-ranked single swaps; see `TokenSearch`. The prompt only ever changes for a better one."""

    def _move_to(self, ids: Tensor, kl: float, parent: Parent | None = None) -> None:
        super()._move_to(ids, kl, parent)
        self._rank()

    def _own(self) -> dict[str, Tensor]:
        return {"tried": torch.cat([torch.zeros(0, 2, dtype=torch.long), *self._tried])}

    def _take_up(self, own: dict[str, Tensor]) -> None:
        self._rank()
        self._strike(own["tried"].to(self._model.device))

    def _rank(self) -> None:
        """Score every swap of the current prompt; none was tried yet."""
        assert self._parent is not None
        self._scores = self._scored(self._parent)
        self._tried: list[Tensor] = []

    def _strike(self, swaps: Tensor) -> None:
        """These swaps, (count, 2), are done with."""
        self._scores[swaps[:, 0], swaps[:, 1]] = torch.inf
        self._tried.append(swaps.cpu())

    def _propose(self) -> Tensor:
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

    def _take(self, prompts: Tensor) -> None:
        """Measure swaps and merges of the best ones; move to the best of all where it is an improvement."""
        kls = self._evaluator.measure(prompts, self._parent)
        merged = self._merges(prompts[kls.argsort().to(prompts.device)])
        if len(merged):
            prompts = torch.cat([prompts, merged])
            kls = torch.cat([kls, self._evaluator.measure(merged, self._parent)])
        best = int(kls.argmin())
        if float(kls[best]) < self._now.kl:
            self._move_to(prompts[best], float(kls[best]))

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
        if len(several) < 2:
            return prompts[:0]
        found = torch.stack(several[1:])
        return found[self._evaluator.fresh(found)]
