"""The two distributions of a run over all known tokens, for the plots of the tokens panel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from distprompt_tui.core.metrics.totals import Totals, totals_of_rest
from distprompt_tui.runs.schema import Snapshot

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Distribution:
    """Target and achieved distribution, in no particular order; compared by identity.

    Attributes:
        ids: token ids; the arrays have the same positions.
        target: p, (N,).
        achieved: q, (N,).
        contributions: KL contributions in nats, (N,); finite, because q = 0 is replaced by `smallest`.
        kl: sum of the contributions of all tokens of the vocabulary, nats.
        text: returns the string of an id, not sanitised.
        smallest: the probability that replaces q = 0 in the contributions.
        missing: totals of the tokens that are not known, because only a snapshot's tokens were recorded.
        comparison_label: name of the distribution beside the target.
    """

    ids: Sequence[int]
    target: NDArray[np.float64]
    achieved: NDArray[np.float64]
    contributions: NDArray[np.float64]
    kl: float
    text: Callable[[int], str]
    smallest: float
    missing: Totals = field(default_factory=Totals)
    comparison_label: str = "achieved"


def recorded_distribution(snapshot: Snapshot, vocab_size: int, comparison_label: str) -> Distribution | None:
    """Return the tokens of a snapshot; None if it has none."""
    import numpy as np

    tokens = snapshot.tokens
    if not tokens:
        return None
    texts = {row.id: row.text for row in tokens}
    columns = [(row.target, row.achieved, row.contribution) for row in tokens]
    target, achieved, contributions = np.array(columns).T
    missing = totals_of_rest(vocab_size, snapshot.kl, columns)
    smallest = float(np.finfo(np.float64).smallest_subnormal)
    ids = [row.id for row in tokens]
    return Distribution(
        ids, target, achieved, contributions, snapshot.kl, texts.__getitem__, smallest, missing, comparison_label
    )
