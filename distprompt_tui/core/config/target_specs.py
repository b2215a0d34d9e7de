"""Specs of the target families. The recipes are in `distprompt_tui.targets`.

The editor makes its forms from the fields: the description is shown beside a field, and an example is the initial value
of a new target.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from distprompt_tui.core.config.spec_base import Count, Entropy, Length, Seed, SpecToken, StrictModel

SUM_TOLERANCE = 1e-9
"""Relative tolerance of the sum of manually written probabilities, such as rounded thirds and sixths."""

DEEPEST_MIXTURE = 8  # mixtures are processed recursively; every nested mixture is equivalent to a flat one

PredictedText = Annotated[str, Field(min_length=1, description="the text before the token")]
Rest = Literal["uniform", "model"]
OtherModel = Annotated[str | None, Field(description="another model; empty: the run's")]
Rescaled = Annotated[Entropy | None, Field(description="nats; empty: unchanged")]


class Vanilla(StrictModel):
    """The paper's random target: normal logits, moved by gradient descent to the requested entropy."""

    family: Literal["vanilla"] = "vanilla"
    entropy: Entropy
    seed: Seed = 0


class Temperature(StrictModel):
    """Normal logits, scaled to the requested entropy."""

    family: Literal["temperature"] = "temperature"
    entropy: Entropy
    seed: Seed = 0


class Outlier(StrictModel):
    """Outlier tokens with (nearly) the largest mass that the entropy allows; the others follow the vanilla recipe.

    The outliers are `tokens`, or `count` random tokens.
    """

    family: Literal["outlier"] = "outlier"
    entropy: Entropy
    tokens: Annotated[tuple[SpecToken, ...], Field(description="the outliers")] = ()
    count: Annotated[Count | None, Field(description="or random outliers", examples=[1])] = None
    delta: Annotated[float, Field(gt=0, lt=1, description="below the largest mass")] = 0.02
    seed: Seed = 0

    @model_validator(mode="after")
    def _tokens_or_count(self) -> Outlier:
        if bool(self.tokens) == (self.count is not None):
            raise ValueError("give either 'tokens' (the outliers) or 'count' (their number)")
        return self


class Lm(StrictModel):
    """A language model's next-token distribution after a text.

    `model`: a model other than the run's; its distribution is transferred to the run's vocabulary. `entropy`: rescale
    the distribution by temperature to this entropy.
    """

    family: Literal["lm"] = "lm"
    text: PredictedText
    model: OtherModel = None
    entropy: Rescaled = None


class Shuffled(StrictModel):
    """An `lm` target with probabilities permuted over the tokens: same shape and entropy, no meaning."""

    family: Literal["shuffled"] = "shuffled"
    text: PredictedText
    model: OtherModel = None
    entropy: Rescaled = None
    seed: Seed = 0


class Reachable(StrictModel):
    """The distribution after a random soft prompt: a reachable target with floor 0, to test the optimiser."""

    family: Literal["reachable"] = "reachable"
    length: Annotated[Length, Field(description="of the random prompt")] = 10
    seed: Seed = 0


class Explicit(StrictModel):
    """Probabilities of some tokens, or a file with the distribution.

    `rest` distributes the remaining probability mass: uniformly, or as the model's distribution after `text`.
    """

    family: Literal["explicit"] = "explicit"
    probabilities: Annotated[
        dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]], Field(description="token = probability")
    ] = Field(default_factory=dict)
    file: Annotated[str | None, Field(description="or .npy, .json, .csv")] = None
    rest: Annotated[Rest, Field(description="of the probability")] = "uniform"
    text: Annotated[str, Field(min_length=1, description="for the model's distribution")] = "\n"

    @model_validator(mode="after")
    def _probabilities_or_file(self) -> Explicit:
        if bool(self.probabilities) == (self.file is not None):
            raise ValueError("give either 'probabilities' or a 'file'")
        return self


class Uniform(StrictModel):
    """The same probability for every token."""

    family: Literal["uniform"] = "uniform"


class OneHot(StrictModel):
    """All probability on one token."""

    family: Literal["one_hot"] = "one_hot"
    token: Annotated[SpecToken, Field(description="the only token")]


class Zipf(StrictModel):
    """Probabilities proportional to rank^-exponent, with random ranks; `entropy` determines the exponent."""

    family: Literal["zipf"] = "zipf"
    exponent: Annotated[
        Annotated[float, Field(ge=0, allow_inf_nan=False)] | None, Field(description="or the entropy", examples=[1.0])
    ] = None
    entropy: Annotated[Entropy | None, Field(description="nats, or the exponent")] = None
    seed: Seed = 0

    @model_validator(mode="after")
    def _exponent_or_entropy(self) -> Zipf:
        if (self.exponent is None) == (self.entropy is None):
            raise ValueError("give either an 'exponent' or an 'entropy'")
        return self


class MixturePart(StrictModel):
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False, description="relative weight", examples=[0.5])]
    target: TargetSpec


class Mixture(StrictModel):
    """A weighted sum of other targets, with normalised weights."""

    family: Literal["mixture"] = "mixture"
    parts: Annotated[tuple[MixturePart, ...], Field(min_length=1, description="another part")]

    @property
    def depth(self) -> int:
        """Number of nested mixtures, including this one."""
        return 1 + max((part.target.depth for part in self.parts if isinstance(part.target, Mixture)), default=0)

    @model_validator(mode="after")
    def _is_not_too_deep(self) -> Mixture:
        if self.depth > DEEPEST_MIXTURE:
            raise ValueError(f"mixtures may be nested at most {DEEPEST_MIXTURE} deep")
        return self


TargetSpec = Annotated[
    Vanilla | Temperature | Outlier | Lm | Shuffled | Reachable | Explicit | Uniform | OneHot | Zipf | Mixture,
    Field(discriminator="family"),
]
MixturePart.model_rebuild()
Mixture.model_rebuild()
