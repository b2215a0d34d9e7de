"""One row of a sweep's table: a search that has ended, and what it was asked."""

from __future__ import annotations

from dataclasses import dataclass

from distprompt_tui.storage.decode import Count, Finite


@dataclass(frozen=True)
class Row:
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
    """Token positions through the model's body, a backward pass as two."""
    seconds: Finite
    """This search's share of the time that its batch took."""
    versions: str
    """Program, torch and transformers, as "0.1.0 torch 2.13.0 transformers 5.24.0"."""

    @property
    def excess(self) -> float | None:
        """Divergence above the head optimum."""
        return None if self.head_optimum is None else self.kl - self.head_optimum

    @property
    def gap_closed(self) -> float | None:
        """Share of the way from the initial prompt to the head optimum that was gone."""
        if self.head_optimum is None or self.start <= self.head_optimum:
            return None
        return 1 - (self.kl - self.head_optimum) / (self.start - self.head_optimum)
