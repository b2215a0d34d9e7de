"""What a target is, and the face of a language model that some families are handed."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log
from typing import Protocol

import numpy as np

from distprompt_tui.errors import TargetError
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.targets.entropy import FloatArray, entropy

Metadata = dict[str, float | str]

_ROUNDING = 1e-12  # nats: error of an entropy summed over some 100,000 terms in float64


@dataclass(frozen=True, eq=False)
class Target:
    """A next-token distribution that is asked for.

    Attributes:
        probabilities: p, (V,) float64, read-only; sums to 1, 0 on rows that stand for no token.
        family: the recipe's name, as in the spec.
        recipe: one sentence: how it was made, with its tolerance.
        notes: numbers about the making, such as the outliers' mass and its bound, or the shares of a transfer.
    """

    probabilities: FloatArray
    family: str
    recipe: str
    notes: Metadata = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.probabilities.setflags(write=False)

    @property
    def entropy(self) -> float:
        """H(p) in nats."""
        return entropy(self.probabilities)

    def uniform_kl(self, vocabulary: Vocabulary) -> float:
        """ln V − H(p) in nats, V the number of tokens; 0 where only rounding is left."""
        value = log(token_count(vocabulary)) - self.entropy
        return 0.0 if abs(value) < _ROUNDING else value


class DistributionSource(Protocol):
    """A language model, as far as targets need one."""

    def next_token_probabilities(self, text: str) -> FloatArray:
        """The distribution after a text of at least one token, (V,) float64."""
        ...

    def random_prompt_probabilities(self, length: int, seed: int) -> FloatArray:
        """The distribution after a random soft prompt of `length` vectors, (V,) float64."""
        ...

    def other(self, name: str) -> tuple[DistributionSource, Vocabulary]:
        """Another model by its name, with its tokens."""
        ...


def require_model(model: DistributionSource | None, what: str) -> DistributionSource:
    """The model, where a target cannot be made without one.

    Raises:
        TargetError: there is none.
    """
    if model is None:
        raise TargetError(f"{what} target is made by a language model: it cannot be made before one is loaded")
    return model


def scatter_to_vocab(probabilities: FloatArray, vocabulary: Vocabulary) -> FloatArray:
    """A distribution over the rows that stand for tokens, (n,), written into all V rows."""
    rows = np.zeros(vocabulary.size)
    rows[vocabulary.allowed] = probabilities
    return rows


def token_count(vocabulary: Vocabulary) -> int:
    """How many rows of the vocabulary stand for a token."""
    return int(vocabulary.allowed.sum())


def unique_ids(tokens: list[str | int], vocabulary: Vocabulary) -> list[int]:
    """The ids of tokens that a person named, in order.

    Raises:
        TargetError: one of them is no token of this vocabulary, or two of them are the same token.
    """
    named: dict[int, str | int] = {}
    for token in tokens:
        token_id = vocabulary.id_of(token)
        if token_id in named:
            raise TargetError(f"{named[token_id]!r} and {token!r} are the same token (id {token_id}): name it once")
        named[token_id] = token
    return list(named)
