"""A distribution in few numbers, for drawing it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from distprompt_tui.models.vocabulary import Vocabulary

TOP_TOKENS = 200
RANKS = 64
"""Points of the curve of mass by rank; ranks are spaced evenly in the logarithm."""


def describe(probabilities: NDArray[np.float64], vocabulary: Vocabulary) -> dict[str, Any]:
    """A distribution's largest tokens and its masses by rank, as JSON holds them.

    Args:
        probabilities: (V,).
        vocabulary: names the tokens.

    Returns:
        `top`: rows of id, text and mass; `by_rank`: at most `RANKS` masses, falling.
    """
    order = np.argsort(-probabilities, kind="stable")
    top = [[int(i), vocabulary.text(int(i)), float(probabilities[i])] for i in order[:TOP_TOKENS]]
    ranks = np.unique(np.geomspace(1, len(order), RANKS).astype(int)) - 1
    return {"top": top, "by_rank": probabilities[order[ranks]].tolist()}
