"""What all searches over tokens share: from candidates to reports, the best kept, and a state to go on from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search.candidates import swap_scores
from distprompt_tui.search.evaluate import Evaluator, Parent
from distprompt_tui.search.initial import allowed_ids, initial_prompts
from distprompt_tui.search.protocol import Best, HardPrompt, SearchState, Step
from distprompt_tui.search.retokenise import surviving
from distprompt_tui.spec import Swaps, Tokens

Settings = TypeVar("Settings", bound=Tokens)
SwapSettings = TypeVar("SwapSettings", bound=Swaps)


@dataclass(frozen=True)
class Standing:
    """A prompt, its divergence in nats, the step that came to it and the steps that changed its positions last."""

    ids: Tensor
    kl: float
    step: int
    changed: tuple[int, ...]


class TokenSearch(ABC, Generic[Settings]):
    """A search over tokens; see `search.protocol.Search`.

    A method says which prompts a step measures, and where it goes from what they gave.

    Args:
        model: frozen.
        target: p, (V,), probabilities.
        settings: from the spec.
        total_steps: after which the search ends.
        seed: decides everything.
        warn: told what the person should know.
    """

    with_gradient: ClassVar[bool] = True
    """Whether candidates are ranked by the gradient at the prompt that they are made from."""

    def __init__(
        self,
        model: LanguageModel,
        target: Tensor,
        settings: Settings,
        total_steps: int,
        seed: int,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        model.check_length(settings.length)
        self._model = model
        self._target = target.to(model.device, torch.float32)
        self._settings = settings
        self._total = total_steps
        self._warn = warn
        self._generator = torch.Generator().manual_seed(seed)
        self._allowed = allowed_ids(model, settings)
        self._evaluator = Evaluator(model, target, settings.length, warn)
        self._step = 0
        self._now = self._best = Standing(torch.zeros(0, dtype=torch.long, device=model.device), float("inf"), 0, ())
        self._parent: Parent | None = None

    @abstractmethod
    def _start(self) -> None:
        """Go to the first prompt."""

    @abstractmethod
    def _propose(self) -> Tensor:
        """The prompts that the next step measures, (count, n); none where nothing is left to try."""

    @abstractmethod
    def _take(self, prompts: Tensor) -> None:
        """Measure them, and go where the method goes from there."""

    def steps(self) -> Iterator[Step]:
        """See `Search.steps`."""
        if self._parent is None:
            self._start()
        yield self._report()
        while self._step < self._total:
            prompts = self._propose()
            if not len(prompts):
                return
            self._step += 1
            self._take(prompts)
            yield self._report()

    @property
    def current(self) -> tuple[HardPrompt, Tensor]:
        """See `Search.current`."""
        assert self._parent is not None
        return HardPrompt(self._now.ids, self._now.changed), self._parent.logits

    @property
    def best(self) -> Best:
        """See `Search.best`."""
        best = self._best
        return Best(best.kl, HardPrompt(best.ids, best.changed), best.step)

    def state(self) -> SearchState:
        """See `Search.state`."""
        hashes, kls = self._evaluator.known()
        tensors = {
            "generator": self._generator.get_state(),
            "known_hashes": hashes,
            "known_kls": kls,
            "now.ids": self._now.ids.clone(),
            "best.ids": self._best.ids.clone(),
            **self._own(),
        }
        numbers = {
            "step": self._step,
            "positions": self._evaluator.positions,
            "batch": self._evaluator.batch.size,
            "fitted": self._evaluator.batch.fitted,
            **{
                name: {"kl": place.kl, "step": place.step, "changed": list(place.changed)}
                for name, place in (("now", self._now), ("best", self._best))
            },
        }
        return SearchState(tensors, numbers)

    def restore(self, state: SearchState) -> None:
        """See `Search.restore`."""
        self._now, self._best = (
            Standing(
                state.tensors[f"{name}.ids"].to(self._model.device),
                state.numbers[name]["kl"],
                state.numbers[name]["step"],
                tuple(state.numbers[name]["changed"]),
            )
            for name in ("now", "best")
        )
        self._step = state.numbers["step"]
        self._generator.set_state(state.tensors["generator"].cpu())
        batch = self._evaluator.batch
        batch.size, batch.fitted = state.numbers["batch"], state.numbers["fitted"]
        self._evaluator.restore_known(state.tensors["known_hashes"], state.tensors["known_kls"])
        self._parent = self._evaluator.parent(self._now.ids, with_gradient=self.with_gradient)
        self._take_up(state.tensors)
        self._evaluator.positions = state.numbers["positions"]  # what was worked again is in the count already

    def _own(self) -> dict[str, Tensor]:
        """What the method itself has to remember, by name."""
        return {}

    def _take_up(self, own: dict[str, Tensor]) -> None:
        """Go on from what `_own` gave; the current prompt and its parent are there already."""

    def _report(self) -> Step:
        return Step(self._step, (self._now.kl,), self._evaluator.positions)

    def _move_to(self, ids: Tensor, kl: float, parent: Parent | None = None) -> None:
        """Make a measured prompt the current one, and the best one if it is; `parent`: where it was run already."""
        old = self._now
        changed = [self._step] * len(ids)
        if len(old.ids) == len(ids):
            same = (ids == old.ids).tolist()
            changed = [before if kept else self._step for kept, before in zip(same, old.changed, strict=True)]
        self._now = Standing(ids, kl, self._step, tuple(changed))
        if kl < self._best.kl or self._parent is None:
            self._best = self._now
        self._parent = parent or self._evaluator.parent(ids, with_gradient=self.with_gradient)


class SwapSearch(TokenSearch[SwapSettings]):
    """A search that goes from prompt to prompt of the same length."""

    def _start(self) -> None:
        prompts = initial_prompts(self._model, self._settings, self._allowed, self._target, self._generator)
        kls = self._evaluator.measure(prompts)
        ids = prompts[int(kls.argmin())]
        if not all(surviving(self._model, [ids.tolist()])):
            self._warn("the prompt that the search starts from does not survive being written as text and read again")
        self._move_to(ids, float(kls.min()))

    @property
    def _free(self) -> Tensor:
        """Positions that may change, rising, (count,)."""
        free = sorted(set(range(self._settings.length)) - set(self._settings.locked))
        return torch.tensor(free, device=self._model.device)

    @property
    def _barred(self) -> Tensor:
        """Which token may not be put where, (n, V) bool."""
        barred = torch.ones(self._settings.length, self._model.vocab_size, dtype=torch.bool, device=self._model.device)
        barred[self._free[:, None], self._allowed] = False
        return barred

    def _scored(self, parent: Parent) -> Tensor:
        """First-order change of the divergence for every swap of a parent, (n, V); see `swap_scores`."""
        assert parent.gradient is not None
        return swap_scores(parent.gradient, parent.ids, self._model.embedding_matrix, self._barred)
