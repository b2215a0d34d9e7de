"""Run many hard prompts on a model: prefixes that they share run once, and batches adapt to the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distprompt_tui.core.config.device_widths import MAX_LOGITS
from distprompt_tui.core.metrics.divergence import entropy, logits_kl
from distprompt_tui.models.gradient import backward_pass
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.prefix_cache import (
    Beginning,
    KeysAndValues,
    PrefixCache,
    Sharing,
    keys_and_values_for_rows,
)
from distprompt_tui.search.base_prompt import BasePrompt
from distprompt_tui.search.batching import AdaptiveBatchSize, NonFiniteWarnings
from distprompt_tui.search.candidates import bucket_starts, first_changes
from distprompt_tui.search.initialization import random_ids
from distprompt_tui.search.prefix_sharing import MAX_STATES, SharingTrial, choose_sharing
from distprompt_tui.search.transfers import HOST, Readback, upload

CALL_COSTS = {"cpu": 48}
OTHER_CALL_COST = 4096
"""Overhead of a call by device, in positions. On two cores, a call of SmolLM2 takes as long as about 30 positions, and
small calls use the cores less efficiently. On a GPU, kernel launches dominate."""

PROBES = 4  # number of prefixes in the test of a way of sharing


class PromptRunner:
    """Computes objectives of prompts, which are on the CPU.

    The objective is the divergence minus `fluency_weight` times the prompt's mean log-likelihood. With a fluency weight
    every prompt is run whole, since the logits of all positions are needed.

    Each way of sharing a prefix is tested once on this model, until one leaves the logits unchanged. If none does,
    every prompt is run whole and a warning gives the reason.

    Args:
        target: p, (V,), probabilities.
        length: length of the prompts.
        draft_model: the same model in lower precision; used only if prefixes are shared.

    Attributes:
        positions: work so far, in token positions through the backbones of both models; a backward pass counts as two.
        batch: batch size.
        readback: results to be read with the next objectives.
    """

    def __init__(
        self,
        model: LanguageModel,
        target: Tensor,
        length: int,
        warn: Callable[[str], None],
        fluency_weight: float = 0.0,
        draft_model: LanguageModel | None = None,
    ) -> None:
        self._model = model
        self._draft_model: LanguageModel | None = None  # set below, if prefixes are shared
        self._fluency_weight = fluency_weight
        self._length = length
        self._entropy = float(entropy(target.double()))
        self._target = target.to(model.device, torch.float32)
        self.readback = Readback()
        self._nonfinite_warnings = NonFiniteWarnings(warn)
        self.positions = 0
        rows = 1 + length if fluency_weight else 1
        self.batch = AdaptiveBatchSize(max(1, MAX_LOGITS // (rows * model.vocab_size)))
        self._sharing: Sharing | None = None
        if not fluency_weight:
            eps = torch.finfo(model.dtype).eps
            self._sharing = choose_sharing(model.device.type, eps, self._try_sharing, warn)
        self._draft_model = draft_model if self._sharing is Sharing.KEYS else None
        self._root = self._prefix_alone()

    def base_prompt(self, ids: Tensor, *, with_gradient: bool) -> BasePrompt:
        """Run a prompt, (n,); return it with its prefix caches and, if requested, the gradient."""
        return self._base_prompts(ids[None], with_gradient=with_gradient)[0]

    def base_prompts(self, prompts: Sequence[Tensor], *, with_gradient: bool) -> list[BasePrompt]:
        """As `base_prompt` for several prompts, (n,) each: in one batch, except on a CPU and if states are cached.

        On a CPU, the last digits would depend on the other prompts in the batch.
        """
        if len(prompts) < 2 or self._model.device == HOST or self._sharing in (Sharing.STATES, Sharing.STEPS):
            return [self.base_prompt(ids, with_gradient=with_gradient) for ids in prompts]
        ids = torch.stack(list(prompts))
        parts = self.batch.run(len(ids), lambda rows: self._base_prompts(ids[rows], with_gradient=with_gradient))
        return list(chain.from_iterable(parts))

    def _base_prompts(self, ids: Tensor, *, with_gradient: bool) -> list[BasePrompt]:
        """Run prompts, (count, n), in one batch."""
        prompts = upload(ids, self._model.device)
        if with_gradient:
            prompts = self._model.embedding(prompts).requires_grad_()
        with torch.set_grad_enabled(with_gradient):
            logits, prefix_cache, likelihood, log_q = self._run_whole(prompts, ids)
            kls = logits_kl(self._target, logits, self._entropy)
        self.positions += (3 if with_gradient else 1) * len(ids) * (ids.shape[1] + self._around)
        draft_prefix_cache = self._draft_prefix_cache(ids)
        gradient = None
        if with_gradient:
            with backward_pass(self._model.name):
                (kls - self._fluency_weight * likelihood).sum().backward()
            assert prompts.grad is not None
            gradient = prompts.grad.nan_to_num(0.0, 0.0, 0.0)
        surprisal = (
            None
            if log_q is None
            else log_q.detach() * (-self._fluency_weight / max(self._model.num_predicted(ids.shape[1]), 1))
        )
        return [
            BasePrompt(
                ids[row],
                logits[row].detach(),
                kls[row].detach(),
                _cache_of(prefix_cache, row),
                _cache_of(draft_prefix_cache, row),
                None if gradient is None else gradient[row],
                None if surprisal is None else surprisal[row],
            )
            for row in range(len(ids))
        ]

    def candidates_within_budget(self, width: int, position: int) -> int:
        """Return the number of candidates at a position that cost as much as `width` at an average position."""
        if self._sharing is None:
            return width
        behind = len(self._model.suffix_ids)
        average = (self._length + 1) / 2 + behind
        return max(1, round(width * average / (self._length - position + behind)))

    @property
    def _around(self) -> int:
        return len(self._model.prefix_ids) + len(self._model.suffix_ids)

    def _run_whole(
        self, prompts: Tensor, ids: Tensor
    ) -> tuple[Tensor, PrefixCache | None, Tensor | float, Tensor | None]:
        """Run ids or embeddings of prompts, whose ids, (count, n), are on the CPU.

        Returns:
            Logits, (count, V), and the prefix cache if it is shared. With a fluency weight, also the likelihood,
            (count,), and log q, (count, n, V).
        """
        if self._fluency_weight:
            logits, likelihood, log_q = self._model.logits_and_likelihood(prompts, upload(ids, self._model.device))
            return logits, None, likelihood, log_q
        model = self._model
        if not prompts.is_floating_point():
            prompts, model = self._whole(ids), without_context(model)
        if self._sharing is not None:
            return *model.logits_and_prefix_cache(prompts, self._sharing), 0.0, None
        return model.next_token_logits(prompts), None, 0.0, None

    @torch.no_grad()
    def _draft_prefix_cache(self, ids: Tensor) -> PrefixCache | None:
        if self._draft_model is None:
            return None
        self.positions += len(ids) * (ids.shape[1] + self._around)
        return without_context(self._draft_model).logits_and_prefix_cache(self._whole(ids))[1]

    def _run(
        self,
        model: LanguageModel,
        prompts: Tensor,
        of: NDArray[np.intp],
        bases: Sequence[BasePrompt | None],
        meanwhile: Callable[[], None],
    ) -> Tensor:
        """Compute objectives of prompts, (count, n), in buckets by their first change; (count,) float32 on the CPU."""
        attribute = "draft_prefix_cache" if model is self._draft_model else "prefix_cache"
        caches: list[PrefixCache | None] = [getattr(base, attribute, None) for base in bases]
        rows, parts = [], []
        for members in self._batched_together(of, caches):
            for bucket, start in self._buckets(prompts[torch.from_numpy(members)], of[members], bases, caches):
                chosen = members[bucket]
                rows.append(chosen[np.argsort(of[chosen], kind="stable")])  # prompts of a base stand together
                parts.append(self._behind(model, prompts[torch.from_numpy(rows[-1])], of[rows[-1]], caches, start))
        meanwhile()
        kls = torch.empty(len(prompts))
        kls[torch.from_numpy(np.concatenate(rows))] = self._read(torch.cat(parts))
        return kls

    def _batched_together(
        self, of: NDArray[np.intp], caches: Sequence[PrefixCache | None]
    ) -> Iterator[NDArray[np.intp]]:
        """Divide prompts into parts whose batches may mix prompts of several bases: all, unless states are cached."""
        if all(cache is None or isinstance(cache, KeysAndValues) for cache in caches):
            yield np.arange(len(of))
        else:
            for group in np.unique(of):
                yield np.flatnonzero(of == group)

    def _buckets(
        self,
        prompts: Tensor,
        of: NDArray[np.intp],
        bases: Sequence[BasePrompt | None],
        caches: Sequence[PrefixCache | None],
    ) -> Iterator[tuple[NDArray[np.intp], int]]:
        """Divide prompts by their first change: rows, and the positions that they share with their bases."""
        groups = np.unique(of).tolist()
        shared = next((cache for group in groups if (cache := caches[group]) is not None), None)
        if shared is None:
            yield np.arange(len(prompts)), 0
            return
        total, prefix = prompts.shape[1] + self._around, len(self._model.prefix_ids)
        firsts = np.zeros(len(prompts), dtype=np.int64)  # without a cache, prompts run whole
        for group in groups:
            base, rows = bases[group], np.flatnonzero(of == group)
            if base is not None and caches[group] is not None:
                firsts[rows] = prefix + first_changes(base.ids, prompts[torch.from_numpy(rows)]).numpy()
        firsts = firsts.clip(max=self._last_start(shared, total))
        call_cost = CALL_COSTS.get(self._model.device.type, OTHER_CALL_COST)
        starts = bucket_starts(
            firsts, total, lambda start: shared.overhead(start, total - start, call_cost) if start else call_cost
        )
        for start, end in zip(starts, [*starts[1:], total + 1], strict=True):
            yield np.flatnonzero((firsts >= start) & (firsts < end)), start

    def _last_start(self, prefix_cache: PrefixCache, total: int) -> int:
        """Return the length of the longest prefix that inputs of `total` positions can share; 0 if there is none."""
        last = total - prefix_cache.least
        return last if last >= len(self._model.prefix_ids) else 0

    @torch.no_grad()
    def _behind(
        self,
        model: LanguageModel,
        prompts: Tensor,
        of: NDArray[np.intp],
        caches: Sequence[PrefixCache | None],
        start: int,
    ) -> Tensor:
        """Compute objectives, (count,), of prompts that share `start` positions with their bases, prefix included."""
        if not start:
            return self._in_batches(model, prompts, None)
        behind = prompts[:, start - len(model.prefix_ids) :]
        first = caches[of[0]]
        assert first is not None  # prompts without a cache are in the bucket that starts at 0
        if (of == of[0]).all():
            self.positions += first.to_run(start)
            beginning = first.truncated(start)
            return self._in_batches(model, behind, lambda rows: beginning, beginning.size)

        def beginning_of(rows: slice) -> Beginning:
            groups, counts = np.unique(of[rows], return_counts=True)
            shared = [cache for group in groups if isinstance(cache := caches[group], KeysAndValues)]
            return keys_and_values_for_rows(shared, counts.tolist(), start)

        return self._in_batches(model, behind, beginning_of)

    @torch.no_grad()
    def _in_batches(
        self, model: LanguageModel, prompts: Tensor, beginning: Callable[[slice], Beginning] | None, size: int = 0
    ) -> Tensor:
        """Compute objectives of prompts, or of their parts after prefix caches, in batches; (count,) on the device.

        Args:
            beginning: rows → their prefix cache.
            size: of the cache, in bytes for each prompt.
        """
        around = self._around - (len(self._model.prefix_ids) if beginning else 0)

        def measure(rows: slice) -> Tensor:
            part = prompts[rows]
            found = self._objective(model, part, None if beginning is None else beginning(rows))
            self.positions += len(part) * (part.shape[1] + around)
            return found

        return torch.cat(self.batch.run(len(prompts), measure, max(1, MAX_STATES // size) if size else None))

    def _read(self, objectives: Tensor) -> Tensor:
        """Copy objectives, (count,), to the CPU; infinite if not finite."""
        found = self.readback.read(objectives)
        if lost := int((~found.isfinite()).sum()):
            self._nonfinite_warnings.add(lost, "these prompts are rejected")
        return found.nan_to_num(torch.inf, torch.inf, torch.inf)

    def _objective(self, model: LanguageModel, prompts: Tensor, prefix_cache: Beginning | None) -> Tensor:
        if not self._fluency_weight:
            inputs = self._whole(prompts, with_prefix=prefix_cache is None)
            return logits_kl(
                self._target, without_context(model).next_token_logits(inputs, prefix_cache), self._entropy
            )
        prompts = upload(prompts, model.device)
        logits, likelihood, _ = model.logits_and_likelihood(prompts, prompts)
        return logits_kl(self._target, logits, self._entropy) - self._fluency_weight * likelihood

    def _whole(self, prompts: Tensor, *, with_prefix: bool = True) -> Tensor:
        """Upload prompts, (count, n), with the context around them in the same copy."""
        prefix, suffix = (
            torch.tensor(ids, dtype=torch.long).expand(len(prompts), -1)
            for ids in (self._model.prefix_ids if with_prefix else (), self._model.suffix_ids)
        )
        return upload(torch.cat([prefix, prompts, suffix], dim=1), self._model.device)

    def _prefix_alone(self) -> BasePrompt | None:
        if self._sharing is None or not self._model.prefix_ids:
            return None
        return self.base_prompt(torch.zeros(0, dtype=torch.long), with_gradient=False)

    def _try_sharing(self, way: Sharing) -> SharingTrial:
        """Measure random prompts with and without sharing.

        Those with a shared prefix are measured twice, in a batch: a model with a state outside its cache may be correct
        the first time only.
        """
        self._sharing = way
        generator = torch.Generator().manual_seed(0)
        ids, *others = random_ids(self._model, (2 * PROBES + 1, self._length), generator)
        prefix_cache = self.base_prompt(ids, with_gradient=False).prefix_cache
        assert prefix_cache is not None
        prompts = torch.stack([ids, *others])[1:]
        shared, behind = torch.empty(2, 2 * PROBES), 0
        prefix = len(self._model.prefix_ids)
        last = self._last_start(prefix_cache, self._length + self._around)
        alone = np.zeros(2, dtype=np.intp)  # both prompts of a probe have the same base
        for probe in range(PROBES):
            start = (probe + 1) * self._length // (PROBES + 1)
            rows = slice(2 * probe, 2 * probe + 2)
            prompts[rows, :start] = ids[:start]
            behind = min(prefix + start, last)
            for again in range(2):
                shared[again, rows] = self._read(
                    self._behind(self._model, prompts[rows], alone, [prefix_cache], behind)
                )
        size = prefix_cache.truncated(behind).size if behind else 0
        whole = self._read(self._in_batches(self._model, prompts, None))
        off = float((shared - whole).abs().nan_to_num(0.0, torch.inf).max())  # ∞ − ∞: equally rejected
        return SharingTrial(off, size, max(1.0, float(whole.max())))


def without_context(model: LanguageModel) -> LanguageModel:
    """Return a model for inputs that contain the context."""
    return replace(model, prefix_ids=(), suffix_ids=())


def _cache_of(cache: PrefixCache | None, row: int) -> PrefixCache | None:
    """Return the cache of one prompt of a batch; other caches than keys and values are of one prompt already."""
    return cache.of_row(row) if isinstance(cache, KeysAndValues) else cache
