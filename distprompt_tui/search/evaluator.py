"""Measure divergences of many hard prompts, with a cache and a draft model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distprompt_tui.search.base_prompt import BasePrompt
from distprompt_tui.search.candidates import prompt_hashes
from distprompt_tui.search.prompt_runner import PromptRunner
from distprompt_tui.search.retokenization import is_retokenization_stable

MAX_CACHED = 1 << 18  # maximum number of cached divergences, about 40 MiB; the oldest are removed first

DRAFT_ONLY = math.nan  # marks prompts scored by the draft model only: they are not new, and are rescored on demand

RESCORE_TOP_K = 2  # number of the draft model's best prompts that the model measures at a time

RESCORE_MARGIN_NATS = 1e-3
"""Prompts that the draft model scores worse than the base prompt by more than this are not measured."""

Group = tuple[Tensor, BasePrompt | None]
"""Prompts, (count, n) on the CPU, and the prompt that they were made from, which may be shorter."""


class Evaluator(PromptRunner):
    """Measures prompts, which are on the CPU, and caches the results.

    With a draft model, which is faster and less exact, prompts are scored by it first. The model measures the best of
    them that score better than their base prompt: the lowest value that a call returns is exact if it is below that of
    the base prompt.
    """

    @cached_property
    def _cache(self) -> dict[int, float]:
        """Objectives by the hash of their prompt, oldest first."""
        return {}

    def is_new(self, prompts: Tensor) -> Tensor:
        """Return which prompts are stable under retokenization, not cached and not repeated, (count,) bool.

        Unstable prompts are cached with an infinite objective.
        """
        hashes = prompt_hashes(prompts)
        new = {value: row for row, value in reversed(list(enumerate(hashes))) if value not in self._cache}
        rows = sorted(new.values())
        survives = is_retokenization_stable(self._model, prompts[rows].tolist())
        self._remember({hashes[row]: float("inf") for row, good in zip(rows, survives, strict=True) if not good})
        is_new = torch.zeros(len(prompts), dtype=torch.bool)
        is_new[rows] = torch.tensor(survives, dtype=torch.bool)
        return is_new

    def measure(
        self, prompts: Tensor, base: BasePrompt | None = None, meanwhile: Callable[[], None] = lambda: None
    ) -> Tensor:
        """Compute the objective of prompts, (count, n), unless cached; nats, (count,) float32 on the CPU.

        `base` is the prompt that they were made from. It may be shorter. `meanwhile` is called once, before the host
        waits for the device.
        """
        return self.measure_groups([(prompts, base)], meanwhile)

    def measure_groups(self, groups: Sequence[Group], meanwhile: Callable[[], None] = lambda: None) -> Tensor:
        """Compute the objectives of several groups of prompts of one length, in the same batches; see `measure`.

        Returns:
            Nats, (count,) float32 on the CPU, for the prompts of all groups in their order.
        """
        prompts = torch.cat([prompts for prompts, _ in groups])
        of = np.repeat(np.arange(len(groups)), [len(prompts) for prompts, _ in groups])
        hashes = prompt_hashes(prompts)
        found = {value: self._cache[value] for value in hashes if self._is_measured(value)}
        rows = list({value: row for row, value in enumerate(hashes) if value not in found}.values())
        if rows:
            kls, exact = self._measure_new(prompts[rows], of[rows], [base for _, base in groups], meanwhile)
            new = [hashes[row] for row in rows]
            self._remember(dict(zip(new, kls.where(exact, DRAFT_ONLY).tolist(), strict=True)))
            found |= dict(zip(new, kls.tolist(), strict=True))
        else:
            meanwhile()
        return torch.tensor([found[value] for value in hashes], dtype=torch.float32)

    def measured(self, prompts: Tensor) -> Tensor:
        """Return which prompts were measured by the model, not only by the draft model; (count,) bool on the CPU."""
        return torch.tensor([self._is_measured(value) for value in prompt_hashes(prompts)])

    def cached(self) -> tuple[Tensor, Tensor]:
        """Return the cached hashes, (count,) int64, and objectives in nats, (count,) float32."""
        values = list(self._cache.values())
        return torch.tensor(list(self._cache), dtype=torch.long), torch.tensor(values, dtype=torch.float32)

    def load_cache(self, hashes: Tensor, kls: Tensor) -> None:
        self._cache = dict(zip(hashes.tolist(), kls.tolist(), strict=True))

    def _is_measured(self, value: int) -> bool:
        return not math.isnan(self._cache.get(value, DRAFT_ONLY))

    def _remember(self, kls: dict[int, float]) -> None:
        self._cache |= kls
        for oldest in list(islice(self._cache, max(0, len(self._cache) - MAX_CACHED))):
            del self._cache[oldest]

    def _measure_new(
        self, prompts: Tensor, of: NDArray[np.intp], bases: Sequence[BasePrompt | None], meanwhile: Callable[[], None]
    ) -> tuple[Tensor, Tensor]:
        """Compute objectives, (count,) float32 on the CPU, and which of them are exact, (count,) bool.

        `of` is the index of each prompt's base in `bases`.
        """
        roots = [base or self._root for base in bases]
        if self._draft_model is None or len(prompts) <= RESCORE_TOP_K:
            return self._run(self._model, prompts, of, roots, meanwhile), torch.ones(len(prompts), dtype=torch.bool)
        kls = self._run(self._draft_model, prompts, of, roots, meanwhile)
        exact = torch.zeros(len(prompts), dtype=torch.bool)
        good_enough = [math.inf if base is None else base.kl + RESCORE_MARGIN_NATS for base in bases]
        members = [torch.from_numpy(np.flatnonzero(of == group)) for group in range(len(bases))]
        while True:
            better = [
                rows[order[~exact[rows[order]]][:RESCORE_TOP_K]]
                for rows, enough in zip(members, good_enough, strict=True)
                if len(order := kls[rows].argsort()) and _is_worth_a_look(kls[rows], exact[rows], enough)
            ]
            if not better:
                return kls, exact
            rows = torch.cat(better)
            kls[rows] = self._run(self._model, prompts[rows], of[rows.numpy()], roots, lambda: None)
            exact[rows] = True


def _is_worth_a_look(kls: Tensor, exact: Tensor, enough: float) -> bool:
    """Return whether the lowest of a group's divergences, (count,), is not exact and below `enough`."""
    best = kls.argmin()
    return not exact[best] and float(kls[best]) < enough
