"""What every search is to the worker that drives it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor


@dataclass(frozen=True)
class SoftPrompt:
    """Vectors in the model's input-embedding space, (n, d) float32."""

    vectors: Tensor


@dataclass(frozen=True)
class PositionCandidates:
    """Tokens that were tried at one position of a prompt.

    Attributes:
        step: when the newest of them was measured.
        kl: divergence of the prompt then, nats; with a fluency weight, its objective.
        tokens: each with the divergence of the prompt that has it there, the best first; the prompt's own among them.
        draft_only: those of which only a draft model has given a divergence, a tenth of a nat off or so.
    """

    step: int
    kl: float
    tokens: tuple[tuple[int, float], ...]
    draft_only: frozenset[int] = frozenset()


@dataclass(frozen=True)
class HardPrompt:
    """A prompt of tokens.

    Attributes:
        ids: (n,).
        changed: the step that changed each position last.
        improvement: by how many nats the divergence fell at that step; None for a token of the initial prompt.
            Positions that changed together have the same improvement.
        locked: positions that must not change, counted from 0.
        tried: what was tried at each position; empty where nobody kept it.
    """

    ids: Tensor
    changed: tuple[int, ...]
    improvement: tuple[float | None, ...] = ()
    locked: frozenset[int] = frozenset()
    tried: tuple[PositionCandidates | None, ...] = ()


Prompt = SoftPrompt | HardPrompt


@dataclass(frozen=True)
class Step:
    """One report of a search.

    Attributes:
        index: how many updates the current prompt has seen; 0 is the initial prompt.
        kls: divergence in nats of every prompt since the previous report, the current one last. A search on a GPU
            reports several updates at once, since each report makes the host wait.
        positions: work so far, in token positions through the backbone; a backward pass counts as two.
    """

    index: int
    kls: tuple[float, ...]
    positions: int


@dataclass(frozen=True)
class Best:
    """The lowest divergence so far, in nats, the prompt that gave it and the step at which it was found."""

    kl: float
    prompt: Prompt
    step: int


@dataclass(frozen=True)
class SearchState:
    """All that a search needs to go on exactly as if it had not stopped: tensors by name, and plain numbers."""

    tensors: dict[str, Tensor]
    numbers: dict[str, Any] = field(default_factory=dict)


class Search(Protocol):
    """Built from a language model, a target, its settings and a seed; the seed decides everything."""

    def steps(self) -> Iterator[Step]:
        """Run. The first report is step 0, or in a restored search the first one after the state's. The last report is
        the last planned step, or the step after which the search has nothing left to try."""

    @property
    def current(self) -> tuple[Prompt, Tensor]:
        """The newest prompt and its logits, (V,)."""

    @property
    def best(self) -> Best:
        """The best prompt so far; its divergence never rises."""

    def state_dict(self) -> SearchState:
        """To be restored later; asked between two steps."""

    def load_state_dict(self, state: SearchState) -> None:
        """Take up a state of a search with the same model, target and settings."""
