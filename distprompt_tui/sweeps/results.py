"""Rows of a sweep's table: a finished search and its settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from distprompt_tui.bounds.values import Bounds
from distprompt_tui.core.storage.decode import Count, Finite


class SearchConfig(NamedTuple):
    """Configuration by which searches of a sweep are compared, timed and batched."""

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
    """Digest of the search's spec, the same on every machine."""
    model: str
    series: str
    """Name of the series in the sweep: "vanilla", "outlier, 1 token", "lm, other tokenizer"."""
    family: str
    method: str
    length: Count
    entropy_asked: Finite | None
    """Entropy of the grid; None if the target keeps its own entropy."""
    target_index: Count
    """Index of the target at this point of the grid; rows of two series with the same index form a pair."""
    seed: Count
    kl: Finite
    kl_string: Finite | None
    """Hard prompts: divergence of the decoded and retokenized string."""
    floor: Finite | None
    """None if the head has no certified floor."""
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
    """Token positions through the model's backbone; a backward pass counts twice."""
    seconds: Finite
    """This search's share of the time of its batch."""
    versions: str
    """Versions of program, torch and transformers: "0.1.0 torch 2.13.0 transformers 5.24.0"."""
    restart: Count = 0
    """Number of the search among those with the same target and seed, of which the best one counts."""
    witness_kl: Finite | None = None
    """Divergence of a prompt that is known before the search, such as the text of an `lm` target."""
    witness_length: Count | None = None
    weights: str | None = None
    """Quantisation or dtype of the model's weights, such as "Q4_1"; None in rows of earlier versions."""

    @property
    def config(self) -> SearchConfig:
        return SearchConfig(self.method, self.model, self.length)

    @property
    def excess(self) -> float | None:
        return Bounds(head_optimum=self.head_optimum).excess(self.kl)

    @property
    def gap_closed(self) -> float | None:
        return Bounds(head_optimum=self.head_optimum).gap_closed(self.kl, self.start)
