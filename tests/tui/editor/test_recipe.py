"""Recipes: every family as a form and back, other families, parts, errors, and undo."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from distprompt_tui.core.config import target_specs as specs
from distprompt_tui.core.config.target_fields import families, family_summary, fields_of
from distprompt_tui.tui.editor.history import DraftHistory
from distprompt_tui.tui.editor.recipe import (
    Recipe,
    errors_by_line,
    lines_of,
    recipe_of,
    started_recipe,
    target_of,
    value_at,
    with_family,
    with_part,
    with_value,
    without_item,
)
from distprompt_tui.tui.editor.target_draft import Draft

entropies = st.floats(0, 12)
seeds = st.integers(0, 2**63 - 1)
texts = st.text(min_size=1, max_size=8)
simple: st.SearchStrategy[Any] = st.one_of(
    st.builds(specs.Vanilla, entropy=entropies, seed=seeds),
    st.builds(specs.Temperature, entropy=entropies, seed=seeds),
    st.builds(specs.Outlier, entropy=entropies, tokens=st.lists(texts, min_size=1, max_size=3).map(tuple), seed=seeds),
    st.builds(specs.Outlier, entropy=entropies, count=st.integers(1, 9), delta=st.floats(0.001, 0.5)),
    st.builds(specs.Lm, text=texts, model=st.none() | texts, entropy=st.none() | entropies),
    st.builds(specs.Shuffled, text=texts, entropy=st.none() | entropies, seed=seeds),
    st.builds(specs.Reachable, length=st.integers(1, 99), seed=seeds),
    st.builds(
        specs.Explicit,
        probabilities=st.dictionaries(texts, st.floats(0, 1), min_size=1, max_size=3),
        rest=st.sampled_from(["uniform", "model"]),
        text=texts,
    ),
    st.builds(specs.Explicit, file=texts),
    st.just(specs.Uniform()),
    st.builds(specs.OneHot, token=texts),
    st.builds(specs.Zipf, exponent=st.floats(0, 9), seed=seeds),
    st.builds(specs.Zipf, entropy=entropies, seed=seeds),
)
targets: st.SearchStrategy[Any] = st.recursive(
    simple,
    lambda inner: st.builds(
        specs.Mixture,
        parts=st.lists(
            st.builds(specs.MixturePart, weight=st.floats(0.01, 9), target=inner), min_size=1, max_size=3
        ).map(tuple),
    ),
    max_leaves=4,
)


@given(targets)
def test_every_target_round_trips_through_its_form(target: specs.TargetSpec) -> None:
    recipe = recipe_of(target)
    assert target_of(recipe) == (target, {})
    for line in lines_of(recipe):  # typing the same text again changes nothing
        if line.kind not in ("family", "add"):
            recipe = with_value(recipe, line.path, value_at(recipe, line.path))
    assert target_of(recipe) == (target, {})


@pytest.mark.parametrize("family", families())
def test_every_family_has_a_form_from_the_spec(family: str) -> None:
    recipe = started_recipe({"family": family})
    assert [value_at(recipe, line.path) for line in lines_of(recipe) if line.kind == "token"] in ([], [""])
    names = {line.path[0] for line in lines_of(recipe)}
    assert names == {"family", *(name for name in families()[family].model_fields if name != "family")}
    assert family_summary(family).endswith(".")
    target, errors = target_of(recipe)
    if family in ("lm", "shuffled", "one_hot", "explicit"):  # no text or token is a sensible first value
        assert target is None
        assert len(errors) == 1
    else:
        assert target is not None


def described(model: type[BaseModel]) -> bool:
    inner = [field.group for field in fields_of(model) if field.group is not None]
    fields = [field for field in fields_of(model) if field.kind != "target"]
    return all(field.description for field in fields) and all(described(group) for group in inner)


@pytest.mark.parametrize("family", families())
def test_every_field_is_described(family: str) -> None:
    assert described(families()[family])


def test_another_family_keeps_fields_of_the_same_name() -> None:
    outlier = recipe_of(specs.Outlier(entropy=8.0, tokens=(" yes",), seed=3))
    vanilla = with_family(outlier, ("family",), "vanilla")
    assert target_of(vanilla)[0] == specs.Vanilla(entropy=8.0, seed=3)
    assert target_of(with_family(vanilla, ("family",), "outlier"))[0] == specs.Outlier(
        entropy=8.0, tokens=(" yes",), seed=3
    )
    assert target_of(with_family(vanilla, ("family",), "zipf"))[0] == specs.Zipf(entropy=8.0, seed=3)


def test_parts_of_a_mixture_are_added_and_deleted() -> None:
    recipe: Recipe = started_recipe({"family": "mixture"})
    recipe = with_part(recipe, ("parts",))
    recipe = with_family(recipe, ("parts", "1", "target", "family"), "uniform")
    recipe = with_value(recipe, ("parts", "1", "weight"), "2")
    target = target_of(recipe)[0]
    assert isinstance(target, specs.Mixture)
    assert [(part.weight, part.target.family) for part in target.parts] == [(0.5, "vanilla"), (2.0, "uniform")]
    fewer = target_of(without_item(recipe, ("parts", "0", "target", "entropy")))[0]
    assert isinstance(fewer, specs.Mixture)
    assert [part.target.family for part in fewer.parts] == ["uniform"]


def test_tokens_are_added_by_typing_and_deleted() -> None:
    recipe = recipe_of(specs.Outlier(entropy=2, tokens=(" yes",)))
    recipe = with_value(recipe, ("tokens", "1"), " no")
    assert [line.path for line in lines_of(recipe) if line.kind == "token"] == [("tokens", str(n)) for n in range(3)]
    assert target_of(recipe)[0] == specs.Outlier(entropy=2, tokens=(" yes", " no"))
    assert target_of(without_item(recipe, ("tokens", "0")))[0] == specs.Outlier(entropy=2, tokens=(" no",))
    assert without_item(recipe, ("entropy",)) is recipe


def test_errors_have_the_line_of_their_field() -> None:
    recipe = started_recipe({"family": "mixture"})
    recipe = with_value(recipe, ("parts", "0", "weight"), "0")
    recipe = with_family(recipe, ("parts", "0", "target", "family"), "zipf")
    recipe = with_value(recipe, ("parts", "0", "target", "entropy"), "")
    target, errors = target_of(recipe)
    assert target is None
    assert errors_by_line(lines_of(recipe), errors) == {
        ("parts", "0", "weight"): "should be greater than 0",
        ("parts", "0", "target", "family"): "give either an 'exponent' or an 'entropy'",
    }


# Undo.


def typed(entropy: str) -> Draft:
    return Draft(by_recipe=True, recipe={"family": "vanilla", "entropy": entropy})


def test_letters_in_one_field_are_one_step() -> None:
    field = object()
    history = DraftHistory(typed("60"))
    for text in ("6", "", "8", "8.", "8.5"):
        history.record(typed(text), field, len(text))
    history.record(typed("8.5"), field, 3)
    assert history.undo() == typed("")
    assert history.undo() == typed("60")
    assert history.undo() is None
    assert history.redo() == typed("")
    assert history.redo() == typed("8.5")
    assert history.redo() is None


def test_changes_in_several_fields_are_several_steps_and_a_change_ends_redo() -> None:
    first, second = object(), object()
    history = DraftHistory(typed("1"))
    history.record(typed("12"), first, 2)
    history.record(typed("13"), second, 2)
    assert history.undo() == typed("12")
    history.record(typed("14"), None)
    assert history.redo() is None
    assert history.undo() == typed("12")
    assert history.undo() == typed("1")
