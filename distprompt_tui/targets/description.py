"""Summary of a distribution for plots."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from distprompt_tui.models.vocabulary import Vocabulary

TOP_TOKENS = 200
RANKS = 64  # points of the curve of probability by rank, at logarithmically spaced ranks


def describe(probabilities: NDArray[np.float64], vocabulary: Vocabulary) -> dict[str, Any]:
    """Summarise probabilities, (V,), as a JSON object.

    `top`: rows of id, text and probability; `by_rank`: at most `RANKS` probabilities, descending.
    """
    order = np.argsort(-probabilities, kind="stable")
    top = [[int(i), vocabulary.text(int(i)), float(probabilities[i])] for i in order[:TOP_TOKENS]]
    ranks = np.unique(np.geomspace(1, len(order), RANKS).astype(int)) - 1
    return {"top": top, "by_rank": probabilities[order[ranks]].tolist()}
