"""Notes on a result."""

from __future__ import annotations

import io
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from distprompt_tui.cli.tables import print_result
from distprompt_tui.runs.result_notes import outcome_notes
from distprompt_tui.runs.schema import read_result
from distprompt_tui.runs.state import RunState
from tests.fuzz.inputs import HOSTILE, ODD
from tests.fuzz.readers import assert_visible

RESULT: dict[str, Any] = {
    "kl": 0.52,
    "prompt_ids": [1, 2, 3],
    "length_before": 10,
    "kl_before": 0.5,
    "from_kind": "soft",
    "from_kl": 0.02,
    "fluency_weight": 0.1,
    "log_likelihood": -7.25,
}
SHOWN = (
    *RESULT,
    "sphere_bound",
    "state_norm_ratio",
    "sphere_bound_applies",
    "uniform_kl",
    "floor",
    "head_optimum",
    "excess",
    "entropy_target",
    "entropy_achieved",
    "steps",
    "seconds",
    "witness_kl",
    "witness_length",
    "witness_ids",
)
SHOWN_TOO = ("reason", "run", "prompt_text", "projected_kl", "median_distance")


def notes_of(result: dict[str, Any]) -> list[str]:
    return outcome_notes(read_result(result))


def test_each_outcome_has_a_note() -> None:
    result = RESULT
    assert notes_of(result) == [
        "pruned from 10 tokens to 3: KL 0.500 before, 0.520 now",
        "started from a soft prompt with KL 0.020: now 0.520, 0.500 nats above",
        "best by KL − 0.1 × the prompt's mean log-likelihood, −7.250 nats a token",
    ]
    assert notes_of(result | {"from_kl": 2.0})[1].endswith("1.480 nats below")
    assert notes_of({"kl": 0.5}) == []


def test_a_sphere_bound_above_the_floor_has_a_note() -> None:
    result = {"kl": 0.5, "floor": 0.19, "sphere_bound": 0.232, "state_norm_ratio": 0.9999, "sphere_bound_applies": True}
    (note,) = notes_of(result)
    assert note.startswith("sphere bound 0.232: proven for every prompt")
    (note,) = notes_of(result | {"sphere_bound_applies": False, "state_norm_ratio": 0.9})
    assert note.startswith("sphere bound 0.232: does not cover this prompt")
    assert note.endswith("norm 0.900 √d")
    assert notes_of(result | {"sphere_bound": 0.19}) == []


def test_a_search_that_ends_above_its_witness_says_so() -> None:
    known = {"kl": 0.838, "witness_kl": 0.29, "witness_length": 12, "witness_ids": [3] * 12}
    assert notes_of(known) == ["a known prompt of 12 tokens reaches KL 0.290; the search stopped at 0.838"]
    vectors = known | {"witness_ids": None, "witness_length": 1}
    assert notes_of(vectors)[0].startswith("a known prompt of 1 vector reaches")
    assert notes_of(known | {"witness_length": None})[0].startswith("a known prompt reaches")
    assert notes_of(known | {"kl": 0.2905}) == notes_of(known | {"kl": 0.1}) == notes_of({"kl": 0.838}) == []


@given(st.dictionaries(st.sampled_from(SHOWN + SHOWN_TOO), st.sampled_from((*ODD, "[/]", f"[red]{HOSTILE}"))))
def test_notes_on_damaged_results_are_safe_for_the_terminal(changes: dict[str, Any]) -> None:
    """Missing or invalid fields raise nothing, and no field contains control sequences or markup."""
    result = RESULT | changes
    console = Console(file=io.StringIO(), width=200)
    print_result(console, RunState(), result)
    for line in (*notes_of(result), *console.file.getvalue().splitlines()):  # type: ignore[attr-defined]
        assert_visible(line)


def test_markup_in_a_result_is_not_interpreted() -> None:
    console = Console(file=io.StringIO(), width=200)
    print_result(console, RunState(), RESULT | {"from_kind": "[red]", "reason": "[/]", "run": "[bold]"})
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(part in shown for part in ("a [red] prompt", "   [/]", "run     [bold]"))
