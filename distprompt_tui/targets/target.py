"""The target distribution, and the interface to a language model for families that need one."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log
from typing import Protocol

import numpy as np

from distprompt_tui.core.errors import TargetError
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.targets.entropy import FloatArray, entropy

Metadata = dict[str, float | str]

_ROUNDING = 1e-12  # nats; error of an entropy summed over about 100,000 terms in float64


@dataclass(frozen=True, eq=False)
class Target:
    """A requested next-token distribution.

    Attributes:
        probabilities: p, (V,) float64, read-only; sums to 1, 0 on rows without a token.
        family: name of the family in the spec.
        recipe: one sentence that describes the construction and its tolerance.
        notes: intermediate results, such as the outliers' mass and its bound, or the fractions of a transfer.
    """

    probabilities: FloatArray
    family: str
    recipe: str
    notes: Metadata = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.probabilities.setflags(write=False)

    @property
    def entropy(self) -> float:
        return entropy(self.probabilities)

    def uniform_kl(self, vocabulary: Vocabulary) -> float:
        """Compute ln V − H(p) in nats for V tokens; exactly 0 if it is only a rounding error."""
        value = log(token_count(vocabulary)) - self.entropy
        return 0.0 if abs(value) < _ROUNDING else value


class DistributionSource(Protocol):
    """The operations of a language model that targets need."""

    def next_token_probabilities(self, text: str) -> FloatArray:
        """Compute the distribution after a text of at least one token, (V,) float64."""
        ...

    def random_prompt_probabilities(self, length: int, seed: int) -> FloatArray:
        """Compute the distribution after a random soft prompt of `length` vectors, (V,) float64."""
        ...

    def other(self, name: str) -> tuple[DistributionSource, Vocabulary]:
        """Load another model by name; return it with its vocabulary."""
        ...


def require_model(model: DistributionSource | None, what: str) -> DistributionSource:
    """Return the model; raise TargetError if it is None."""
    if model is None:
        raise TargetError(f"{what} requires a loaded language model")
    return model


def scatter_to_vocab(probabilities: FloatArray, vocabulary: Vocabulary) -> FloatArray:
    rows = np.zeros(vocabulary.size)
    rows[vocabulary.allowed] = probabilities
    return rows


def token_count(vocabulary: Vocabulary) -> int:
    return int(vocabulary.allowed.sum())


def unique_ids(tokens: list[str | int], vocabulary: Vocabulary) -> list[int]:
    """Return the ids of tokens given by the user, in order.

    Raises:
        TargetError: a token is unknown or repeated.
    """
    named: dict[int, str | int] = {}
    for token in tokens:
        token_id = vocabulary.id_of(token)
        if token_id in named:
            raise TargetError(f"{named[token_id]!r} and {token!r} are the same token (id {token_id}): name it once")
        named[token_id] = token
    return list(named)
