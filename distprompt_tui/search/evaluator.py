"""Measure divergences of many hard prompts with caching, adaptive batches and shared prefixes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from distprompt_tui.metrics.divergence import entropy, logits_kl
from distprompt_tui.models.device import is_out_of_memory
from distprompt_tui.models.gradient import backward_pass
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.prefix_cache import Beginning, PrefixCache, Sharing
from distprompt_tui.search.batching import AdaptiveBatchSize, NonFiniteWarnings
from distprompt_tui.search.candidates import bucket_starts, first_changes, prompt_hashes
from distprompt_tui.search.initialization import random_ids
from distprompt_tui.search.retokenization import is_retokenization_stable

MAX_LOGITS = 1 << 25  # maximum number of logits at a time: 128 MiB in float32, 128 prompts with a vocabulary of 262,144

CALL_COSTS = {"cpu": 48}
OTHER_CALL_COST = 4096
"""Overhead of a call by device, in positions. On two cores, a call of SmolLM2 takes as long as about 30 positions, and
small calls use the cores less efficiently. On a GPU, kernel launches dominate."""

WAYS = {"cpu": (Sharing.KEYS, Sharing.STEPS, Sharing.STATES)}
OTHER_WAYS = (Sharing.KEYS, Sharing.STATES, Sharing.STEPS)
"""Ways of sharing a prefix by device, fastest first. On a CPU, transformers pads positions after a state to a chunk of
64 to 256; single steps take a twentieth of this time with Mamba-2. On a GPU, the number of calls dominates."""

MAX_CACHED = 1 << 18  # maximum number of cached divergences, about 40 MiB; the oldest are removed first

DRAFT_ONLY = math.nan  # marks prompts scored by the draft model only: they are not new, and are rescored on demand

RESCORE_TOP_K = 2  # number of the draft model's best prompts that the model measures at a time

RESCORE_MARGIN_NATS = 1e-3
"""Prompts that the draft model scores worse than the base prompt by more than this are not measured."""

MAX_STATES = 1 << 31  # maximum size of the recurrent states of a batch, in bytes: 2 GiB. Each prompt has its own state.

AS_EXACT = 10  # largest ratio between the error of the way of sharing in use and that of the most exact one

SAME_DIGITS = 8  # errors up to this many units in the last place count as equal

PROBES = 4  # number of prefixes in the test of a way of sharing


@dataclass(frozen=True)
class BasePrompt:
    """A prompt from which candidates are made.

    Attributes:
        ids: (n,).
        logits: (V,).
        prefix_cache: None if prefixes are not shared.
        draft_prefix_cache: the draft model's prefix cache.
        gradient: of the objective with respect to the embeddings, (n, d); None if not requested.
        kl: divergence, nats.
        surprisal: the objective's fluency term by position and token, (n, V); None without a fluency weight.
    """

    ids: Tensor
    logits: Tensor
    prefix_cache: PrefixCache | None
    draft_prefix_cache: PrefixCache | None = None
    gradient: Tensor | None = None
    kl: float = 0.0
    surprisal: Tensor | None = None


class Evaluator:
    """Measures prompts and caches the results.

    The objective is the divergence minus `fluency_weight` times the prompt's mean log-likelihood. With a fluency weight
    every candidate is run whole, since the logits of all positions are needed.

    With a draft model, which is faster and less exact, prompts are scored by it first. The model measures the best of
    them that score better than their base prompt: the lowest value that a call returns is exact if it is below that of
    the base prompt.

    Each way of sharing a prefix is tested once on this model, until one leaves the logits unchanged. If none does,
    every prompt is run whole and a warning gives the reason.

    Args:
        target: p, (V,), probabilities.
        length: length of the prompts.
        draft_model: the same model in lower precision; used only if prefixes are shared.

    Attributes:
        positions: work so far, in token positions through the backbones of both models; a backward pass counts as two.
        batch: batch size.
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
        self._cache: dict[int, float] = {}
        self._nonfinite_warnings = NonFiniteWarnings(warn)
        self.positions = 0
        rows = 1 + length if fluency_weight else 1
        self.batch = AdaptiveBatchSize(max(1, MAX_LOGITS // (rows * model.vocab_size)))
        self._sharing = None if fluency_weight else self._way_of_sharing(warn)
        self._draft_model = draft_model if self._sharing is Sharing.KEYS else None
        self._root = self._prefix_alone()

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
        return is_new.to(prompts.device)

    def measure(self, prompts: Tensor, base: BasePrompt | None = None) -> Tensor:
        """Compute the objective of prompts, (count, n), unless cached; nats, (count,) float32 on the CPU.

        `base` is the prompt that they were made from. It may be shorter.
        """
        hashes = prompt_hashes(prompts)
        found = {value: self._cache[value] for value in hashes if self._is_measured(value)}
        rows = list({value: row for row, value in enumerate(hashes) if value not in found}.values())
        if rows:
            kls, exact = self._measure_new(prompts[rows], base)
            new = [hashes[row] for row in rows]
            self._remember(dict(zip(new, kls.where(exact, DRAFT_ONLY).tolist(), strict=True)))
            found |= dict(zip(new, kls.tolist(), strict=True))
        return torch.tensor([found[value] for value in hashes], dtype=torch.float32)

    def measured(self, prompts: Tensor) -> Tensor:
        """Return which prompts were measured by the model, not only by the draft model; (count,) bool on the CPU."""
        return torch.tensor([self._is_measured(value) for value in prompt_hashes(prompts)])

    def base_prompt(self, ids: Tensor, *, with_gradient: bool) -> BasePrompt:
        """Run a prompt; return it with its prefix caches and, if requested, the gradient."""
        prompt = self._model.embedding(ids)[None].requires_grad_() if with_gradient else ids[None]
        with torch.set_grad_enabled(with_gradient):
            logits, prefix_cache, likelihood, log_q = self._run_one(prompt, ids)
            kl = logits_kl(self._target, logits, self._entropy)
        self.positions += (3 if with_gradient else 1) * (len(ids) + self._around)
        draft_prefix_cache = self._draft_prefix_cache(ids)
        gradient = None
        if with_gradient:
            with backward_pass(self._model.name):
                (kl - self._fluency_weight * likelihood).sum().backward()
            assert prompt.grad is not None
            gradient = prompt.grad[0].nan_to_num(0.0, 0.0, 0.0)
        surprisal = (
            None
            if log_q is None
            else log_q.detach() * (-self._fluency_weight / max(self._model.num_predicted(len(ids)), 1))
        )
        return BasePrompt(
            ids, logits[0].detach(), prefix_cache, draft_prefix_cache, gradient, float(kl.detach()), surprisal
        )

    def candidates_within_budget(self, width: int, position: int) -> int:
        """Return the number of candidates at a position that cost as much as `width` at an average position."""
        if self._sharing is None:
            return width
        behind = len(self._model.suffix_ids)
        average = (self._length + 1) / 2 + behind
        return max(1, round(width * average / (self._length - position + behind)))

    def cached(self) -> tuple[Tensor, Tensor]:
        """Return the cached hashes, (count,) int64, and objectives in nats, (count,) float32."""
        values = list(self._cache.values())
        return torch.tensor(list(self._cache), dtype=torch.long), torch.tensor(values, dtype=torch.float32)

    def load_cache(self, hashes: Tensor, kls: Tensor) -> None:
        self._cache = dict(zip(hashes.tolist(), kls.tolist(), strict=True))

    @property
    def _around(self) -> int:
        return len(self._model.prefix_ids) + len(self._model.suffix_ids)

    def _is_measured(self, value: int) -> bool:
        return not math.isnan(self._cache.get(value, DRAFT_ONLY))

    def _remember(self, kls: dict[int, float]) -> None:
        self._cache |= kls
        for oldest in list(islice(self._cache, max(0, len(self._cache) - MAX_CACHED))):
            del self._cache[oldest]

    def _run_one(self, prompt: Tensor, ids: Tensor) -> tuple[Tensor, PrefixCache | None, Tensor | float, Tensor | None]:
        """Return logits, (1, V), prefix cache if shared; with a fluency weight, likelihood, (1,), and log q, (n, V)."""
        if self._fluency_weight:
            logits, likelihood, log_q = self._model.logits_and_likelihood(prompt, ids[None])
            return logits, None, likelihood, log_q[0]
        if self._sharing is not None:
            return *self._model.logits_and_prefix_cache(prompt, self._sharing), 0.0, None
        return self._model.next_token_logits(prompt), None, 0.0, None

    @torch.no_grad()
    def _draft_prefix_cache(self, ids: Tensor) -> PrefixCache | None:
        if self._draft_model is None:
            return None
        self.positions += len(ids) + self._around
        return self._draft_model.logits_and_prefix_cache(ids[None])[1]

    def _measure_new(self, prompts: Tensor, base: BasePrompt | None) -> tuple[Tensor, Tensor]:
        """Compute objectives, (count,) float32 on the CPU, and which of them are exact, (count,) bool."""
        good_enough = math.inf if base is None else base.kl + RESCORE_MARGIN_NATS
        base = base or self._root
        if self._draft_model is None or len(prompts) <= RESCORE_TOP_K:
            return self._run(self._model, prompts, base), torch.ones(len(prompts), dtype=torch.bool)
        kls = self._run(self._draft_model, prompts, base)
        exact = torch.zeros(len(prompts), dtype=torch.bool)
        while not exact[best := kls.argmin()] and float(kls[best]) < good_enough:
            order = kls.argsort()
            rows = order[~exact[order]][:RESCORE_TOP_K]
            kls[rows] = self._run(self._model, prompts[rows.to(prompts.device)], base)
            exact[rows] = True
        return kls, exact

    def _run(self, model: LanguageModel, prompts: Tensor, base: BasePrompt | None) -> Tensor:
        """Compute objectives of prompts, (count, n), in buckets by their first change; (count,) float32 on the CPU."""
        if base is None:
            return self._in_batches(model, prompts, None)
        prefix_cache = base.draft_prefix_cache if model is self._draft_model else base.prefix_cache
        if prefix_cache is None:
            return self._in_batches(model, prompts, None)
        total = prompts.shape[1] + self._around
        changes = len(self._model.prefix_ids) + first_changes(base.ids, prompts)
        firsts = changes.clamp_max(self._last_start(prefix_cache, total)).cpu().numpy()
        call_cost = CALL_COSTS.get(self._model.device.type, OTHER_CALL_COST)
        starts = bucket_starts(
            firsts, total, lambda start: prefix_cache.overhead(start, total - start, call_cost) if start else call_cost
        )
        kls = torch.empty(len(prompts))
        for start, end in zip(starts, [*starts[1:], total + 1], strict=True):
            rows = torch.from_numpy(np.flatnonzero((firsts >= start) & (firsts < end)))
            kls[rows] = self._behind(model, prompts[rows.to(prompts.device)], prefix_cache, start)
        return kls

    def _last_start(self, prefix_cache: PrefixCache, total: int) -> int:
        """Return the length of the longest prefix that inputs of `total` positions can share; 0 if there is none."""
        last = total - prefix_cache.least
        return last if last >= len(self._model.prefix_ids) else 0

    @torch.no_grad()
    def _behind(self, model: LanguageModel, prompts: Tensor, prefix_cache: PrefixCache, start: int) -> Tensor:
        """Compute objectives, (count,), of prompts that share `start` positions, including the fixed prefix."""
        if not start:
            return self._in_batches(model, prompts, None)
        self.positions += prefix_cache.to_run(start)
        return self._in_batches(model, prompts[:, start - len(model.prefix_ids) :], prefix_cache.truncated(start))

    @torch.no_grad()
    def _in_batches(self, model: LanguageModel, prompts: Tensor, prefix_cache: Beginning | None) -> Tensor:
        """Compute objectives of prompts, or of their parts after a prefix cache, in batches; infinite if not finite."""
        around = self._around - (len(self._model.prefix_ids) if prefix_cache else 0)

        def measure(rows: slice) -> Tensor:
            part = prompts[rows]
            found = self._objective(model, part, prefix_cache).cpu()
            self.positions += len(part) * (part.shape[1] + around)
            return found

        most = max(1, MAX_STATES // prefix_cache.size) if prefix_cache is not None and prefix_cache.size else None
        found = torch.cat(self.batch.run(len(prompts), measure, most))
        if lost := int((~found.isfinite()).sum()):
            self._nonfinite_warnings.add(lost, "these prompts are rejected")
        return found.nan_to_num(torch.inf, torch.inf, torch.inf)

    def _objective(self, model: LanguageModel, prompts: Tensor, prefix_cache: Beginning | None) -> Tensor:
        if not self._fluency_weight:
            return logits_kl(self._target, model.next_token_logits(prompts, prefix_cache), self._entropy)
        logits, likelihood, _ = model.logits_and_likelihood(prompts, prompts)
        return logits_kl(self._target, logits, self._entropy) - self._fluency_weight * likelihood

    def _prefix_alone(self) -> BasePrompt | None:
        if self._sharing is None or not self._model.prefix_ids:
            return None
        return self.base_prompt(torch.zeros(0, dtype=torch.long, device=self._model.device), with_gradient=False)

    def _way_of_sharing(self, warn: Callable[[str], None]) -> Sharing | None:
        """Return the fastest way of sharing that changes only the last digits; warn and return None if there is none.

        Half of the dtype's digits must agree: products of other shapes differ in the other half. In a model with a weak
        dependence on its state, a layer that ignores the state may pass this test, so the way must also be about as
        exact as the others.
        """
        why = "this kind of model cannot continue from a cached prefix"
        eps = torch.finfo(self._model.dtype).eps
        exact: dict[Sharing, float] = {}
        ways = WAYS.get(self._model.device.type, OTHER_WAYS)
        for self._sharing in ways:
            try:
                off, size, scale = self._trial()
            except Exception as error:  # unsupported use of a model raises errors of any type
                if is_out_of_memory(error):
                    raise
                continue
            if size > MAX_STATES:
                why = f"its state takes {size / 2**30:.3g} GiB per prompt, the limit is {MAX_STATES / 2**30:.3g} GiB"
            elif off > eps**0.5 * scale:
                why = (
                    f"with a shared prefix, its divergences have an error of {off:.2g} nats, "
                    f"more than {eps**0.5 * scale:.2g}"
                )
            else:
                exact[self._sharing] = max(off, SAME_DIGITS * eps * scale)
                if self._sharing is Sharing.KEYS:
                    break
        if exact:
            return next(way for way, off in exact.items() if off <= AS_EXACT * min(exact.values()))
        warn(f"every candidate is run whole, which is slower: {why}")
        return None

    def _trial(self) -> tuple[float, int, float]:
        """Measure random prompts with and without sharing; return the largest difference, nats, bytes of state of a
        prompt, and the largest divergence, at least 1 nat.

        Those with a shared prefix are measured twice, in a batch: a model with a state outside its cache may be correct
        the first time only.
        """
        generator = torch.Generator().manual_seed(0)
        ids, *others = random_ids(self._model, (2 * PROBES + 1, self._length), generator)
        prefix_cache = self.base_prompt(ids, with_gradient=False).prefix_cache
        assert prefix_cache is not None
        prompts = torch.stack([ids, *others])[1:]
        shared, behind = torch.empty(2, 2 * PROBES), 0
        prefix = len(self._model.prefix_ids)
        last = self._last_start(prefix_cache, self._length + self._around)
        for probe in range(PROBES):
            start = (probe + 1) * self._length // (PROBES + 1)
            rows = slice(2 * probe, 2 * probe + 2)
            prompts[rows, :start] = ids[:start]
            behind = min(prefix + start, last)
            for again in range(2):
                shared[again, rows] = self._behind(self._model, prompts[rows], prefix_cache, behind)
        size = prefix_cache.truncated(behind).size if behind else 0
        whole = self._in_batches(self._model, prompts, None)
        off = float((shared - whole).abs().nan_to_num(0.0, torch.inf).max())  # ∞ − ∞: equally rejected
        return off, size, max(1.0, float(whole.max()))
