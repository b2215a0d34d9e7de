"""The full description of one run, strictly validated. A preset is a TOML file of it.

Everything that decides a result stands here, with its default written out, so that a run can be repeated from its
`spec.toml` alone. This module imports nothing heavier than pydantic.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from distprompt_tui.storage.legacy import with_new_spec_names

SpecToken = Annotated[str | int, Field(union_mode="left_to_right")]
"""A token: a string that is exactly one token (`" banana"`), or its id (`5231`; as a key: `"id:5231"`)."""

Entropy = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""Entropy in nats."""

Seed = Annotated[int, Field(ge=0, lt=2**63)]

MAX_COUNT = 2**31 - 1
"""Of anything that is counted: what a tensor's size can be on every device."""

Length = Annotated[int, Field(ge=1, le=4096, description="positions of the prompt")]
Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
CountFromZero = Annotated[int, Field(ge=0, le=MAX_COUNT)]

LONGEST_REGEX = 1000
"""Characters; a longer expression is a program, and Python's matching of one can take for ever."""


class StrictModel(BaseModel):
    """Base of every part: unknown fields are errors, values are of the field's type and cannot change after validation.

    A whole number is a number too; nothing else is taken for what it is not. An array may be a list.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _new_names_and_tuples(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        fields = with_new_spec_names(fields, cls.model_fields)
        return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


# Targets: one class a family. The recipes are in `distprompt_tui.targets`.


class Vanilla(StrictModel):
    """The paper's random target: normal logits, then gradient descent until the entropy is reached."""

    family: Literal["vanilla"] = "vanilla"
    entropy: Entropy
    seed: Seed = 0


class Temperature(StrictModel):
    """Normal logits scaled until the entropy is reached."""

    family: Literal["temperature"] = "temperature"
    entropy: Entropy
    seed: Seed = 0


class Outlier(StrictModel):
    """A few tokens carry (nearly) the largest mass that the entropy allows; the rest is spread by the vanilla recipe.

    Either `tokens` names them, or `count` of them are drawn from the seed.
    """

    family: Literal["outlier"] = "outlier"
    entropy: Entropy
    tokens: tuple[SpecToken, ...] = ()
    count: Count | None = None
    delta: Annotated[float, Field(gt=0, lt=1)] = 0.02
    seed: Seed = 0

    @model_validator(mode="after")
    def _tokens_or_count(self) -> Outlier:
        if bool(self.tokens) == (self.count is not None):
            raise ValueError("name the outliers by 'tokens' or give their 'count', one of the two")
        return self


class Lm(StrictModel):
    """A language model's own next-token distribution after a text.

    `model` names another model than the run's (its distribution goes through a vocabulary transfer); `entropy`
    rescales the distribution by temperature.
    """

    family: Literal["lm"] = "lm"
    text: Annotated[str, Field(min_length=1)]
    model: str | None = None
    entropy: Entropy | None = None


class Shuffled(StrictModel):
    """An `lm` target whose probabilities are dealt to other tokens: same shape and entropy, no meaning."""

    family: Literal["shuffled"] = "shuffled"
    text: Annotated[str, Field(min_length=1)]
    model: str | None = None
    entropy: Entropy | None = None
    seed: Seed = 0


class Reachable(StrictModel):
    """What a random soft prompt of the model gives: its floor is 0 and it can be reached. Controls the optimiser."""

    family: Literal["reachable"] = "reachable"
    length: Length = 10
    seed: Seed = 0


SUM_TOLERANCE = 1e-9
"""Relative, of probabilities that a person writes: what rounding leaves of sixths and thirds."""


class Explicit(StrictModel):
    """Tokens with their probabilities, or a file with the whole distribution; `rest` spreads the remaining mass.

    `rest = "model"` spreads it in proportion to the model's own distribution after `text`.
    """

    family: Literal["explicit"] = "explicit"
    probabilities: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = {}
    file: str | None = None
    rest: Literal["uniform", "model"] = "uniform"
    text: Annotated[str, Field(min_length=1)] = "\n"

    @model_validator(mode="after")
    def _probabilities_or_file(self) -> Explicit:
        if bool(self.probabilities) == (self.file is not None):
            raise ValueError("give 'probabilities' or a 'file', one of the two")
        return self


class Uniform(StrictModel):
    """Every token alike."""

    family: Literal["uniform"] = "uniform"


class OneHot(StrictModel):
    """All the mass on one token."""

    family: Literal["one_hot"] = "one_hot"
    token: SpecToken


class Zipf(StrictModel):
    """Mass falls as a power of the rank, ranks dealt to tokens from the seed; the exponent is fitted to an entropy."""

    family: Literal["zipf"] = "zipf"
    exponent: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    entropy: Entropy | None = None
    seed: Seed = 0

    @model_validator(mode="after")
    def _exponent_or_entropy(self) -> Zipf:
        if (self.exponent is None) == (self.entropy is None):
            raise ValueError("give an 'exponent' or an 'entropy', one of the two")
        return self


DEEPEST_MIXTURE = 8
"""A deeper one says nothing that a flat one does not, and every reader of it recurses."""


class MixturePart(StrictModel):
    """One component of a mixture."""

    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    target: TargetSpec


class Mixture(StrictModel):
    """A weighted sum of other targets; the weights are normalised."""

    family: Literal["mixture"] = "mixture"
    parts: Annotated[tuple[MixturePart, ...], Field(min_length=1)]

    @property
    def depth(self) -> int:
        """Mixtures in each other, this one included."""
        return 1 + max((part.target.depth for part in self.parts if isinstance(part.target, Mixture)), default=0)

    @model_validator(mode="after")
    def _is_not_too_deep(self) -> Mixture:
        if self.depth > DEEPEST_MIXTURE:
            raise ValueError(f"mixtures of mixtures go {DEEPEST_MIXTURE} deep")
        return self


TargetSpec = Annotated[
    Vanilla | Temperature | Outlier | Lm | Shuffled | Reachable | Explicit | Uniform | OneHot | Zipf | Mixture,
    Field(discriminator="family"),
]
MixturePart.model_rebuild()
Mixture.model_rebuild()


# The rest of a run.


LEGACY_CONTEXT = {"recorded": True}
"""Validation context of what a version of this program has written down: fields that are gone since are left out."""


class ModelSpec(StrictModel):
    """Which model, and how it is run. `name`: a registry name, hub name, local folder or GGUF file."""

    name: Annotated[str, Field(min_length=1)] = "smollm2"
    revision: str | None = None
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"


BosSetting = Literal["auto"] | bool


class Context(StrictModel):
    """Fixed text around the prompt. Special tokens may be written out (`<|im_start|>user\\n`).

    `bos`: what stands before every text, prompts and the texts of targets alike. "auto": what the model's own tokenizer
    adds; true: the BOS token; false: nothing.
    """

    prefix: str = ""
    suffix: str = ""
    bos: BosSetting = "auto"

    @model_validator(mode="before")
    @classmethod
    def _without_bos_where_there_was_no_choice(cls, fields: Any, info: ValidationInfo) -> Any:
        if info.context == LEGACY_CONTEXT and isinstance(fields, dict):
            return {"bos": False} | fields  # versions that recorded no choice put nothing before a prompt
        return fields


SOFT_LR = {"ggt": 0.2, "adam": 1.5}
"""Where the soft search's `lr` is left out."""


class Soft(StrictModel):
    """Gradient search over `length` vectors in embedding space.

    `optimizer`: "ggt" whitens the gradient by the last `memory` ones, "adam" scales each coordinate by itself. `lr` is
    in units of the embeddings' standard deviation, so that it means the same on every model: GGT's every step has
    that root mean square, Adam's no coordinate moves further. Left out, it is the optimizer's own.
    `restarts`: so many prompts start in one batch, and the one that is furthest behind is given up again and again,
    until one is left after a fifth of the steps.
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
        raise ValueError("init = 'text' goes with an 'init_text'")
    if (init == "prompt") != (init_prompt is not None):
        raise ValueError("init = 'prompt' goes with an 'init_prompt': a run's folder, an adapter's, or a file")


Width = Annotated[Count, Field(description="candidates measured in a step")]
SwapsInit = Annotated[Literal["initial_pool", "random", "text", "prompt"], Field(description="initial_pool, random")]


class TokenSearchConfig(StrictModel):
    """What all searches over tokens have in common.

    A token may be put into the prompt where `allowed` holds it ("usable": stands for bytes; "printable": ASCII letters,
    digits, punctuation and space only), its whole text matches `allow_regex` and `allow_tokens` names it, as far as
    these are given. A step measures up to `width` candidates.
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
            raise ValueError(f"no regular expression: {error}") from None
        return value


class SwapSearchConfig(TokenSearchConfig):
    """What the searches that go from prompt to prompt have in common.

    `init`: "initial_pool" starts from the best of `initial_pool` prompts made of the target's tokens and random ones;
    "prompt" starts from a prompt that was found before, a soft one by its nearest tokens. `locked` positions, counted
    from 0, never change. `fluency_weight`: the objective is the divergence minus `fluency_weight` times the mean
    log-likelihood of the prompt's tokens under the model; a token with nothing before it does not count. `prune`: after
    the search, tokens are dropped from the best prompt, the least important first, while its divergence rises by at
    most `prune` nats in total.
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
            raise ValueError("'locked' positions go with init = 'text' or 'prompt': there is nothing to keep otherwise")
        if self.locked and max(self.locked) >= self.length:
            raise ValueError(f"the locked position {max(self.locked)} is not in a prompt of {self.length}")
        if len(set(self.locked)) == self.length:
            raise ValueError("every position is locked: there is nothing to search")
        return self


REMOVED_HARD_FIELDS = frozenset({"top_k", "merge", "pairs"})


class Hard(SwapSearchConfig):
    """Token swaps ranked by a surrogate model, accepted only where they lower the objective.

    A step measures swaps at one position: as many as `width` swaps at an average position cost, since swaps near the
    end re-run less of the model. A fraction `explore` of them are tokens of the target and random ones; the others are
    the best of `pool` random ones by a Gaussian process on the last `memory` swaps there. After `patience` steps
    without improvement, one step measures `width` variants of the best prompt with `perturbation` positions changed,
    and continues from the best of them. With `draft`, prompts are pre-scored in bfloat16 where the processor is faster
    with it, and the model rescores the best.
    """

    method: Literal["hard"] = "hard"
    init: SwapsInit = "initial_pool"
    initial_pool: Count = 64
    width: Width = 24
    memory: CountFromZero = 384
    pool: Count = 6144
    explore: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.25
    patience: CountFromZero = 20
    perturbation: Count = 2
    draft: bool = True

    @model_validator(mode="before")
    @classmethod
    def _without_what_is_gone(cls, fields: Any, info: ValidationInfo) -> Any:
        if info.context != LEGACY_CONTEXT or not isinstance(fields, dict):
            return fields
        return {name: value for name, value in fields.items() if name not in REMOVED_HARD_FIELDS}


class Gcg(SwapSearchConfig):
    """Greedy coordinate gradient by the rules of nanoGCG.

    A candidate has `n_replace` random positions replaced by random ones of their `top_k` best-ranked tokens.
    """

    method: Literal["gcg"] = "gcg"
    width: Width = 512
    top_k: Count = 256
    n_replace: Count = 1


class Hotflip(SwapSearchConfig):
    """The swaps that the gradient ranks first, from the `beam` best prompts."""

    method: Literal["hotflip"] = "hotflip"
    beam: Count = 4


class RandomSwaps(SwapSearchConfig):
    """Random single swaps, taken where they help."""

    method: Literal["random"] = "random"


class Exhaustive(TokenSearchConfig):
    """Every prompt of one token; with more tokens, the `beam` best of the length before and every token behind them."""

    method: Literal["exhaustive"] = "exhaustive"
    length: Length = 1
    width: Width = 512
    beam: Count = 4


SearchSpec = Annotated[Soft | Hard | Gcg | Hotflip | RandomSwaps | Exhaustive, Field(discriminator="method")]


class Budget(StrictModel):
    """When a search ends. `until`: a divergence in nats that is good enough."""

    steps: Annotated[CountFromZero, Field(description="the budget")] = 1000
    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    until: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class RunSpec(StrictModel):
    """One search: what is asked of which model, how it is searched for, and when it ends."""

    title: str = ""
    description: str = ""
    preset: str = ""
    target: TargetSpec
    search: SearchSpec = Soft()
    budget: Budget = Budget()
    model: ModelSpec = ModelSpec()
    context: Context = Context()
    seed: Annotated[Seed, Field(description="decides the search")] = 0

    @field_validator("search", mode="before")
    @classmethod
    def _soft_where_no_method_is_named(cls, value: Any) -> Any:
        return {"method": "soft"} | value if isinstance(value, dict) else value
