"""Exhaustive search over prompts of one token, and beam search over longer ones."""

from __future__ import annotations

import torch
from torch import Tensor

from distprompt_tui.core.config.search_specs import Exhaustive
from distprompt_tui.core.errors import UsageError
from distprompt_tui.search.base_prompt import BasePrompt
from distprompt_tui.search.token_search import TokenSearch


class ExhaustiveSearch(TokenSearch[Exhaustive]):
    """All prompts of one token, in chunks of one step each; see `TokenSearch`.

    Longer prompts extend the `beam` best shorter ones by every token. The best prompt may be shorter than `length`.
    """

    with_gradient = False

    def _start(self) -> None:
        self._stems = torch.zeros(1, 0, dtype=torch.long)
        self._stem: BasePrompt | None = None
        self._chunk = 0
        self._forget()
        prompts = self._propose()
        if not len(prompts):
            raise UsageError("in this context, the text of every single token is tokenised to other ids")
        self._accept(prompts)

    def _extra_state(self) -> dict[str, Tensor]:
        return {
            "stems": self._stems,
            "longest": self._longest,
            "longest.kls": self._longest_kls,
            "chunk": torch.tensor(self._chunk),
        }

    def _load_extra_state(self, own: dict[str, Tensor]) -> None:
        self._stems, self._longest = own["stems"].cpu(), own["longest"].cpu()
        self._longest_kls, self._chunk = own["longest.kls"], int(own["chunk"])
        self._run_stem((self._chunk - 1) // self._chunks)

    @property
    def _chunks(self) -> int:
        return -(-len(self._allowed) // self._settings.width)

    def _forget(self) -> None:
        self._longest = self._stems.new_empty(0, self._stems.shape[1] + 1)
        self._longest_kls = torch.empty(0)

    def _run_stem(self, index: int) -> None:
        stem = self._stems[index]
        self._stem = self._evaluator.base_prompt(stem, with_gradient=False) if len(stem) else None

    def _propose(self) -> Tensor:
        """Return the next chunk of a stem's continuations, or of the first stem of the next length."""
        while True:
            if self._chunk == len(self._stems) * self._chunks:
                if self._stems.shape[1] + 1 == self._settings.length or not len(self._longest):
                    return self._longest[:0]
                self._stems, self._chunk = self._longest, 0
                self._forget()
            index, offset = divmod(self._chunk, self._chunks)
            if offset == 0:
                self._run_stem(index)
            self._chunk += 1
            tokens = self._allowed[offset * self._settings.width :][: self._settings.width]
            prompts = torch.cat([self._stems[index].expand(len(tokens), -1), tokens[:, None]], dim=1)
            prompts = prompts[self._evaluator.is_new(prompts)]
            if len(prompts):
                return prompts

    def _accept(self, prompts: Tensor) -> None:
        kls = self._measure(prompts, self._stem)
        best = int(kls.argmin())
        if float(kls[best]) < self._current.objective:
            self._move_to(prompts[best], float(kls[best]))
        kls, order = torch.cat([self._longest_kls, kls]).sort(stable=True)
        self._longest_kls = kls[: self._settings.beam]
        self._longest = torch.cat([self._longest, prompts])[order[: self._settings.beam]]
