"""Hard prompts: token swaps ranked by a surrogate model, measured exactly, and accepted if they lower the objective.

A coordinate search like ARCA (Jones et al. 2023) and AutoPrompt (Shin et al. 2020), with three differences: swaps are
ranked by a regression on all measured swaps at their position, not by the gradient; the number of candidates at a
position is inversely proportional to their cost; and the search starts from a pool of prompts with target tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from distprompt_tui.core.config.device_widths import Widths
from distprompt_tui.core.config.search_specs import Hard
from distprompt_tui.core.errors import UsageError
from distprompt_tui.models.bf16_copy import gains_from_half_precision, in_half_precision
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search.base_prompt import BasePrompt
from distprompt_tui.search.chain import Chain, Shared
from distprompt_tui.search.device_widths import chosen_widths
from distprompt_tui.search.token_search import ScoredPrompt, SwapSearch
from distprompt_tui.search.transfers import HOST

CHAIN_SEED = 1_000_003  # difference between the seeds of successive chains' generators


class HardSearch(SwapSearch[Hard]):
    """Swaps at one position of each chain in each step; see `TokenSearch` and `Chain`.

    A chain moves to a better prompt only. After `patience` steps without improvement, it moves to the best of many
    variants of the best prompt, even if it is worse. The observations of all positions are kept throughout. The chains'
    candidates are measured in the same batches. `current` is the best of the chains' current prompts.
    """

    with_gradient = False

    def __init__(
        self,
        model: LanguageModel,
        target: Tensor,
        settings: Hard,
        total_steps: int,
        seed: int,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        super().__init__(model, target, settings, total_steps, seed, warn)
        self._seed = seed
        self._counts: list[int] = []
        self._make_chains(chosen_widths(settings, model))

    def _make_chains(self, widths: Widths) -> None:
        """Create chains without a prompt. The first one uses the random numbers of a search with a single chain."""
        shared = Shared(self._model, self._settings, widths.width, self._evaluator, self._allowed, self._target)
        seeds = [self._seed + CHAIN_SEED * number for number in range(1, widths.chains)]
        generators = [self._generator, *(torch.Generator().manual_seed(seed) for seed in seeds)]
        self._chains = [Chain(shared, generator, self._current, self._current) for generator in generators]
        self._shown = self._chains[0]

    @property
    def _draft_model(self) -> LanguageModel | None:
        is_used = self._settings.draft and not self._fluency_weight and gains_from_half_precision(self._model)
        return in_half_precision(self._model) if is_used else None

    def _start(self) -> None:
        self._locked = frozenset(self._settings.locked)
        self._move_chains({number: self._initial_prompt(at.generator) for number, at in enumerate(self._chains)})
        self._show_best()

    def _move_chains(self, moves: dict[int, tuple[Tensor, float]]) -> None:
        """Move chains, by number, to measured prompts, (n,), with these objectives.

        On an accelerator, the prompts of all chains run in one batch. A restored search repeats this batch, so that it
        has the same digits.
        """
        numbers = list(range(len(self._chains))) if moves and self._model.device != HOST else list(moves)
        prompts = [moves[number][0] if number in moves else self._chains[number].current.ids for number in numbers]
        bases = self._evaluator.base_prompts(prompts, with_gradient=False)
        for number, base in zip(numbers, bases, strict=True):
            if number in moves:
                self._move_chain(self._chains[number], *moves[number], base)
            else:
                self._chains[number].base = base

    def _run_chains(self) -> None:
        prompts = [chain.current.ids for chain in self._chains]
        for chain, base in zip(self._chains, self._evaluator.base_prompts(prompts, with_gradient=False), strict=True):
            chain.base = base

    def _move_chain(self, chain: Chain, ids: Tensor, objective: float, base: BasePrompt | None = None) -> None:
        """Move a chain to a measured prompt, (n,), and update the best ones; `base` avoids another run if given."""
        chain.base = base or self._evaluator.base_prompt(ids, with_gradient=False)
        kl = chain.base.kl if self._fluency_weight else objective
        chain.current = self._changed_prompt(chain.current, ids, objective, kl)
        chain.steps_without_improvement = 0
        chain.reset_tried(self._forbidden)
        if objective < chain.best.objective:
            chain.best = chain.current

    def _move_to(self, ids: Tensor, objective: float, base: BasePrompt | None = None) -> None:
        self._move_chain(self._shown, ids, objective, base)
        self._show(self._shown)

    def _show(self, chain: Chain) -> None:
        self._shown, self._current, self._base, self._candidate_log = chain, chain.current, chain.base, chain.log

    def _show_best(self) -> None:
        self._show(min(self._chains, key=lambda chain: chain.current.objective))

    def _on_manual_edit(self) -> None:
        """Let all chains continue from the prompt that is shown."""
        for chain in self._chains:
            chain.current, chain.base, chain.steps_without_improvement = self._current, self._base, 0
            chain.reset_tried(self._forbidden)
        if len(self._chains) > 1:
            self._run_chains()

    def _propose(self) -> Tensor:
        free = self._free.tolist()
        best = [self._best if self._settings.exchange else chain.best for chain in self._chains]
        proposed = [chain.propose(free, at.ids, self._step) for chain, at in zip(self._chains, best, strict=True)]
        self._counts = [len(prompts) for prompts in proposed]
        return torch.cat(proposed)

    def _accept(self, prompts: Tensor) -> None:
        parts = prompts.split(self._counts)
        bases = [None if chain.position is None else chain.base for chain in self._chains]
        meanwhile = self._rank_ahead if self._model.device != HOST else lambda: None
        measured = self._evaluator.measure_groups(list(zip(parts, bases, strict=True)), meanwhile)
        moves: dict[int, tuple[Tensor, float]] = {}
        results = zip(self._chains, parts, measured.split(self._counts), strict=True)
        for number, (chain, part, objectives) in enumerate(results):
            if not len(part):
                continue
            if chain is self._shown:
                exact, at = self._evaluator.measured(part), chain.current
                chain.log.note(at.ids, at.objective, self._step, part, objectives, exact)
            chain.observe(part, objectives, self._step)
            best = int(objectives.argmin())
            is_perturbation = chain.position is None and bool(objectives[best].isfinite())
            if is_perturbation or float(objectives[best]) < chain.current.objective:
                moves[number] = part[best], float(objectives[best])
            else:
                chain.steps_without_improvement += 1
        self._move_chains(moves)
        self._show_best()

    def _rank_ahead(self) -> None:
        free = self._free.tolist()
        for chain in self._chains:
            chain.rank_ahead(free, self._step)

    def _extra_state(self) -> dict[str, Tensor]:
        first, *others = self._chains
        state = {"widths": torch.tensor([first.shared.width, len(self._chains)]), **first.state()}
        if others:
            for number, chain in enumerate(self._chains):
                prefix = f"chain{number}."
                state |= _as_tensors(chain.current, f"{prefix}now.") | _as_tensors(chain.best, f"{prefix}best.")
                if number:
                    state |= {f"{prefix}generator": chain.generator.get_state(), **chain.state(prefix)}
        return state

    def _load_extra_state(self, own: dict[str, Tensor]) -> None:
        if "order" not in own:
            raise UsageError(
                "the hard search of an earlier version cannot be resumed: "
                "start a new run from its prompt with search.init=prompt and search.init_prompt=RUN"
            )
        now = Widths(self._chains[0].shared.width, 1)  # earlier versions had one chain
        self._make_chains(Widths(*own["widths"].tolist()) if "widths" in own else now)
        first, *others = self._chains
        first.current, first.best, first.base = self._current, self._best, self._base
        if others:
            for number, chain in enumerate(self._chains):
                prefix = f"chain{number}."
                chain.current, chain.best = (_scored_prompt(own, f"{prefix}{name}.") for name in ("now", "best"))
                if number:
                    chain.generator.set_state(own[f"{prefix}generator"].cpu())
                    chain.load_state(own, self._forbidden, prefix)
            self._run_chains()
        first.load_state(own, self._forbidden)
        self._show_best()


def _as_tensors(at: ScoredPrompt, prefix: str) -> dict[str, Tensor]:
    """Return a prompt as tensors, whose names begin with a prefix."""
    improvement = [float("nan") if value is None else value for value in at.improvement]
    return {
        f"{prefix}ids": at.ids.clone(),
        f"{prefix}numbers": torch.tensor([at.kl, at.objective, at.step], dtype=torch.float64),
        f"{prefix}changed": torch.tensor(at.changed),
        f"{prefix}improvement": torch.tensor(improvement, dtype=torch.float64),
    }


def _scored_prompt(tensors: dict[str, Tensor], prefix: str) -> ScoredPrompt:
    """Return the prompt of `_as_tensors`."""
    kl, objective, step = tensors[f"{prefix}numbers"].tolist()
    improvement = (None if math.isnan(value) else value for value in tensors[f"{prefix}improvement"].tolist())
    changed = tuple(tensors[f"{prefix}changed"].tolist())
    return ScoredPrompt(tensors[f"{prefix}ids"].cpu(), kl, objective, int(step), changed, tuple(improvement))
