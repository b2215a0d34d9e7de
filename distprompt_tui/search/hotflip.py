"""HotFlip (Ebrahimi et al. 2018): the swaps ranked best by the gradient, from a beam of the best prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from distprompt_tui.core.config.search_specs import Hotflip
from distprompt_tui.search.base_prompt import BasePrompt
from distprompt_tui.search.candidates import best_overall, swapped
from distprompt_tui.search.token_search import SwapSearch
from distprompt_tui.search.transfers import HOST


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
        self._beam = list(map(Member, own["beam.kls"].tolist(), self._run(list(prompts))))

    def _on_manual_edit(self) -> None:
        assert self._base is not None
        self._beam = [Member(self._current.objective, self._base)]

    def _run(self, prompts: Sequence[Tensor]) -> list[BasePrompt]:
        return self._evaluator.base_prompts(prompts, with_gradient=True)

    def _propose(self) -> Tensor:
        share = -(-self._settings.width // len(self._beam))
        scores = [self._scored(member.base) for member in self._beam]
        self._children = [
            self._best_new(member.base, table, swaps, share)
            for member, table, swaps in zip(self._beam, scores, best_overall(scores, share), strict=True)
        ]
        return torch.cat(self._children)

    def _best_new(self, base: BasePrompt, scores: Tensor, swaps: Tensor, wanted: int) -> Tensor:
        """Return the best-ranked new swaps that are stable under retokenization, (at most wanted, n).

        `swaps` are the `wanted` best ones by `scores`, (n, V).
        """
        looked_at = wanted
        while True:
            prompts = swapped(base.ids, swaps)
            new = prompts[self._evaluator.is_new(prompts)]
            if len(new) >= wanted or len(swaps) < looked_at:
                return new[:wanted]
            looked_at *= 4
            (swaps,) = best_overall([scores], looked_at)

    def _accept(self, prompts: Tensor) -> None:
        groups = [(children, member.base) for children, member in zip(self._children, self._beam, strict=True)]
        if self._model.device == HOST:  # where the last digits depend on the other prompts in a batch
            kls = torch.cat([self._measure(*group) for group in groups])
        else:
            kls = self._measure_groups(groups)
        staying: list[tuple[float, Tensor, BasePrompt | None]] = [(at.kl, at.base.ids, at.base) for at in self._beam]
        distinct = {tuple(ids.tolist()): (kl, ids, None) for kl, ids in zip(kls.tolist(), prompts, strict=True)}
        best = sorted([*staying, *distinct.values()], key=lambda place: place[0])[: self._settings.beam]
        new = [ids for _, ids, base in best if base is None]
        if (
            new and self._model.device != HOST
        ):  # all in one batch, as in a restored search, so that the digits are equal
            self._beam = list(map(Member, [kl for kl, _, _ in best], self._run([ids for _, ids, _ in best])))
        else:
            bases = iter(self._run(new))
            self._beam = [Member(kl, base or next(bases)) for kl, _, base in best]
        if self._beam[0].kl < self._current.objective:
            self._move_to(self._beam[0].base.ids, self._beam[0].kl, self._beam[0].base)
