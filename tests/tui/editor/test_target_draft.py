"""The editor's logic: parsing, validation, and robustness to any text."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distprompt_tui.core.config.target_specs import Explicit, Lm, Outlier, Uniform
from distprompt_tui.core.errors import TargetError
from distprompt_tui.core.text.escapes import escape_field, unescape
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.targets import build_target
from distprompt_tui.tui.editor.recipe import Recipe, Value
from distprompt_tui.tui.editor.target_draft import (
    MAX_ROWS,
    TOP_ROWS,
    Draft,
    Row,
    check,
    draft_of,
    is_written_out,
    read_mass,
    rescaled,
    rows_of_tokens,
    summary_of,
    write_token,
)
from tests.tui.recording import HOSTILE
from tests.tui.vocabularies import write_byte_level

anything = st.text(max_size=30)


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    return write_byte_level(tmp_path_factory.mktemp("bytes"))


def rows(*pairs: tuple[str, str]) -> Draft:
    return Draft(rows=tuple(Row(token, mass) for token, mass in pairs))


# Fields.


@given(anything)
def test_field_round_trip(text: str) -> None:
    written = escape_field(text)
    assert unescape(written) == text
    assert not {"\n", "\t"} & set(written)


def test_token_round_trip(vocabulary: Vocabulary) -> None:
    for token_id in range(vocabulary.size):
        written = write_token(token_id, vocabulary)
        assert vocabulary.id_of(unescape(written)) == token_id
        assert written.isprintable()


@given(st.floats(0, 1e9))
def test_probability_round_trip(mass: float) -> None:
    assert read_mass(f" {mass!r} ") == mass


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("half", "'half' is not a number"),
        ("0,5", "'0,5' is not a number; enter a probability such as 0.25"),
        ("nan", "nan is not a probability; enter a number from 0 to 1"),
        ("-inf", "-inf is not a probability"),
        ("-0.1", "the probability -0.1 is negative"),
    ],
)
def test_invalid_probabilities_raise(written: str, expected: str) -> None:
    with pytest.raises(TargetError, match=expected):
        read_mass(written)


# Rows.


def test_rows_become_a_target(vocabulary: Vocabulary) -> None:
    report = check(rows((" yes", "0.5"), ("", ""), (" no", ".3"), ("", "")), vocabulary)
    assert report.problem == ""
    assert report.total == pytest.approx(0.8)
    assert report.target == Explicit(probabilities={" yes": 0.5, " no": 0.3})
    assert report.rows[0].short == f"id {vocabulary.id_of(' yes')}"
    made = build_target(report.target, vocabulary)
    assert made.probabilities[vocabulary.id_of(" no")] == 0.3


def test_rest_uses_the_text_only_if_selected(vocabulary: Vocabulary) -> None:
    by_hand = Draft(rows=(Row(" yes", "0.5"),), text="Well\\n")
    assert check(by_hand, vocabulary).target == Explicit(probabilities={" yes": 0.5})
    model = Draft(rows=by_hand.rows, rest="model", text="Well\\n")
    assert check(model, vocabulary).target == Explicit(probabilities={" yes": 0.5}, rest="model", text="Well\n")
    new_line = Draft(rows=by_hand.rows, rest="model")
    assert check(new_line, vocabulary).target == Explicit(probabilities={" yes": 0.5}, rest="model", text="\n")


def test_several_tokens_offer_the_first(vocabulary: Vocabulary) -> None:
    report = check(rows((" banana yes", "0.5")), vocabulary)
    assert report.target is None
    assert report.is_wrong
    assert report.rows[0].short == "2 tokens"
    assert "·banana·yes is 2 tokens: ·banana + ·yes; enter takes ·banana" in report.problem
    assert report.rows[0].first_piece == " banana"


def test_a_number_that_is_several_tokens_may_be_an_id(vocabulary: Vocabulary) -> None:
    assert "id:5231 is the token with that id" in check(rows(("5231", "1")), vocabulary).problem


def test_word_without_space_is_noted(vocabulary: Vocabulary) -> None:
    with_space = vocabulary.id_of(" yes")
    report = check(rows(("yes", "1"), (" yes", "0")), vocabulary)
    assert not report.problem
    assert f"·yes is another: {with_space}" in report.rows[0].sentence
    assert "another" not in report.rows[1].sentence


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([(" yes", "-1")], "row 1: the probability -1 is negative"),
        ([(" yes", "0.5"), (" no", "nan")], "row 2: nan is not a probability"),
        ([(" yes", "0.7"), (" no", "0.7")], "the probabilities sum to 1.4, more than 1"),
        ([(" yes", "7")], "the probabilities sum to 7, more than 1"),
        ([(" yes", "1e308"), (" no", "1e308")], "the probabilities sum to inf, more than 1"),
        ([("", "0.5")], "row 1: a probability without a token"),
        ([("id:99999", "0.5")], "row 1: token id 99999 is outside this vocabulary"),
        ([(f"id:{'9' * 5000}", "0.5")], "row 1: "),
    ],
)
def test_invalid_rows_give_a_problem_and_no_target(
    vocabulary: Vocabulary, pairs: list[tuple[str, str]], expected: str
) -> None:
    report = check(rows(*pairs), vocabulary)
    assert report.problem.startswith(expected)
    assert report.is_wrong
    assert report.target is None


def test_duplicate_by_id_is_an_error(vocabulary: Vocabulary) -> None:
    token_id = vocabulary.id_of(" yes")
    report = check(rows((" yes", "0.5"), (f"id:{token_id}", "0.1")), vocabulary)
    assert report.problem == f"row 2: this is token {token_id}, which is already in row 1"
    assert report.target is None


def test_row_without_probability_is_omitted(vocabulary: Vocabulary) -> None:
    report = check(rows((" yes", "0.5"), (" no", "")), vocabulary)
    assert report.target == Explicit(probabilities={" yes": 0.5})
    assert report.problem == "row 2 has no probability yet"
    assert not report.is_wrong
    assert check(rows(("", "")), vocabulary).problem.startswith("enter a token")


@given(st.lists(st.tuples(st.one_of(anything, st.sampled_from(HOSTILE)), anything), max_size=4))
def test_check_accepts_any_text(vocabulary: Vocabulary, pairs: list[tuple[str, str]]) -> None:
    report = check(rows(*pairs), vocabulary)
    assert len(report.rows) == len(pairs)
    if report.target is not None:
        build_target(report.target, vocabulary)
    else:
        assert report.problem


# Rescaling.


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=MAX_ROWS))
def test_rescaled_probabilities_leave_no_rest(vocabulary: Vocabulary, masses: list[float]) -> None:
    written = rescaled([Row(f"id:{number}", f"{mass!r}") for number, mass in enumerate(masses)])
    report = check(Draft(rows=written), vocabulary)
    assert report.problem == ""
    assert report.target is not None
    made = build_target(report.target, vocabulary)
    assert "no remainder" in made.recipe
    for number, mass in enumerate(masses):
        assert made.probabilities[number] == pytest.approx(mass / math.fsum(masses), rel=1e-8)


def test_rescaling_keeps_incomplete_rows() -> None:
    assert rescaled([Row(" yes", "1"), Row(" no"), Row("", "3")]) == (
        Row(" yes", "0.25"),
        Row(" no"),
        Row("", "0.75"),
    )


@pytest.mark.parametrize("masses", [[], ["0"], ["", ""], ["1", "x"], ["-1"], ["1e308", "1e308"]])
def test_invalid_rescaling_raises(masses: list[str]) -> None:
    with pytest.raises(TargetError):
        rescaled([Row(" yes", mass) for mass in masses])


# Starting points.


def test_explicit_target_round_trip(vocabulary: Vocabulary) -> None:
    target = Explicit(probabilities={" yes": 1 / 6, "\n": 0.5}, rest="model", text="a\\b\n")
    draft = draft_of(target)
    assert draft.rows == (Row(" yes", "0.16666666666666666"), Row("\\n", "0.5"))
    assert check(draft, vocabulary).target == target


def test_other_targets_open_with_their_recipe_or_blank() -> None:
    draft = draft_of(Lm(text="Once\n", entropy=2.5))
    assert draft.by_recipe
    assert draft.trimmed().recipe == {"family": "lm", "text": "Once\\n", "entropy": "2.5"}
    assert draft_of(Outlier(entropy=3, count=1)).trimmed().recipe["count"] == "1"
    assert draft_of(Explicit(file="p.npy")).by_recipe
    large = Explicit(probabilities={f"id:{number}": 0.001 for number in range(MAX_ROWS + 1)})
    assert not is_written_out(large)
    assert draft_of(large) == Draft()


@given(st.lists(st.floats(1e-12, 1), min_size=1, max_size=30))
def test_rows_of_a_target_never_sum_to_more(vocabulary: Vocabulary, weights: list[float]) -> None:
    masses = sorted((weight / math.fsum(weights) for weight in weights), reverse=True)
    made = rows_of_tokens([(number, "", mass) for number, mass in enumerate(masses)], vocabulary)
    assert len(made) == min(len(weights), TOP_ROWS)
    report = check(Draft(rows=made), vocabulary)
    assert report.problem == ""
    for row, mass in zip(made, masses, strict=False):
        assert mass * 0.999 <= read_mass(row.mass) <= mass


# A recipe.


def by_recipe(**fields: Value) -> Draft:
    return Draft(rows=(Row("nonsense row", "-1"),), by_recipe=True, recipe=fields)


def test_text_becomes_an_lm_target(vocabulary: Vocabulary) -> None:
    draft = by_recipe(family="lm", text="Once \\n", entropy=" 2.5 ")
    assert check(draft, vocabulary).target == Lm(text="Once \n", entropy=2.5)
    missing = check(by_recipe(family="lm", text=""), vocabulary)
    assert (missing.problem, missing.is_wrong, missing.target) == ("text is missing", False, None)
    assert not missing.fields["text",].is_wrong
    for entropy in ("-1", "nan", "much", "inf"):
        wrong = check(by_recipe(family="lm", text="a", entropy=entropy), vocabulary)
        assert wrong.is_wrong
        assert wrong.problem.startswith("entropy: should be")
        assert wrong.problem == f"entropy: {wrong.fields['entropy',].sentence}"


def test_tokens_of_a_recipe_are_checked_in_their_line(vocabulary: Vocabulary) -> None:
    fields: Recipe = {"family": "outlier", "entropy": "2", "count": "", "tokens": (" yes", " banana yes")}
    report = check(by_recipe(**fields), vocabulary)
    assert report.fields["tokens", "0"].short == f"id {vocabulary.id_of(' yes')}"
    assert report.fields["tokens", "1"].first_piece == " banana"
    assert report.target is None
    assert "is 2 tokens" in report.problem
    good = check(by_recipe(**fields | {"tokens": (" yes", " banana", "")}), vocabulary)
    assert good.target == Outlier(entropy=2, tokens=(" yes", " banana"))


def test_errors_that_concern_several_fields_are_on_the_family(vocabulary: Vocabulary) -> None:
    report = check(by_recipe(family="outlier", entropy="2", tokens=(), count=""), vocabulary)
    assert report.fields["family",].sentence == "give either 'tokens' (the outliers) or 'count' (their number)"


def test_summaries() -> None:
    assert (
        summary_of(Explicit(probabilities={" a": 1.0}))
        == "Explicit probabilities of one token; the rest is spread evenly."
    )
    assert summary_of(Lm(text="Hi", entropy=3)).endswith("after “Hi”, rescaled to 3 nats.")
    assert summary_of(Outlier(entropy=3, tokens=(" a",))) == "outlier: entropy 3.0, tokens “ a”, delta 0.02, seed 0."
    assert summary_of(Uniform()) == "The same probability for every token."
