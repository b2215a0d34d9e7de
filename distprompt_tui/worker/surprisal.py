"""Surprisal of the prompt's tokens under the model, at a bounded fraction of the run's time."""

from __future__ import annotations

import math
import time
from itertools import takewhile

from torch import Tensor

from distprompt_tui.models.language_model import LanguageModel

LARGEST_SHARE = 0.02
"""Largest fraction of a run's time. One prompt alone takes as long as about four in a batch (SmolLM2, one core)."""


def surprisals(model: LanguageModel, ids: Tensor) -> list[float | None]:
    """Return −ln P of each token of a prompt, (n,), given the tokens before it, nats; None without tokens before it."""
    values = model.log_probabilities(ids.to(model.device)).tolist()
    return [round(max(-value, 0.0), 4) if math.isfinite(value) else None for value in values]


class SurprisalCache:
    """Cache the last measured prompt. Surprisals before the first changed token stay valid."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._ids: list[int] = []
        self._values: list[float | None] = []
        self._next = -math.inf

    def of(self, ids: Tensor, *, force: bool = False) -> list[float | None]:
        """Return the surprisals, (n,); None from the first change on if no measurement is due and `force` is False."""
        prompt, now = ids.tolist(), time.monotonic()
        pairs = zip(prompt, self._ids, strict=False)
        known = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        if known < len(prompt) and not force and now < self._next:
            return [*self._values[:known], *[None] * (len(prompt) - known)]
        if known < len(prompt):
            self._ids, self._values = prompt, surprisals(self._model, ids)
            self._next = now + (time.monotonic() - now) / LARGEST_SHARE
        return self._values[: len(prompt)]
