"""Expands a grid into searches with keys, and groups the searches into tasks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from pydantic import Field, TypeAdapter, field_validator

from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.config.spec_base import StrictModel
from distprompt_tui.core.errors import UsageError
from distprompt_tui.core.storage.legacy import with_old_spec_names
from distprompt_tui.models.fingerprint import ModelRecord
from distprompt_tui.sweeps.results import ResultRow, SearchConfig
from distprompt_tui.sweeps.sweep_spec import Series, Sweep, SweepMethod

SEED_STRIDE = 1000
"""The maximum number of targets of a point, so that two seeds of the grid never share an initial prompt."""

UNUSED_SEED_BITS = 11  # of 64; the other 53 are exact in every reader of JSON

KEY_DIGITS = 16


class SweepSearch(StrictModel):
    """One search of a sweep: its place in the grid, and its spec, whose seed also depends on target and restart."""

    key: str
    series: str
    entropy_asked: float | None
    target_index: int
    seed: int
    restart: int = 0
    spec: RunSpec

    @property
    def config(self) -> SearchConfig:
        return SearchConfig(self.spec.search.method, self.spec.model.name, self.spec.search.length)


class Task(StrictModel):
    """A batch of searches with one configuration, run and committed as a unit; `models` is the record of inputs.py."""

    searches: tuple[SweepSearch, ...]
    models: dict[str, ModelRecord] = Field(default_factory=dict)

    @field_validator("models", mode="before")
    @classmethod
    def _models_of_tables(cls, value: Any) -> Any:
        return TypeAdapter(dict[str, ModelRecord]).validate_python(value)

    @property
    def config(self) -> SearchConfig:
        return self.searches[0].config

    @property
    def keys(self) -> list[str]:
        return [search.key for search in self.searches]


class SearchOutcome(StrictModel):
    """Outcome of a search: its row and the contents of its result file, or the reason why its target is invalid."""

    key: str
    row: ResultRow | None = None
    result: dict[str, Any] | None = None
    invalid: str | None = None

    @field_validator("row", mode="before")
    @classmethod
    def _row_of_a_table(cls, value: Any) -> Any:
        return TypeAdapter(ResultRow).validate_python(value) if isinstance(value, dict) else value


def all_searches(sweep: Sweep) -> list[SweepSearch]:
    """Return every search of a grid, grouped by configuration, in the order of the file.

    Raises:
        UsageError: two series define the same target.
    """
    searches = [
        search
        for model in sweep.models
        for method in sweep.methods
        for length in sweep.lengths
        for search in _searches_of(sweep, model, method, length)
    ]
    known: dict[str, str] = {}
    for search in searches:
        if (other := known.setdefault(search.key, search.series)) != search.series:
            raise UsageError(f"the series {other!r} and {search.series!r} of {sweep.name} define the same targets")
    return searches


def plan_tasks(sweep: Sweep) -> list[Task]:
    """Group the searches of a grid into tasks; the grouping depends on the grid alone.

    Soft searches of one configuration form batches of nearly equal size, at most `sweep.batch`. Hard ones stay single.
    """
    tasks: list[Task] = []
    for config, group in groupby(all_searches(sweep), lambda search: search.config):
        searches = list(group)
        tasks += [Task(searches=part) for part in _parts(searches, sweep.batch if config.method == "soft" else 1)]
    return tasks


def spec_key(spec: RunSpec) -> str:
    fields = with_old_spec_names(spec.model_dump(mode="json", exclude={"title", "description", "preset", "witness"}))
    if fields["search"].get("chains") == 1:
        del fields["search"]["chains"]  # version 0.1 had no other number; keys are unique within one sweep only
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:KEY_DIGITS]


def _searches_of(sweep: Sweep, model: str, method: SweepMethod, length: int) -> Iterator[SweepSearch]:
    settings = sweep.soft if method == "soft" else sweep.hard
    common = {
        "search": settings.model_dump(exclude={"steps"}) | {"length": length},
        "budget": {"steps": settings.steps},
        "model": {"name": model, "device": sweep.device, "dtype": sweep.dtype},
    }
    for seed, series, entropy, index in _places(sweep, model):
        target = sweep.target_fields(series, entropy, index)
        title = f"{sweep.name}: {series.name}"
        for restart in range(sweep.restarts):
            fields = {"title": title, "target": target, "seed": search_seed(seed, index, restart)}
            spec = RunSpec.model_validate(common | fields)
            yield SweepSearch(
                key=spec_key(spec),
                series=series.name,
                entropy_asked=entropy,
                target_index=index,
                seed=seed,
                restart=restart,
                spec=spec,
            )


def search_seed(seed: int, index: int, restart: int) -> int:
    """Return the seed of a search; restarts after the first have seeds derived from it by `numpy.random.SeedSequence`.

    Args:
        seed: of the grid.
        index: of the target, below `SEED_STRIDE`.
        restart: 0 for the first search.
    """
    first = SEED_STRIDE * seed + index
    if restart == 0:
        return first
    derived = np.random.SeedSequence(first, spawn_key=(restart,)).generate_state(1, np.uint64)
    return int(derived[0]) >> UNUSED_SEED_BITS


def _places(sweep: Sweep, model: str) -> Iterator[tuple[int, Series, float | None, int]]:
    """Yield seed, series, entropy and target index of the searches of a model by one method at one length."""
    for seed in sweep.seeds:
        for series in sweep.series:
            if series.models is None or model in series.models:
                for entropy in sweep.points(series):
                    for index in range(sweep.target_count(series)):
                        yield seed, series, entropy, index


def _parts(searches: Sequence[SweepSearch], most: int) -> Iterator[tuple[SweepSearch, ...]]:
    """Split `searches` into consecutive parts of at most `most`; their lengths differ by at most one."""
    count = -(-len(searches) // most)
    edges = [round(len(searches) * part / count) for part in range(count + 1)]
    for first, last in pairwise(edges):
        yield tuple(searches[first:last])
