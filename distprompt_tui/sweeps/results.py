"""One row of a sweep's table: a search that has ended, and what it was asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from distprompt_tui.bounds.values import Bounds
from distprompt_tui.storage.decode import Count, Finite


class SearchConfig(NamedTuple):
    """What searches of a sweep have in common where they are compared, timed or batched."""

    method: str
    model: str
    length: int

    def __str__(self) -> str:
        unit = "vectors" if self.method == "soft" else "tokens"
        return f"{Path(self.model).name}, {self.method}, {self.length} {unit}"


@dataclass(frozen=True)
class ResultRow:
    """One search of a sweep. Divergences and entropies are in nats."""

    key: str
    """Digest of the search's spec: the same spec has the same key on every machine."""
    model: str
    series: str
    """The sweep's name for this kind of target: "vanilla", "outlier, 1 token", "lm, other tokenizer"."""
    family: str
    method: str
    length: Count
    entropy_asked: Finite | None
    """The grid's entropy; None where the target was taken as it comes."""
    target_index: Count
    """Which of the targets at this point of the grid: rows of two series that share it are a pair."""
    seed: Count
    kl: Finite
    kl_string: Finite | None
    """Hard prompts: the divergence of the decoded string, tokenised again."""
    floor: Finite | None
    """None where the head has no proven floor."""
    head_optimum: Finite | None
    uniform_kl: Finite
    """ln V - H(p)."""
    start: Finite
    """Divergence of the initial prompt."""
    entropy: Finite
    """H(p) of the target as made."""
    entropy_achieved: Finite
    steps: Count
    positions: Count
    """Token positions through the model's backbone, a backward pass as two."""
    seconds: Finite
    """This search's share of the time that its batch took."""
    versions: str
    """Program, torch and transformers, as "0.1.0 torch 2.13.0 transformers 5.24.0"."""

    @property
    def config(self) -> SearchConfig:
        return SearchConfig(self.method, self.model, self.length)

    @property
    def excess(self) -> float | None:
        """Divergence above the head optimum."""
        return Bounds(head_optimum=self.head_optimum).excess(self.kl)

    @property
    def gap_closed(self) -> float | None:
        """Share of the way from the initial prompt to the head optimum that was gone."""
        return Bounds(head_optimum=self.head_optimum).gap_closed(self.kl, self.start)
