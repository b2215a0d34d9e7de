"""Sweep files: a strictly validated grid of models, targets, entropies, methods, lengths and seeds."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from distprompt_tui.core.config import search_specs
from distprompt_tui.core.config import spec as specs
from distprompt_tui.core.config.dtypes import DtypeSetting
from distprompt_tui.core.config.spec_base import CountFromZero, Entropy, StrictModel
from distprompt_tui.core.config.target_fields import families
from distprompt_tui.core.config.validation import checked, describe_error
from distprompt_tui.core.errors import UsageError
from distprompt_tui.core.storage.legacy import with_new_spec_names, with_old_spec_names
from distprompt_tui.sweeps.lm_texts import draw_texts


def _printable(name: str) -> str:
    if not name.isprintable():
        raise ValueError("a name must be printable")
    return name


Name = Annotated[str, Field(min_length=1), AfterValidator(_printable)]
SweepMethod = Literal["soft", "hard"]
Finding = Literal["entropy", "outliers", "lm-targets"]
TEXT_FAMILIES = ("lm", "shuffled")  # their targets are made from chosen texts, which are no random sample
Seed = Annotated[int, Field(ge=0, lt=2**53)]  # a thousand times this number is still a valid seed of a search

GRID_CONTROLLED_FIELDS = {"soft": {"method", "length", "restarts"}, "hard": {"method", "length", "locked"}}
"""Fields of a search that its table must not set. `restarts` is a field of the sweep, whose restarts are searches of
their own. Locked positions belong to one text and one length."""


class Series(StrictModel):
    """A series of targets: a family, and its fields that the grid does not set.

    `models` restricts the series to some of the sweep's models.
    """

    name: Name
    target: dict[str, Any]
    models: tuple[Name, ...] | None = None

    @model_validator(mode="after")
    def _family_is_known(self) -> Self:
        if str(self.target.get("family")) not in families():
            raise ValueError(f"the target's family must be one of: {', '.join(families())}")
        return self

    @property
    def family(self) -> type[BaseModel]:
        return families()[self.target["family"]]

    @property
    def takes_entropy(self) -> bool:
        return "entropy" in self.family.model_fields and "exponent" not in self.target

    @property
    def takes_text(self) -> bool:
        return self.target["family"] in TEXT_FAMILIES

    @property
    def takes_seed(self) -> bool:
        return "seed" in self.family.model_fields


class SoftSettings(search_specs.Soft):
    steps: CountFromZero = 300


class HardSettings(search_specs.Hard):
    steps: CountFromZero = 300


class Sweep(StrictModel):
    """A grid of searches.

    Target i of a series has seed i, or text i: of `texts`, or of the shipped texts (`lm_texts.toml`) in an order drawn
    with `text_seed`. It is the same for all methods, lengths and seeds, and search i of a point has its own initial
    prompt. Each search is run `restarts` times with different seeds; the best result counts. Without `entropies`,
    targets keep their own entropy. A soft search advances `batch` targets of one model and length together. A worker
    has `threads` threads; their number determines the order of floating-point additions. `quick` holds the values that
    replace others in a quick sweep.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    title: str = ""
    description: str = ""
    finding: Finding | None = None
    models: Annotated[tuple[Name, ...], Field(min_length=1)] = ("smollm2",)
    methods: Annotated[tuple[SweepMethod, ...], Field(min_length=1)] = ("soft",)
    lengths: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(min_length=1)] = (10,)
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    restarts: Annotated[int, Field(ge=1, le=1000)] = 1
    entropies: Annotated[tuple[Entropy, ...], Field(min_length=1)] | None = None
    targets: Annotated[int, Field(ge=1, le=1000)] = 10
    texts: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    text_seed: Seed | None = None
    series: Annotated[tuple[Series, ...], Field(min_length=1)]
    batch: Annotated[int, Field(ge=1, le=1024)] = 16
    threads: Annotated[int, Field(ge=1, le=1024)] = 2
    device: str = "auto"
    dtype: DtypeSetting = "auto"
    soft: SoftSettings = SoftSettings()
    hard: HardSettings = HardSettings()
    quick: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        for field in ("models", "methods", "lengths", "seeds", "entropies", "texts"):
            _refuse_repeats(field, getattr(self, field) or ())
        _refuse_repeats("series", [series.name for series in self.series])
        if self.texts and self.text_seed is not None:
            raise ValueError("give either texts or text_seed")
        for method, fields in GRID_CONTROLLED_FIELDS.items():
            if theirs := sorted(fields & getattr(self, method).model_fields_set):
                raise ValueError(f"{method}.{theirs[0]} is not allowed in a sweep")
        for series in self.series:
            self._check_series(series)
        try:
            self.with_quick_overrides()
        except UsageError as error:
            raise ValueError(f"quick: {error}") from None
        return self

    def _check_series(self, series: Series) -> None:
        if unknown := set(series.models or ()) - set(self.models):
            raise ValueError(f"series {series.name!r}: {min(unknown)!r} is not among the sweep's models")
        if series.takes_text and len(self.target_texts) < self.targets:
            hint = "" if self.target_texts else "; text_seed draws them from the shipped texts"
            raise ValueError(
                f"series {series.name!r}: {self.targets} targets need as many texts, found "
                f"{len(self.target_texts)}{hint}"
            )
        given = [name for name in self.grid_fields(series) if name in series.target]
        if given:
            raise ValueError(f"series {series.name!r}: the grid sets the {given[0]}, so the target must not")
        for entropy in self.points(series):
            try:
                specs.RunSpec.model_validate({"target": self.target_fields(series, entropy, 0)})
            except ValidationError as error:
                why = describe_error(error, {"target": series.target}, specs.RunSpec)
                raise ValueError(f"series {series.name!r}: {why}") from None

    def grid_fields(self, series: Series) -> list[str]:
        takes = {
            "entropy": series.takes_entropy and self.entropies is not None,
            "seed": series.takes_seed,
            "text": series.takes_text,
        }
        return [name for name, taken in takes.items() if taken]

    def points(self, series: Series) -> tuple[float | None, ...]:
        """Return the entropies of a series; None for targets with their own entropy."""
        return self.entropies if self.entropies is not None and series.takes_entropy else (None,)

    def target_count(self, series: Series) -> int:
        """Return the number of targets of a series at a point; one if all would be equal."""
        return self.targets if series.takes_seed or series.takes_text else 1

    @property
    def target_texts(self) -> tuple[str, ...]:
        """The texts of targets, at most `targets` if they are drawn from the shipped ones."""
        return self.texts if self.text_seed is None else draw_texts(self.text_seed, self.targets)

    def count_for(self, model: str) -> int:
        series = [one for one in self.series if one.models is None or model in one.models]
        return self.restarts * len(self.seeds) * sum(len(self.points(one)) * self.target_count(one) for one in series)

    @property
    def search_count(self) -> int:
        return sum(map(self.count_for, self.models)) * len(self.methods) * len(self.lengths)

    def target_fields(self, series: Series, entropy: float | None, index: int) -> dict[str, Any]:
        values = {"entropy": entropy, "seed": index, "text": self.target_texts[index] if series.takes_text else None}
        return series.target | {name: values[name] for name in self.grid_fields(series)}

    def with_quick_overrides(self) -> Sweep:
        """Return the sweep with its `quick` values applied.

        Raises:
            UsageError: a value is invalid.
        """
        if not self.quick:
            return self
        if theirs := {"name", "finding", "series", "quick"} & set(self.quick):
            raise UsageError(f"{min(theirs)} cannot change in a quick sweep")
        own = self.model_dump(mode="json", exclude_unset=True, exclude={"quick"})
        for field, kind in (("models", list), *((method, dict) for method in GRID_CONTROLLED_FIELDS)):
            if not isinstance(self.quick.get(field, kind()), kind):
                raise UsageError(f"{field} should be a {'table' if kind is dict else 'list'}")
        known = {"soft": SoftSettings.model_fields, "hard": HardSettings.model_fields}
        tables = {
            name: own.get(name, {}) | with_new_spec_names(self.quick.get(name, {}), fields)
            for name, fields in known.items()
        }
        models = self.quick.get("models", self.models)
        return checked(own | self.quick | tables | {"series": self._series_for(models)}, Sweep)

    def with_models(self, models: Sequence[str]) -> Sweep:
        """Return the sweep, and its quick size, on other models, without the series of none of them.

        Raises:
            UsageError: no series remains.
        """
        own = self.model_dump(mode="json", exclude_unset=True)
        quick = {name: value for name, value in self.quick.items() if name != "models"}
        return checked(own | {"models": list(models), "series": self._series_for(models), "quick": quick}, Sweep)

    def _series_for(self, models: Sequence[str]) -> list[dict[str, Any]]:
        kept = []
        for series in self.series:
            fields = series.model_dump(mode="json", exclude_unset=True)
            if series.models is not None:
                fields["models"] = [name for name in series.models if name in models]
            if fields.get("models") != []:
                kept.append(fields)
        if not kept:
            raise UsageError(f"no series of {self.name} is for {' or '.join(models)}")
        return kept

    def resolved(self) -> str:
        """Return the sweep as TOML with every default and drawn text, without `quick`."""
        return tomli_w.dumps(self._resolved_fields())

    def _resolved_fields(self) -> dict[str, Any]:
        left_out: Any = {"quick": True, "text_seed": True} | GRID_CONTROLLED_FIELDS
        fields = self.model_dump(mode="json", exclude_none=True, exclude=left_out)
        return fields | {"texts": list(self.target_texts)}

    @property
    def all_models(self) -> list[str]:
        """The searched models, and those that make targets."""
        others = [str(series.target["model"]) for series in self.series if series.target.get("model")]
        return list(dict.fromkeys([*self.models, *others]))

    @property
    def folder_name(self) -> str:
        """Name and digest of all fields that determine the results; the same as in versions without restarts."""
        fields = self._resolved_fields() | {"title": "", "description": ""}
        if self.restarts == 1:
            del fields["restarts"]
        decisive = tomli_w.dumps(with_old_spec_names(fields))
        return f"{self.name}-{hashlib.sha256(decisive.encode()).hexdigest()[:10]}"


def _refuse_repeats(field: str, values: Any) -> None:
    repeated = [value for value, count in Counter(values).items() if count > 1]
    if repeated:
        raise ValueError(f"{field}: {repeated[0]!r} is listed twice")
