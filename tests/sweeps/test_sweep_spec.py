"""Expansion and validation of grids."""

from __future__ import annotations

import hashlib
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from distprompt_tui.core.config import paths
from distprompt_tui.core.config.methods import METHODS
from distprompt_tui.core.config.validation import checked
from distprompt_tui.core.errors import NotFoundError, UsageError
from distprompt_tui.core.storage.legacy import with_old_spec_names
from distprompt_tui.sweeps.catalog import load_sweep
from distprompt_tui.sweeps.directory import make_directory
from distprompt_tui.sweeps.lm_texts import draw_texts
from distprompt_tui.sweeps.sweep_spec import GRID_CONTROLLED_FIELDS, Sweep, SweepMethod
from distprompt_tui.sweeps.tasks import all_searches, plan_tasks, search_seed

TEXTS = ["one", "two", "three", "four"]
SERIES: list[dict[str, Any]] = [
    {"name": "random", "target": {"family": "vanilla"}},
    {"name": "loud", "target": {"family": "outlier", "count": 2}},
    {"name": "text", "target": {"family": "lm"}},
    {"name": "dealt", "target": {"family": "shuffled", "model": "b"}, "models": ["a"]},
    {"name": "alike", "target": {"family": "uniform"}},
]


def some(values: list[Any]) -> st.SearchStrategy[list[Any]]:
    """Draw some of the values in any order."""
    return st.lists(st.sampled_from(values), min_size=1, unique=True)


@st.composite
def grids(draw: st.DrawFn) -> Sweep:
    """Draw small grids."""
    fields: dict[str, Any] = {
        "name": "grid",
        "models": ["a", *draw(st.sampled_from([[], ["b"]]))],
        "methods": draw(some(["soft", "hard"])),
        "lengths": draw(some([1, 5, 10])),
        "seeds": draw(some([0, 1, 7])),
        "restarts": draw(st.integers(1, 3)),
        "entropies": draw(some([0.5, 2.0, 6.0])),
        "targets": draw(st.integers(1, 4)),
        "texts": TEXTS,
        "batch": draw(st.integers(1, 9)),
        "series": [SERIES[index] for index in draw(some(list(range(len(SERIES)))))],
    }
    return checked(fields, Sweep)


@given(grids())
def test_every_point_of_the_grid_is_searched_once(sweep: Sweep) -> None:
    searches = all_searches(sweep)
    assert len(searches) == sweep.search_count
    each = len(sweep.methods) * len(sweep.lengths) * len(sweep.seeds) * sweep.restarts
    points = {"uniform": 1, "other": len(sweep.entropies or ()) * sweep.targets}
    expected = [
        points.get(series.target["family"], points["other"]) * each
        for model in sweep.models
        for series in sweep.series
        if model in (series.models or sweep.models)
    ]
    assert len(searches) == sum(expected)
    assert len({search.key for search in searches}) == len(searches)
    assert Counter(search.restart for search in searches) == dict.fromkeys(
        range(sweep.restarts), sum(expected) // sweep.restarts
    )
    for search in searches:
        asked = getattr(search.spec.target, "entropy", None)
        assert (asked, search.spec.search.length) == (search.entropy_asked, search.config.length)


@given(grids())
def test_all_methods_lengths_and_seeds_have_the_same_targets(sweep: Sweep) -> None:
    targets: dict[Any, Any] = {}
    for search in all_searches(sweep):
        place = (search.config.model, search.series, search.entropy_asked, search.target_index)
        assert targets.setdefault(place, search.spec.target) == search.spec.target
    by_series: dict[Any, list[Any]] = {}
    for (model, series, entropy, _), target in targets.items():
        by_series.setdefault((model, series, entropy), []).append(target.model_dump_json())
    assert all(len(set(point)) == len(point) for point in by_series.values())


@given(grids())
def test_no_two_searches_of_a_point_have_the_same_seed(sweep: Sweep) -> None:
    seeds: dict[Any, list[int]] = {}
    for search in all_searches(sweep):
        seeds.setdefault((search.config, search.series, search.entropy_asked), []).append(search.spec.seed)
        if search.restart == 0:
            assert search.spec.seed == 1000 * search.seed + search.target_index
    assert all(len(set(point)) == len(point) for point in seeds.values())


def test_more_restarts_keep_the_searches_there_are() -> None:
    once, thrice = (checked(FIELDS | {"restarts": restarts}, Sweep) for restarts in (1, 3))
    first = [search for search in all_searches(thrice) if search.restart == 0]
    assert first == all_searches(once)
    assert [search.restart for search in plan_tasks(thrice)[0].searches[:4]] == [0, 1, 2, 0]
    assert search_seed(2**53 - 1, 999, 2) < 2**53


def test_folder_of_a_sweep_without_restarts_is_that_of_earlier_versions() -> None:
    sweep = checked(FIELDS, Sweep)
    fields = tomllib.loads(sweep.resolved())
    assert fields.pop("restarts") == 1
    earlier = tomli_w.dumps(with_old_spec_names(fields | {"title": "", "description": ""}))
    assert sweep.folder_name == f"grid-{hashlib.sha256(earlier.encode()).hexdigest()[:10]}"
    assert checked(FIELDS | {"restarts": 2}, Sweep).folder_name != sweep.folder_name


def test_texts_are_drawn_from_the_shipped_ones() -> None:
    fields = {name: value for name, value in FIELDS.items() if name != "texts"}
    drawn, other = (checked(fields | {"text_seed": seed}, Sweep) for seed in (0, 1))
    texts = {search.target_index: search.spec.target.text for search in all_searches(drawn) if search.series == "text"}
    assert list(texts.values()) == list(draw_texts(0, 3))
    assert tomllib.loads(drawn.resolved())["texts"] == list(draw_texts(0, 3))  # a later version can ship other texts
    inline = checked(fields | {"texts": list(draw_texts(0, 3))}, Sweep)
    assert drawn.folder_name == inline.folder_name != other.folder_name
    assert drawn.with_quick_overrides().target_texts == draw_texts(0, 1) == draw_texts(0, 3)[:1]


@given(grids())
def test_tasks_partition_the_searches(sweep: Sweep) -> None:
    tasks = plan_tasks(sweep)
    assert [search for task in tasks for search in task.searches] == all_searches(sweep)
    for task in tasks:
        assert {search.config for search in task.searches} == {task.config}
        assert len(task.searches) <= (sweep.batch if task.config.method == "soft" else 1)


@given(grids())
def test_resolved_sweep_is_the_same_sweep(sweep: Sweep) -> None:
    again = checked(tomllib.loads(sweep.resolved()), Sweep)
    assert again.folder_name == sweep.folder_name
    assert plan_tasks(again) == plan_tasks(sweep)


FIELDS: dict[str, Any] = {
    "name": "grid",
    "models": ["a", "b"],
    "methods": ["soft"],
    "entropies": [1.0, 2.0],
    "targets": 3,
    "texts": TEXTS,
    "series": SERIES,
    "soft": {"optimizer": "adam", "steps": 30},
    "quick": {"targets": 1, "models": ["b"], "soft": {"steps": 5}},
}


def test_quick_values_replace_the_others() -> None:
    quick = checked(FIELDS, Sweep).with_quick_overrides()
    assert (quick.targets, quick.models, quick.entropies) == (1, ("b",), (1.0, 2.0))
    assert (quick.soft.steps, quick.soft.optimizer) == (5, "adam")
    assert "dealt" not in [series.name for series in quick.series]
    assert quick.folder_name != checked(FIELDS, Sweep).folder_name


def test_title_and_description_do_not_change_the_digest() -> None:
    sweep, told = checked(FIELDS, Sweep), checked(FIELDS | {"title": "A grid", "description": "It is one."}, Sweep)
    assert (told.folder_name, told.title) == (sweep.folder_name, "A grid")
    assert [search.key for search in all_searches(told)] == [search.key for search in all_searches(sweep)]


def test_other_models() -> None:
    sweep = checked(FIELDS, Sweep).with_models(["c"])
    assert {search.config.model for search in all_searches(sweep)} == {"c"}
    only = checked(FIELDS | {"series": [SERIES[3]], "quick": {}}, Sweep)
    with pytest.raises(UsageError, match="no series of grid is for c"):
        only.with_models(["c"])


def test_quick_sweep_on_another_model_has_its_series() -> None:
    quick = checked(FIELDS, Sweep).with_models(["a"]).with_quick_overrides()
    assert (quick.targets, quick.models) == (1, ("a",))
    assert "dealt" in [series.name for series in quick.series]


def test_targets_keep_their_entropy_without_entropies() -> None:
    fields = {name: value for name, value in FIELDS.items() if name not in ("entropies", "series")}
    sweep = checked(fields | {"series": [SERIES[2]]}, Sweep)
    assert {search.entropy_asked for search in all_searches(sweep)} == {None}
    with pytest.raises(UsageError, match=r"series 'random': target\.entropy is missing"):
        checked(fields | {"series": [SERIES[0]]}, Sweep)


def one(**target: Any) -> dict[str, Any]:
    """Make a grid with one series."""
    return {"series": [{"name": "one", "target": target}]}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"soft": {"length": 3}}, r"soft\.length is not allowed in a sweep"),
        ({"soft": {"restarts": 3}}, r"soft\.restarts is not allowed in a sweep"),
        ({"hard": {"init": "text", "init_text": "a", "locked": [0]}}, r"hard\.locked is not allowed in a sweep"),
        ({"soft": {"stepz": 3}}, r"soft\.stepz is not a field; did you mean 'steps'"),
        ({"soft": {"steps": 1 << 40}}, r"soft\.steps: it should be less than or equal to 2147483647"),
        ({"hard": {"steps": 1 << 40}}, r"hard\.steps: it should be less than or equal to 2147483647"),
        ({"methods": ["warm"]}, "it should be 'soft' or 'hard'"),
        ({"seeds": [1, 1]}, "seeds: 1 is listed twice"),
        ({"texts": ["one"]}, "series 'text': 3 targets need as many texts, found 1$"),
        ({"texts": []}, "found 0; text_seed draws them from the shipped texts"),
        ({"text_seed": 0}, "give either texts or text_seed"),
        ({"texts": [], "text_seed": 0, "targets": 1000}, "1000 targets need as many texts, found "),
        ({"restarts": 0}, "restarts: it should be greater than or equal to 1"),
        ({"quick": {"targets": 9}}, "quick: .*9 targets need as many texts, found 4"),
        ({"quick": {"series": []}}, "quick: series cannot change"),
        ({"name": "../up"}, "name: String should match"),
        (one(family="vanilla", seed=1), "series 'one': the grid sets the seed"),
        (one(family="vanilla", entropy=1.0), "series 'one': the grid sets the entropy"),
        (one(family="outlier"), "series 'one': target: give either 'tokens'"),
        (one(family="outlier", coutn=1), r"series 'one': target\.coutn is not a field; did you mean 'count'"),
        (one(family="outlyer"), "family must be one of: vanilla"),
        ({"series": [SERIES[0], {**SERIES[1], "models": ["c"]}]}, "series 'loud': 'c' is not among"),
    ],
)
def test_error_is_one_line(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(UsageError, match=expected) as caught:
        checked(FIELDS | {"quick": {}} | change, Sweep)
    assert "\n" not in str(caught.value)


def test_series_with_the_same_targets_are_invalid() -> None:
    sweep = checked(FIELDS | {"series": [SERIES[0], {**SERIES[0], "name": "again"}]}, Sweep)
    with pytest.raises(UsageError, match="'random' and 'again' of grid define the same"):
        all_searches(sweep)


def test_error_in_a_file_has_its_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    series = '[[series]]\nname = "{}"\ntarget = {{ family = "uniform" }}\n'
    file.write_text('name = "a"\n' + series.format("b") + series.format("c") + "modls = []\n")
    with pytest.raises(UsageError, match=r"mine\.toml:8: series\.1\.modls is not a field; did you mean 'models'"):
        load_sweep(str(file))
    with pytest.raises(NotFoundError, match="no sweep 'nothing'"):
        load_sweep("nothing")


def test_shipped_sweeps_are_valid() -> None:
    for path in (paths.shipped_presets_dir() / "sweeps").glob("*.toml"):
        sweep = load_sweep(path.stem)
        assert all_searches(sweep)
        assert all_searches(sweep.with_quick_overrides())


def test_sweep_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    """The hard search had other fields."""
    directory = make_directory(load_sweep("finding-entropy"), tmp_path)
    sweep, written = directory.read_sweep(), directory.sweep_file.read_text()
    directory.sweep_file.write_text(written.replace("pool = 6144", "top_k = 256\nmerge = 8\npairs = 12"))
    assert "top_k" in directory.sweep_file.read_text()
    assert directory.read_sweep() == sweep


def test_the_methods_of_a_sweep_are_search_methods_with_settings() -> None:
    methods = get_args(SweepMethod)
    assert set(methods) == set(GRID_CONTROLLED_FIELDS) <= set(METHODS)
    assert [Sweep.model_fields[method].default.method for method in methods] == list(methods)
