"""Exact divergences of many hard prompts: none twice, in batches that fit, and what they share only once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from distprompt_tui.metrics.divergence import entropy, logits_kl
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.prefix_cache import Beginning, PrefixCache, Sharing
from distprompt_tui.search.batching import AdaptiveBatchSize, NonFiniteWarnings, is_out_of_memory
from distprompt_tui.search.candidates import bucket_starts, first_changes, prompt_hashes
from distprompt_tui.search.initialization import random_ids
from distprompt_tui.search.retokenization import is_retokenization_stable

MAX_LOGITS = 1 << 25
"""Logits that are alive at once: 128 MiB in float32. A vocabulary of 262,144 is measured 128 prompts at a time."""

CALL_COSTS = {"cpu": 48}
OTHER_CALL_COST = 4096
"""What a call costs besides its positions, in positions. On two cores a call of SmolLM2 takes as long as some 30, and
small ones use the cores less well; on a GPU it is the launches that cost."""

WAYS = {"cpu": (Sharing.KEYS, Sharing.STEPS, Sharing.STATES)}
OTHER_WAYS = (Sharing.KEYS, Sharing.STATES, Sharing.STEPS)
"""Ways of sharing, the fastest first. On a CPU, transformers fills up several positions behind a state to a chunk of 64
to 256; by steps, a Mamba-2 takes a twentieth of the time. On a GPU it is the calls that cost."""

MAX_CACHED = 1 << 18
"""Prompts whose divergence is remembered; beyond, the oldest are forgotten first. Some 40 MiB."""

DRAFT_ONLY = math.nan
"""Marks prompts scored by the draft model only: they are not new, and are rescored on demand."""

RESCORE_TOP_K = 2
"""So many of the draft model's best are measured at once."""

RESCORE_MARGIN_NATS = 1e-3
"""What the draft model finds worse than the base prompt by more than this is not measured; nats."""

MAX_STATES = 1 << 31
"""Bytes of recurrent states that are alive at once: 2 GiB. Every prompt in a batch has its own."""

AS_EXACT = 10
"""So many times less exact than another way of sharing the one that is used may be,"""

SAME_DIGITS = 8
"""where differences of so many units in the last place count as none."""

PROBES = 4
"""Beginnings on which it is tried out whether sharing changes anything."""


@dataclass(frozen=True)
class BasePrompt:
    """A prompt that others are made from.

    Attributes:
        ids: (n,).
        logits: (V,).
        prefix_cache: None where it is not shared.
        draft_prefix_cache: the draft model's.
        gradient: of the objective by its embeddings, (n, d); None where nobody asked.
        kl: its divergence, nats.
        surprisal: what the objective rises by for a token's own unlikeliness, by position and token, (n, V); None where
            fluency does not count.
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

    With a draft model, which is faster and less exact, prompts go through it first. Those that it finds best, and
    better than their base prompt, are measured: the lowest value that a call returns is exact wherever it is below
    that of the base prompt.

    Each way of sharing a prefix is tested once on this model, until one leaves the logits unchanged. If none does,
    every prompt is run whole and a warning gives the reason.

    Args:
        model: frozen.
        target: p, (V,), probabilities.
        length: of the prompts to come.
        warn: told why nothing is shared.
        fluency_weight: weight of the prompt's log-likelihood.
        draft_model: the same model in fewer digits; used where beginnings are shared.

    Attributes:
        positions: work so far, in token positions through the backbone, the draft model's as well; a backward pass
            counts as two.
        batch: prompts that are run at once.
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
        self._draft_model: LanguageModel | None = None  # not before it is known whether beginnings are shared
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
        """Which prompts' text gives their ids again and are not known yet, nor stand twice in these; (count,) bool.

        Those whose text gives others are known from then on: as infinitely bad.
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
        """The objective of each prompt; those that were measured, and the second of two alike, cost nothing.

        Args:
            prompts: ids, (count, n).
            base: what they were made from; they may be longer than it.

        Returns:
            Nats, (count,) float32 on the CPU.
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
        """Which prompts the model itself has measured, (count,) bool on the CPU: not only the draft model."""
        return torch.tensor([self._is_measured(value) for value in prompt_hashes(prompts)])

    def base_prompt(self, ids: Tensor, *, with_gradient: bool) -> BasePrompt:
        """Run one prompt to make others from it, with what they will share and which way is down."""
        prompt = self._model.embedding(ids)[None].requires_grad_() if with_gradient else ids[None]
        with torch.set_grad_enabled(with_gradient):
            logits, prefix_cache, likelihood, log_q = self._run_one(prompt, ids)
            kl = logits_kl(self._target, logits, self._entropy)
        self.positions += (3 if with_gradient else 1) * (len(ids) + self._around)
        draft_prefix_cache = self._draft_prefix_cache(ids)
        gradient = None
        if with_gradient:
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
        """How many candidates may be measured at a position for what `width` cost at an average one."""
        if self._sharing is None:
            return width
        behind = len(self._model.suffix_ids)
        average = (self._length + 1) / 2 + behind
        return max(1, round(width * average / (self._length - position + behind)))

    def cached(self) -> tuple[Tensor, Tensor]:
        """What is remembered: hashes, (count,) int64, and nats, (count,) float32."""
        values = list(self._cache.values())
        return torch.tensor(list(self._cache), dtype=torch.long), torch.tensor(values, dtype=torch.float32)

    def load_cache(self, hashes: Tensor, kls: Tensor) -> None:
        """Take up what `known` gave."""
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
        """Logits, (1, V), prefix cache where shared, and where fluency counts likelihood, (1,), and (n, V) of it."""
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
        """Objectives of prompts, (count,) float32 on the CPU, and which of them are exact, (count,) bool."""
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
        """Objectives of prompts by a model, (count,) float32 on the CPU, in buckets by where they begin to differ.

        Args:
            model: ours, or the draft model.
            prompts: ids, (count, n).
            base: what they were made from.
        """
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
        """The longest beginning that inputs of `total` positions may share; 0 if they must be run whole."""
        last = total - prefix_cache.least
        return last if last >= len(self._model.prefix_ids) else 0

    @torch.no_grad()
    def _behind(self, model: LanguageModel, prompts: Tensor, prefix_cache: PrefixCache, start: int) -> Tensor:
        """Objectives of prompts that share the first `start` positions, the fixed prefix included; (count,)."""
        if not start:
            return self._in_batches(model, prompts, None)
        self.positions += prefix_cache.to_run(start)
        return self._in_batches(model, prompts[:, start - len(model.prefix_ids) :], prefix_cache.truncated(start))

    @torch.no_grad()
    def _in_batches(self, model: LanguageModel, prompts: Tensor, prefix_cache: Beginning | None) -> Tensor:
        """Objectives of prompts, or of what is left of them behind a prefix cache; as many at once as fit the memory.

        What is no number is infinitely bad.
        """
        around = self._around - (len(self._model.prefix_ids) if prefix_cache else 0)

        def measure(rows: slice) -> Tensor:
            part = prompts[rows]
            found = self._objective(model, part, prefix_cache).cpu()
            self.positions += len(part) * (part.shape[1] + around)
            return found

        most = max(1, MAX_STATES // prefix_cache.size) if prefix_cache is not None and prefix_cache.size else None
        found = torch.cat(self.batch.run(len(prompts), measure, most))
        if lost := int((~found.isfinite()).sum()):
            self._nonfinite_warnings.add(lost, "such prompts are rejected")
        return found.nan_to_num(torch.inf, torch.inf, torch.inf)

    def _objective(self, model: LanguageModel, prompts: Tensor, prefix_cache: Beginning | None) -> Tensor:
        """Of prompts that fit the memory, (count, n), or of what is left of them behind a prefix cache."""
        if not self._fluency_weight:
            return logits_kl(self._target, model.next_token_logits(prompts, prefix_cache), self._entropy)
        logits, likelihood, _ = model.logits_and_likelihood(prompts, prompts)
        return logits_kl(self._target, logits, self._entropy) - self._fluency_weight * likelihood

    def _prefix_alone(self) -> BasePrompt | None:
        """What prompts without a base prompt share: the fixed prefix."""
        if self._sharing is None or not self._model.prefix_ids:
            return None
        return self.base_prompt(torch.zeros(0, dtype=torch.long, device=self._model.device), with_gradient=False)

    def _way_of_sharing(self, warn: Callable[[str], None]) -> Sharing | None:
        """The fastest way of sharing that changes nothing but the last digits; none, and a warning, if all do.

        Half of the dtype's digits must agree: other shapes of the same products differ in the others. A layer that
        ignores its state may change no more than that in a model that remembers little, so a way must also be about as
        exact as the others.
        """
        why = "this kind of model cannot continue the beginning of a prompt from what it keeps of it"
        eps = torch.finfo(self._model.dtype).eps
        exact: dict[Sharing, float] = {}
        ways = WAYS.get(self._model.device.type, OTHER_WAYS)
        for self._sharing in ways:
            try:
                off, size, scale = self._trial()
            except Exception as error:  # a model that is used in a way that it was not made for raises anything
                if is_out_of_memory(error):
                    raise
                continue
            if size > MAX_STATES:
                why = f"its state takes {size / 2**30:.3g} GiB for each, more than {MAX_STATES / 2**30:.3g} GiB in all"
            elif off > eps**0.5 * scale:
                why = (
                    f"with a shared beginning its divergences are off by {off:.2g} nats, "
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
        """Whether sharing changes anything: a few random prompts, measured both ways.

        They are measured behind a shared beginning twice, in a batch: a model that keeps its state elsewhere than in
        the cache that it gives may be right once.

        Returns:
            The largest difference, nats; bytes of state for each prompt; nats that are large here, 1 at least.
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
