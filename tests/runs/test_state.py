"""The reducer: pure, tolerant, and bounded in memory."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distprompt_tui.runs.reducer import MAX_CURVE_POINTS, reduce, reduce_all
from distprompt_tui.runs.schema import Budget, Event, Started, Step, decode_event
from distprompt_tui.runs.state import RunState


def event(**fields: Any) -> Event:
    """Decode an event from fields."""
    return decode_event(json.dumps(fields).encode())


def started() -> Started:
    return Started(
        t=100.0, run="r", preset="outlier", model="m", method="soft", length=10, device="cpu", dtype="float32",
        vocab_size=400, tokenizer_file="", recipe="", entropy_target=2.0, uniform_kl=4.0, budget=Budget(steps=100),
    )  # fmt: skip


def step(index: int, kl: float, best: float | None = None) -> Step:
    """Return a `step` event; steps take 0.1 s."""
    best = kl if best is None else best
    return Step(index, kl, best, entropy=1.0, seconds=index / 10, best_step=index, t=100 + index / 10)


def test_a_run_from_start_to_end() -> None:
    state = reduce_all([event(type="progress", t=99, stage="model", text="loading", fraction=None)])
    assert state.phase == "preparing"
    state = reduce_all([started(), step(0, 3.0), step(1, 2.0), step(2, 2.5, best=2.0)], state)
    assert (state.phase, state.step, state.kl, state.best_kl, state.start_kl) == ("searching", 2, 2.5, 2.0, 3.0)
    assert state.best_step == 1
    assert state.steps_per_second == pytest.approx(10)
    assert state.seconds_left == pytest.approx(9.8)
    state = reduce(state, event(type="bounds", floor=0.5, gap=1e-6))
    assert (state.bounds.floor, state.excess) == (0.5, None)
    state = reduce(state, event(type="bounds", floor=None, head_optimum=1.0))
    assert state.bounds.floor == 0.5
    assert state.excess == pytest.approx(1.0)
    assert state.gap_closed == pytest.approx(0.5)
    state = reduce(state, event(type="ended", reason="budget", result={"kl": 2.0}))
    assert (state.phase, state.reason, state.result) == ("ended", "budget", {"kl": 2.0})


def test_pause_and_resume() -> None:
    state = reduce_all([started(), event(type="control", command="pause", outcome="paused")])
    assert state.phase == "paused"
    assert reduce(state, event(type="control", command="resume", outcome="resumed")).phase == "searching"


def test_a_resume_discards_later_steps() -> None:
    events = [started(), *(step(i, 3 - i / 10) for i in range(10)), event(type="ended", reason="stopped")]
    state = reduce_all([*events, event(type="resumed", step=4)])
    assert (state.phase, state.step, state.reason) == ("searching", 4, None)
    assert [point.step for point in state.curve] == [0, 1, 2, 3]  # the search reports step 4 again
    assert (state.best_kl, state.best_step) == (None, None)
    again = reduce(state, step(4, 2.6))
    assert [point.step for point in again.curve] == [0, 1, 2, 3, 4]
    assert again.best_kl == 2.6


def test_the_curve_is_bounded_and_keeps_both_ends() -> None:
    state = reduce_all([started(), *(step(i, 5.0 - i / 1e5) for i in range(3 * MAX_CURVE_POINTS))])
    steps = [point.step for point in state.curve]
    assert len(steps) <= MAX_CURVE_POINTS
    assert steps == sorted(set(steps))
    assert (steps[0], steps[-1]) == (0, 3 * MAX_CURVE_POINTS - 1)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=5,
)
KINDS = ["progress", "started", "step", "snapshot", "bounds", "control", "warning", "resumed", "ended", "news"]
FIELDS = ["t", "step", "kl", "best_kl", "prompt", "tokens", "budget", "text", "stage", "floor", "reason", "outcome"]


@given(st.lists(st.dictionaries(st.sampled_from(FIELDS), json_values), max_size=4), st.sampled_from(KINDS))
def test_reducing_any_event_succeeds_without_side_effects(bodies: list[dict[str, Any]], kind: str) -> None:
    state = reduce_all([started(), step(0, 1.0)])
    for body in bodies:
        try:
            found = event(**body | {"type": kind})
        except ValueError:  # an infinite number is not JSON
            continue
        before = copy.deepcopy(found)
        after = reduce(state, found)
        assert isinstance(after, RunState)
        assert found == before
        state = after
