"""Greedy coordinate gradient (Zou et al. 2023) as in nanoGCG: the baseline for the other searches."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from distprompt_tui.core.config.search_specs import Gcg
from distprompt_tui.models.large_matrix import float32_product
from distprompt_tui.search.candidates import random_replacements
from distprompt_tui.search.initialization import DRAWS
from distprompt_tui.search.retokenization import is_retokenization_stable
from distprompt_tui.search.token_search import SwapSearch


class GcgSearch(SwapSearch[Gcg]):
    """Random swaps from each position's `top_k` by the gradient; see `TokenSearch`.

    Every step moves to the best of them, even if it is worse than the current prompt.
    """

    @cached_property
    def _allowed_there(self) -> Tensor:
        """`_allowed` on the model's device."""
        return self._allowed.to(self._model.device)

    def _propose(self) -> Tensor:
        assert self._base is not None
        assert self._base.gradient is not None
        change = float32_product(self._base.gradient, self._model.embedding_matrix)
        if self._base.surprisal is not None:
            change = change + self._base.surprisal
        change = change[:, self._allowed_there]
        best = change.topk(min(self._settings.top_k, len(self._allowed)), largest=False).indices
        settings, tokens = self._settings, self._allowed[best.cpu()]
        for _ in range(DRAWS):
            prompts = random_replacements(
                self._current.ids, self._free, tokens, settings.width, settings.n_replace, self._generator
            )
            survives = is_retokenization_stable(self._model, prompts.tolist())
            if any(survives):
                break
        return prompts[torch.tensor(survives)]

    def _accept(self, prompts: Tensor) -> None:
        kls = self._measure(prompts, self._base)
        if kls.min().isfinite():
            self._move_to(prompts[int(kls.argmin())], float(kls.min()))
