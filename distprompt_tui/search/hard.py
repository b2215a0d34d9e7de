"""Hard prompts: token swaps ranked by the gradient, measured exactly, taken only where they help.

After HotFlip (Ebrahimi et al. 2018), AutoPrompt (Shin et al. 2020) and GCG (Zou et al. 2023), with a bank of initial
prompts made of the target's own tokens, no candidate measured twice, and the best swaps merged.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from distprompt_tui.divergence import entropy, logits_kl
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search.evaluate import divergences
from distprompt_tui.search.initial import random_ids, text_ids, usable_ids
from distprompt_tui.search.protocol import Best, HardPrompt, SearchState, Step
from distprompt_tui.search.retokenise import surviving
from distprompt_tui.spec import Hard

TARGET_TOKEN_SHARE = 0.5
"""Chance that a position of a bank prompt is drawn from the target instead of from the whole vocabulary."""

BANK_ROUNDS = 8
"""How often the bank is drawn again to find enough prompts whose text gives the same ids."""


class HardSearch:
    """Gradient-ranked single swaps on `length` tokens; see `search.protocol.Search`.

    The prompt only ever changes for a better one whose text is tokenised to the same ids.

    Args:
        model: frozen.
        target: p, (V,), probabilities.
        settings: from the spec.
        total_steps: after which the search ends.
        seed: decides everything.
    """

    def __init__(self, model: LanguageModel, target: Tensor, settings: Hard, total_steps: int, seed: int) -> None:
        model.check_length(settings.length)
        self._model = model
        self._entropy = float(entropy(target.double()))
        self._target = target.to(model.device, torch.float32)
        self._settings = settings
        self._total = total_steps
        self._generator = torch.Generator().manual_seed(seed)
        self._unusable = torch.ones(model.vocab_size, dtype=torch.bool, device=model.device)
        self._unusable[usable_ids(model)] = False
        self._context_length = len(model.prefix_ids) + len(model.suffix_ids)
        self._step = 0
        self._positions = 0
        self._best_step = 0
        self._kl = float("inf")
        self._ids = torch.zeros(0, dtype=torch.long, device=model.device)
        self._changed = [0] * settings.length
        self._tried = torch.zeros(settings.length, model.vocab_size, dtype=torch.bool, device=model.device)
        self._scores: Tensor | None = None
        self._logits = torch.zeros(model.vocab_size, device=model.device)

    def steps(self) -> Iterator[Step]:
        """See `Search.steps`."""
        if not len(self._ids):
            prompts = self._initial_prompts()
            kls = self._measure(prompts)
            self._move_to(prompts[int(kls.argmin())], float(kls.min()))
        yield Step(self._step, (self._kl,), self._positions)
        while self._step < self._total:
            swaps = self._propose()
            if not len(swaps):
                return  # every single swap was measured, and none is better
            self._step += 1
            self._take_best(swaps)
            yield Step(self._step, (self._kl,), self._positions)

    @property
    def current(self) -> tuple[HardPrompt, Tensor]:
        """See `Search.current`."""
        return HardPrompt(self._ids, tuple(self._changed)), self._logits

    @property
    def best(self) -> Best:
        """See `Search.best`."""
        return Best(self._kl, HardPrompt(self._ids, tuple(self._changed)), self._best_step)

    def state(self) -> SearchState:
        """See `Search.state`."""
        return SearchState(
            {"ids": self._ids.clone(), "tried": self._tried.clone(), "generator": self._generator.get_state()},
            {
                "step": self._step,
                "positions": self._positions,
                "best_step": self._best_step,
                "kl": self._kl,
                "changed": list(self._changed),
                "scored": self._scores is not None,
            },
        )

    def restore(self, state: SearchState) -> None:
        """See `Search.restore`."""
        self._step, self._positions, self._best_step, self._kl, self._changed = (
            state.numbers[name] for name in ("step", "positions", "best_step", "kl", "changed")
        )
        self._ids = state.tensors["ids"].to(self._model.device)
        self._tried = state.tensors["tried"].to(self._model.device)
        self._generator.set_state(state.tensors["generator"].cpu())
        self._measure_logits()
        # the scores follow from the prompt; their work is in the count already
        self._scores = self._swap_scores() if state.numbers["scored"] else None

    def _initial_prompts(self) -> Tensor:
        """(bank, n), prompts whose text gives the same ids; fewer, but at least one, where those are rare."""
        settings = self._settings
        if settings.init_text is not None:
            return text_ids(self._model, settings.init_text, settings.length)[None]
        wanted = 1 if settings.init == "random" else settings.bank
        kept: list[Tensor] = []
        for _ in range(BANK_ROUNDS):
            drawn = self._draw(wanted)
            kept += [
                ids for ids, survives in zip(drawn, surviving(self._model, drawn.tolist()), strict=True) if survives
            ]
            if len(kept) >= wanted:
                break
        return torch.stack(kept[:wanted] or [drawn[0]])

    def _draw(self, count: int) -> Tensor:
        """Random prompts, (count, n); in a bank, about half of the tokens are drawn from the target."""
        shape = (count, self._settings.length)
        drawn = random_ids(self._model, shape, self._generator)
        if self._settings.init == "random":
            return drawn
        masses = self._target.masked_fill(self._unusable, 0).cpu()
        if not masses.any():
            return drawn
        likely = torch.multinomial(masses, count * shape[1], replacement=True, generator=self._generator)
        from_target = torch.rand(shape, generator=self._generator) < TARGET_TOKEN_SHARE
        return torch.where(from_target.to(drawn.device), likely.view(shape).to(drawn.device), drawn)

    def _propose(self) -> Tensor:
        """Swaps to measure, (at most width, 2) of position and token: untried, drawn from the best-ranked, and such
        that the swapped prompt's text gives its ids again."""
        if self._scores is None:
            self._scores = self._swap_scores()
            self._positions += 3 * (self._settings.length + self._context_length)
        found: list[Tensor] = []
        missing = self._settings.width
        while missing > 0 and len(pool := self._best_untried()):
            drawn = pool[torch.randperm(len(pool), generator=self._generator)[:missing].to(pool.device)]
            self._tried[drawn[:, 0], drawn[:, 1]] = True
            survives = surviving(self._model, self._swapped(drawn).tolist())
            found.append(drawn[torch.tensor(survives, device=drawn.device)])
            missing -= len(found[-1])
        return torch.cat(found) if found else torch.empty(0, 2, dtype=torch.long)

    def _best_untried(self) -> Tensor:
        """The `top_k` best-ranked untried swaps of each position, (count, 2)."""
        assert self._scores is not None
        scores = self._scores.masked_fill(self._tried, torch.inf)
        values, tokens = scores.topk(min(self._settings.top_k, scores.shape[1]), largest=False)
        positions, columns = torch.isfinite(values).nonzero(as_tuple=True)
        return torch.stack([positions, tokens[positions, columns]], dim=1)

    def _swap_scores(self) -> Tensor:
        """First-order change of the divergence for putting token v at position i, (n, V): (E_v − E_current) · gradient.

        Tokens that a prompt may not hold, and those that it holds already, are infinitely bad.
        """
        matrix = self._model.embedding_matrix
        embeds = self._model.embedding(self._ids)[None].requires_grad_()
        logits_kl(self._target, self._model.next_token_logits(embeds), self._entropy).sum().backward()
        assert embeds.grad is not None
        gradient = embeds.grad[0]
        scores = gradient @ matrix.T - (gradient * matrix[self._ids]).sum(-1, keepdim=True)
        scores = scores.masked_fill(self._unusable, torch.inf)
        return scores.scatter(1, self._ids[:, None], torch.inf)

    def _take_best(self, swaps: Tensor) -> None:
        """Measure swaps and merges of the best ones; move to the best of all where it is an improvement."""
        prompts = self._swapped(swaps)
        kls = self._measure(prompts)
        merged = self._merges(swaps[kls.argsort()])
        if len(merged):
            prompts, kls = torch.cat([prompts, merged]), torch.cat([kls, self._measure(merged)])
        best = int(kls.argmin())
        if float(kls[best]) < self._kl:
            self._move_to(prompts[best], float(kls[best]))

    def _merges(self, swaps: Tensor) -> Tensor:
        """The best two swaps at once, the best three, up to `merge`, each at a position of its own; (count, n)."""
        merged = self._ids.clone()
        prompts: list[Tensor] = []
        used: set[int] = set()
        for position, token in swaps.tolist():
            if len(used) == self._settings.merge:
                break
            if position not in used:
                used.add(position)
                merged[position] = token
                prompts.append(merged.clone())
        several = prompts[1:]
        survives = surviving(self._model, [ids.tolist() for ids in several])
        kept = [ids for ids, good in zip(several, survives, strict=True) if good]
        return torch.stack(kept) if kept else self._ids.new_empty(0, len(self._ids))

    def _swapped(self, swaps: Tensor) -> Tensor:
        """The current prompt with each swap made, (count, n)."""
        prompts = self._ids.repeat(len(swaps), 1)
        prompts[torch.arange(len(swaps)), swaps[:, 0]] = swaps[:, 1]
        return prompts

    def _measure(self, prompts: Tensor) -> Tensor:
        self._positions += prompts.shape[0] * (prompts.shape[1] + self._context_length)
        return divergences(self._model, self._target, self._entropy, prompts)

    def _move_to(self, ids: Tensor, kl: float) -> None:
        if len(self._ids):
            moved = (ids != self._ids).tolist()
            self._changed = [self._step if new else old for new, old in zip(moved, self._changed, strict=True)]
        self._ids, self._kl, self._best_step = ids, kl, self._step
        self._scores = None
        self._tried.zero_()
        self._measure_logits()

    @torch.no_grad()
    def _measure_logits(self) -> None:
        self._logits = self._model.next_token_logits(self._ids[None])[0]
