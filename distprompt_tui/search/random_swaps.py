"""Random single swaps, accepted if they lower the objective: a baseline without gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from distprompt_tui.core.config.search_specs import RandomSwaps
from distprompt_tui.search.candidates import swapped
from distprompt_tui.search.initialization import DRAWS, sample
from distprompt_tui.search.token_search import SwapSearch


class RandomSearch(SwapSearch[RandomSwaps]):
    with_gradient = False

    def _propose(self) -> Tensor:
        found = [self._current.ids.new_empty(0, self._settings.length)]
        missing = self._settings.width
        for _ in range(DRAWS):
            swaps = [sample(choices, (missing,), self._generator) for choices in (self._free, self._allowed)]
            prompts = swapped(self._current.ids, torch.stack(swaps, dim=1))
            found.append(prompts[self._evaluator.is_new(prompts)])
            missing -= len(found[-1])
            if not missing:
                break
        distinct: Tensor = torch.cat(found).unique(dim=0)
        return distinct

    def _accept(self, prompts: Tensor) -> None:
        kls = self._measure(prompts, self._base)
        if float(kls.min()) < self._current.objective:
            self._move_to(prompts[int(kls.argmin())], float(kls.min()))
