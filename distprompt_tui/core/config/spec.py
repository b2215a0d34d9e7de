"""The complete, strictly validated description of a run. A preset is a TOML file of it.

It contains every setting that affects a result, so a run can be repeated from its `spec.toml` alone. The modules of
specs import nothing heavier than pydantic.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from distprompt_tui.core.config.dtypes import DtypeSetting
from distprompt_tui.core.config.search_specs import SearchSpec, Soft
from distprompt_tui.core.config.spec_base import LEGACY_CONTEXT, CountFromZero, Seed, StrictModel
from distprompt_tui.core.config.target_specs import TargetSpec


class ModelSpec(StrictModel):
    """The model, its device and its dtype.

    `name`: registry name, hub name, local folder or GGUF file. `compile`: soft searches run the model as code compiled
    by torch.compile, after their first step.
    """

    name: Annotated[str, Field(min_length=1)] = "smollm2"
    revision: str | None = None
    device: str = "auto"
    dtype: DtypeSetting = "auto"
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
