"""How surprising the model itself finds the tokens of the prompt under search, measured beside it for very little."""

from __future__ import annotations

import math
import time
from itertools import takewhile

from torch import Tensor

from distprompt_tui.models.language_model import LanguageModel

LARGEST_SHARE = 0.02
"""Of a run's time that may go into this. A prompt alone takes as long as some four of many (SmolLM2, one core)."""


def surprisals(model: LanguageModel, ids: Tensor) -> list[float | None]:
    """−ln P of each token of a prompt, (n,), after what stands before it, nats; None where nothing does."""
    values = model.log_probabilities(ids.to(model.device)).tolist()
    return [round(max(-value, 0.0), 4) if math.isfinite(value) else None for value in values]


class SurprisalCache:
    """Remembers the prompt that was measured last: what a change leaves before it surprisals as much as it did."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._ids: list[int] = []
        self._values: list[float | None] = []
        self._next = -math.inf

    def of(self, ids: Tensor, *, force: bool = False) -> list[float | None]:
        """As `surprisals`, and None from the first change on where it is too early to measure again.

        Args:
            ids: of the prompt, (n,).
            force: whether to measure it whatever that costs.
        """
        prompt, now = ids.tolist(), time.monotonic()
        pairs = zip(prompt, self._ids, strict=False)
        known = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        if known < len(prompt) and not force and now < self._next:
            return [*self._values[:known], *[None] * (len(prompt) - known)]
        if known < len(prompt):
            self._ids, self._values = prompt, surprisals(self._model, ids)
            self._next = now + (time.monotonic() - now) / LARGEST_SHARE
        return self._values[: len(prompt)]
