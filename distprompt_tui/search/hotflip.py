"""HotFlip (Ebrahimi et al. 2018): the swaps ranked best by the gradient, from a beam of the best prompts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from distprompt_tui.config.spec import Hotflip
from distprompt_tui.search.candidates import best_overall, swapped
from distprompt_tui.search.prompt_runner import BasePrompt
from distprompt_tui.search.token_search import SwapSearch


@dataclass(frozen=True)
class Member:
    kl: float
    base: BasePrompt


class HotflipSearch(SwapSearch[Hotflip]):
    """The best-ranked swaps of every prompt in the beam; see `TokenSearch`.

    The beam contains the `beam` best measured prompts. A prompt that remains in it proposes its next swaps.
    """

    def _start(self) -> None:
        super()._start()
        assert self._base is not None
        self._beam = [Member(self._current.objective, self._base)]

    def _extra_state(self) -> dict[str, Tensor]:
        return {
            "beam.ids": torch.stack([member.base.ids for member in self._beam]),
            "beam.kls": torch.tensor([member.kl for member in self._beam]),
        }

    def _load_extra_state(self, own: dict[str, Tensor]) -> None:
        prompts = own["beam.ids"].cpu()
        self._beam = [Member(kl, self._run(ids)) for ids, kl in zip(prompts, own["beam.kls"].tolist(), strict=True)]

    def _on_manual_edit(self) -> None:
        assert self._base is not None
        self._beam = [Member(self._current.objective, self._base)]

    def _run(self, ids: Tensor) -> BasePrompt:
        return self._evaluator.base_prompt(ids, with_gradient=True)

    def _propose(self) -> Tensor:
        share = -(-self._settings.width // len(self._beam))
        self._children = [self._best_new(member.base, share) for member in self._beam]
        return torch.cat(self._children)

    def _best_new(self, base: BasePrompt, wanted: int) -> Tensor:
        """Return the best-ranked new swaps that are stable under retokenization, (at most wanted, n)."""
        scores = self._scored(base)
        looked_at = wanted
        while True:
            swaps = best_overall(scores, looked_at)
            prompts = swapped(base.ids, swaps)
            new = prompts[self._evaluator.is_new(prompts)]
            if len(new) >= wanted or len(swaps) < looked_at:
                return new[:wanted]
            looked_at *= 4

    def _accept(self, prompts: Tensor) -> None:
        kls = [
            self._measure(children, member.base) for children, member in zip(self._children, self._beam, strict=True)
        ]
        staying: list[tuple[float, Tensor, BasePrompt | None]] = [(at.kl, at.base.ids, at.base) for at in self._beam]
        distinct = {
            tuple(ids.tolist()): (kl, ids, None) for kl, ids in zip(torch.cat(kls).tolist(), prompts, strict=True)
        }
        best = sorted([*staying, *distinct.values()], key=lambda place: place[0])[: self._settings.beam]
        self._beam = [Member(kl, base or self._run(ids)) for kl, ids, base in best]
        if self._beam[0].kl < self._current.objective:
            self._move_to(self._beam[0].base.ids, self._beam[0].kl, self._beam[0].base)
