"""HotFlip (Ebrahimi et al. 2018): the swaps that the gradient ranks first, from a beam of the best prompts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from distprompt_tui.config.spec import Hotflip
from distprompt_tui.search.candidates import best_overall, swapped
from distprompt_tui.search.evaluator import Parent
from distprompt_tui.search.token_search import SwapSearch


@dataclass(frozen=True)
class Member:
    """A prompt of the beam and its divergence in nats."""

    kl: float
    parent: Parent


class HotflipSearch(SwapSearch[Hotflip]):
    """The best-ranked swaps of every prompt in the beam; see `TokenSearch`.

    The beam holds the `beam` best prompts that were measured. One that stays in it is asked for its next swaps.
    """

    def _start(self) -> None:
        super()._start()
        assert self._parent is not None
        self._beam = [Member(self._now.objective, self._parent)]

    def _own(self) -> dict[str, Tensor]:
        return {
            "beam.ids": torch.stack([member.parent.ids for member in self._beam]),
            "beam.kls": torch.tensor([member.kl for member in self._beam]),
        }

    def _take_up(self, own: dict[str, Tensor]) -> None:
        prompts = own["beam.ids"].to(self._model.device)
        self._beam = [Member(kl, self._run(ids)) for ids, kl in zip(prompts, own["beam.kls"].tolist(), strict=True)]

    def _changed_by_hand(self) -> None:
        assert self._parent is not None
        self._beam = [Member(self._now.objective, self._parent)]

    def _run(self, ids: Tensor) -> Parent:
        return self._evaluator.parent(ids, with_gradient=True)

    def _propose(self) -> Tensor:
        share = -(-self._settings.width // len(self._beam))
        self._children = [self._best_fresh(member.parent, share) for member in self._beam]
        return torch.cat(self._children)

    def _best_fresh(self, parent: Parent, wanted: int) -> Tensor:
        """The best-ranked swaps of a parent that are new and survive being written as text, (at most wanted, n)."""
        scores = self._scored(parent)
        looked_at = wanted
        while True:
            swaps = best_overall(scores, looked_at)
            prompts = swapped(parent.ids, swaps)
            fresh = prompts[self._evaluator.fresh(prompts)]
            if len(fresh) >= wanted or len(swaps) < looked_at:
                return fresh[:wanted]
            looked_at *= 4

    def _take(self, prompts: Tensor) -> None:
        kls = [
            self._measure(children, member.parent) for children, member in zip(self._children, self._beam, strict=True)
        ]
        staying: list[tuple[float, Tensor, Parent | None]] = [(at.kl, at.parent.ids, at.parent) for at in self._beam]
        distinct = {
            tuple(ids.tolist()): (kl, ids, None) for kl, ids in zip(torch.cat(kls).tolist(), prompts, strict=True)
        }
        best = sorted([*staying, *distinct.values()], key=lambda place: place[0])[: self._settings.beam]
        self._beam = [Member(kl, parent or self._run(ids)) for kl, ids, parent in best]
        if self._beam[0].kl < self._now.objective:
            self._move_to(self._beam[0].parent.ids, self._beam[0].kl, self._beam[0].parent)
