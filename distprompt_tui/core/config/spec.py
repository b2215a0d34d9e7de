"""The complete, strictly validated description of a run. A preset is a TOML file of it.

It contains every setting that affects a result, so a run can be repeated from its `spec.toml` alone. This module
imports nothing heavier than pydantic.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from distprompt_tui.core.storage.legacy import with_new_spec_names

SpecToken = Annotated[str | int, Field(union_mode="left_to_right")]
"""A token: a string that is exactly one token (`" banana"`), or an id (`5231`; as a key: `"id:5231"`)."""

Entropy = Annotated[float, Field(ge=0, allow_inf_nan=False, description="nats", examples=[6.0])]

Seed = Annotated[int, Field(ge=0, lt=2**63, description="random seed")]

MAX_COUNT = 2**31 - 1  # maximum of every count: the largest tensor size on every device

Length = Annotated[int, Field(ge=1, le=4096, description="positions of the prompt")]
Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
CountFromZero = Annotated[int, Field(ge=0, le=MAX_COUNT)]

_SURROGATE = re.compile("[\ud800-\udfff]")

LONGEST_REGEX = 1000  # in characters; matching longer expressions may take forever


class StrictModel(BaseModel):
    """Base of all parts of a spec: immutable; rejects unknown fields and values of another type.

    The only conversions are from integer to float and from list to tuple.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _new_names_and_tuples(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        fields = with_new_spec_names(fields, cls.model_fields)
        return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}

    @field_validator("*")
    @classmethod
    def _unicode_text(cls, value: Any) -> Any:
        """Reject unpaired surrogates: they stand for invalid bytes of a command line and cannot be written to files."""
        for text in value if isinstance(value, (tuple, dict)) else (value,):
            if isinstance(text, str) and _SURROGATE.search(text):
                raise ValueError("it is not Unicode text")
        return value


# One class for each target family; the recipes are in `distprompt_tui.targets`. The editor makes its forms from the
# fields: the description is shown beside a field, and an example is the initial value of a new target.


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


PredictedText = Annotated[str, Field(min_length=1, description="the text before the token")]
OtherModel = Annotated[str | None, Field(description="another model; empty: the run's")]
Rescaled = Annotated[Entropy | None, Field(description="nats; empty: unchanged")]


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


SUM_TOLERANCE = 1e-9
"""Relative tolerance of the sum of manually written probabilities, such as rounded thirds and sixths."""


class Explicit(StrictModel):
    """Probabilities of some tokens, or a file with the distribution.

    `rest` distributes the remaining probability mass: uniformly, or as the model's distribution after `text`.
    """

    family: Literal["explicit"] = "explicit"
    probabilities: Annotated[
        dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]], Field(description="token = probability")
    ] = {}
    file: Annotated[str | None, Field(description="or .npy, .json, .csv")] = None
    rest: Annotated[Literal["uniform", "model"], Field(description="of the probability")] = "uniform"
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


DEEPEST_MIXTURE = 8  # mixtures are processed recursively; every nested mixture is equivalent to a flat one


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


LEGACY_CONTEXT = {"recorded": True}
"""Validation context of recorded runs: fields removed since they were recorded are ignored."""


class ModelSpec(StrictModel):
    """The model, its device and its dtype.

    `name`: registry name, hub name, local folder or GGUF file. `compile`: soft searches run the model as code compiled
    by torch.compile, after their first step.
    """

    name: Annotated[str, Field(min_length=1)] = "smollm2"
    revision: str | None = None
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    compile: bool = False


BosSetting = Literal["auto"] | bool


class Context(StrictModel):
    """Fixed text around the prompt. It may contain special tokens (`<|im_start|>user\\n`).

    `bos`: ids added before every text, in prompts and targets. "auto": those that the model's tokenizer adds; true: the
    BOS token; false: none.
    """

    prefix: str = ""
    suffix: str = ""
    bos: BosSetting = "auto"

    @model_validator(mode="before")
    @classmethod
    def _without_bos_where_there_was_no_choice(cls, fields: Any, info: ValidationInfo) -> Any:
        if info.context == LEGACY_CONTEXT and isinstance(fields, dict):
            return {"bos": False} | fields  # versions without this field added nothing
        return fields

    @field_validator("bos", mode="before")
    @classmethod
    def _bos_value(cls, value: Any) -> Any:
        if value != "auto" and not isinstance(value, bool):
            raise ValueError('it should be "auto", true or false')
        return value


SOFT_LR = {"ggt": 0.2, "adam": 1.5}  # default of the soft search's `lr` by optimizer


class Soft(StrictModel):
    """Gradient search over `length` vectors in embedding space.

    `optimizer`: "ggt" whitens the gradient by the last `memory` gradients, "adam" scales each coordinate separately.
    `lr`: in standard deviations of the embeddings, so it is comparable across models. It is the root mean square of a
    GGT step and the largest change of a coordinate in an Adam step; the default depends on the optimizer.
    `restarts`: initial prompts in one batch. The worst is dropped repeatedly, until one remains after a fifth of the
    steps.
    """

    method: Literal["soft"] = "soft"
    length: Length = 10
    init: Annotated[Literal["vocabulary", "text", "random", "prompt"], Field(description="vocabulary, random")] = (
        "vocabulary"
    )
    init_text: str | None = None
    init_prompt: str | None = None
    optimizer: Literal["ggt", "adam"] = "ggt"
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        default_factory=lambda values: SOFT_LR[values.get("optimizer", "ggt")],
        description="in the embeddings' standard deviations",
    )
    memory: Count = 64
    restarts: Annotated[int, Field(ge=1, le=256)] = 1
    warmup: CountFromZero = 10
    decay: Literal["cosine", "none"] = "cosine"

    @model_validator(mode="after")
    def _text_or_prompt_for_init(self) -> Soft:
        _check_init(self.init, self.init_text, self.init_prompt)
        return self


def _check_init(init: str, init_text: str | None, init_prompt: str | None) -> None:
    if (init == "text") != (init_text is not None):
        raise ValueError("init = 'text' and 'init_text' require each other")
    if (init == "prompt") != (init_prompt is not None):
        raise ValueError(
            "init = 'prompt' and 'init_prompt' (a run directory, an adapter's folder or a file) require each other"
        )


Width = Annotated[Count, Field(description="candidates measured in a step")]
SwapsInit = Annotated[Literal["initial_pool", "random", "text", "prompt"], Field(description="initial_pool, random")]


class TokenSearchConfig(StrictModel):
    """Settings of all searches over tokens.

    A prompt may contain the tokens in `allowed` ("usable": decode to bytes; "printable": ASCII letters, digits,
    punctuation and space only) that fully match `allow_regex` and are in `allow_tokens`, if given. A step measures up
    to `width` candidates.
    """

    method: str
    length: Length = 10
    width: Width = 64
    allowed: Literal["usable", "printable"] = "usable"
    allow_regex: Annotated[str, Field(max_length=LONGEST_REGEX)] | None = None
    allow_tokens: tuple[SpecToken, ...] = ()

    @field_validator("allow_regex")
    @classmethod
    def _is_regex(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"invalid regular expression: {error}") from None
        return value


class SwapSearchConfig(TokenSearchConfig):
    """Settings of all searches that change tokens of a current prompt.

    `init`: "initial_pool" starts from the best of `initial_pool` prompts of target tokens and random tokens; "prompt"
    starts from an existing prompt, or the nearest tokens of a soft one. `locked`: positions, counted from 0, that never
    change. `fluency_weight`: the objective is the divergence minus `fluency_weight` times the mean log-likelihood of
    the prompt's tokens under the model, without a token that has no context. `prune`: after the search, drop tokens
    from the best prompt, least important first, while its divergence rises by at most `prune` nats in total.
    """

    init: SwapsInit = "random"
    init_text: str | None = None
    init_prompt: str | None = None
    initial_pool: Count = 160
    locked: tuple[CountFromZero, ...] = ()
    fluency_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    prune: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _init_and_locks(self) -> Self:
        _check_init(self.init, self.init_text, self.init_prompt)
        if self.locked and self.init not in ("text", "prompt"):
            raise ValueError("'locked' positions require init = 'text' or 'prompt'")
        if self.locked and max(self.locked) >= self.length:
            raise ValueError(f"the locked position {max(self.locked)} is outside a prompt of length {self.length}")
        if len(set(self.locked)) == self.length:
            raise ValueError("all positions are locked: nothing to search")
        return self


MAX_CHAINS = 256
WidthByDevice = Annotated[Count | Literal["auto"], Field(description="candidates in a step of a chain, or auto")]
Chains = Annotated[
    Annotated[int, Field(ge=1, le=MAX_CHAINS)] | Literal["auto"],
    Field(description="prompts that are searched side by side, or auto"),
]

REMOVED_HARD_FIELDS = frozenset({"top_k", "merge", "pairs"})


class Hard(SwapSearchConfig):
    """Token swaps ranked by a surrogate model, accepted only if they lower the objective.

    A step measures swaps at one position of each chain, for the cost of `width` swaps at an average position: swaps
    near the end re-run less of the model. With "auto", the device determines `width` and `chains`: 24 and 1 on a CPU.
    A fraction `explore` are random tokens and tokens of the target; the others are the best of `pool` random tokens by
    a Gaussian process on the last `memory` swaps at the position. After `patience` steps without improvement, a chain
    measures `width` variants of the best prompt, of all chains with `exchange` and of its own without, with
    `perturbation` changed positions, and continues from the best of them. With `draft`, prompts are pre-scored in
    bfloat16 if that is faster on this processor, and the model rescores the best.
    """

    method: Literal["hard"] = "hard"
    init: SwapsInit = "initial_pool"
    initial_pool: Count = 64
    width: WidthByDevice = "auto"  # type: ignore[assignment]
    chains: Chains = "auto"
    exchange: bool = True
    memory: CountFromZero = 384
    pool: Count = 6144
    explore: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.25
    patience: CountFromZero = 20
    perturbation: Count = 2
    draft: bool = True

    @model_validator(mode="before")
    @classmethod
    def _as_recorded(cls, fields: Any, info: ValidationInfo) -> Any:
        if info.context != LEGACY_CONTEXT or not isinstance(fields, dict):
            return fields
        kept = {name: value for name, value in fields.items() if name not in REMOVED_HARD_FIELDS}
        return {"chains": 1} | kept  # versions without this field had one


class Gcg(SwapSearchConfig):
    """Greedy coordinate gradient as in nanoGCG.

    A candidate replaces `n_replace` random positions by random tokens from the `top_k` best-ranked ones there.
    """

    method: Literal["gcg"] = "gcg"
    width: Width = 512
    top_k: Count = 256
    n_replace: Count = 1


class Hotflip(SwapSearchConfig):
    """The swaps ranked best by the gradient, from the `beam` best prompts."""

    method: Literal["hotflip"] = "hotflip"
    beam: Count = 4


class RandomSwaps(SwapSearchConfig):
    """Random single swaps, accepted if they lower the objective."""

    method: Literal["random"] = "random"


class Exhaustive(TokenSearchConfig):
    """All prompts of one token; longer ones extend the `beam` best shorter prompts by every token."""

    method: Literal["exhaustive"] = "exhaustive"
    length: Length = 1
    width: Width = 512
    beam: Count = 4


SearchSpec = Annotated[Soft | Hard | Gcg | Hotflip | RandomSwaps | Exhaustive, Field(discriminator="method")]


class Budget(StrictModel):
    """Limits of a search. `until`: stop at this divergence, in nats."""

    steps: Annotated[CountFromZero, Field(description="the budget")] = 1000
    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    until: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class RunSpec(StrictModel):
    """A whole run.

    `witness`: a text that is known to give the target or a distribution close to it. Its divergence is measured at the
    start and does not affect the search. Without it, the text of an `lm` target and the vectors of a `reachable` one
    are measured.
    """

    title: str = ""
    description: str = ""
    preset: str = ""
    target: TargetSpec
    search: SearchSpec = Soft()
    budget: Budget = Budget()
    model: ModelSpec = ModelSpec()
    context: Context = Context()
    seed: Annotated[Seed, Field(description="random seed")] = 0
    witness: Annotated[str, Field(min_length=1)] | None = None

    @field_validator("search", mode="before")
    @classmethod
    def _soft_where_no_method_is_named(cls, value: Any) -> Any:
        return {"method": "soft"} | value if isinstance(value, dict) else value
