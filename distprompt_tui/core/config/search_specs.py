"""Specs of the search methods. The searches are in `distprompt_tui.search`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from distprompt_tui.core.config.spec_base import (
    LEGACY_CONTEXT,
    Count,
    CountFromZero,
    Length,
    SpecToken,
    StrictModel,
)

LONGEST_REGEX = 1000  # in characters; matching longer expressions may take forever

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
