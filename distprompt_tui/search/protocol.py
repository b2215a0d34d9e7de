"""Interface between searches and the worker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor


@dataclass(frozen=True)
class SoftPrompt:
    vectors: Tensor  # (n, d) float32, input embeddings


@dataclass(frozen=True)
class PositionCandidates:
    """Tokens tried at one position of a prompt.

    Attributes:
        step: step of the newest measurement.
        kl: divergence of the prompt at that step, nats; with a fluency weight, its objective.
        tokens: pairs of a token and the divergence of the prompt with it, best first, including the prompt's own token.
        draft_only: tokens measured by the draft model only, with an error of about a tenth of a nat.
    """

    step: int
    kl: float
    tokens: tuple[tuple[int, float], ...]
    draft_only: frozenset[int] = frozenset()


@dataclass(frozen=True)
class HardPrompt:
    """A prompt of tokens.

    Attributes:
        ids: (n,) on the CPU.
        changed: last step that changed each position.
        improvement: decrease of the divergence at that step, nats; None for a token of the initial prompt. Positions
            that changed together have the same improvement.
        locked: positions that must not change, counted from 0.
        tried: candidates of each position; empty if they are not recorded.
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
        index: number of updates; 0 for the initial prompt.
        kls: divergences in nats of all prompts since the previous report, the current one last. A search on a GPU
            reports several updates at once, since each report synchronises with the host.
        positions: work so far, in token positions through the backbone; a backward pass counts as two.
    """

    index: int
    kls: tuple[float, ...]
    positions: int


@dataclass(frozen=True)
class Best:
    kl: float  # lowest divergence so far, nats
    prompt: Prompt
    step: int


@dataclass(frozen=True)
class SearchState:
    """The complete state of a search: tensors by name, and plain numbers."""

    tensors: dict[str, Tensor]
    numbers: dict[str, Any] = field(default_factory=dict)


class Search(Protocol):
    """A search; deterministic for a given language model, target, settings and seed."""

    def steps(self) -> Iterator[Step]:
        """Run the search.

        Yields:
            A report for step 0, or for the first step after a restored state, up to the last planned step or the step
            without further candidates.
        """

    @property
    def current(self) -> tuple[Prompt, Tensor]:
        """The newest prompt and its logits, (V,)."""

    @property
    def best(self) -> Best:
        """The best prompt so far; its divergence never increases."""

    def state_dict(self) -> SearchState:
        """Return the state between two steps; the restored search continues exactly as without a stop."""

    def load_state_dict(self, state: SearchState) -> None:
        """Restore the state of a search with the same model, target and settings."""
