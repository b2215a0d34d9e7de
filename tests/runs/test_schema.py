"""Encoding and decoding of events."""

from __future__ import annotations

import json
from typing import Any

import pytest

from distprompt_tui.runs import schema
from distprompt_tui.runs.events import as_fields
from distprompt_tui.runs.schema import (
    Event,
    PositionCandidates,
    PromptToken,
    TokenMass,
    TriedToken,
    decode_event,
    decode_light_event,
    read_result,
    read_snapshot,
)
from tests.runs.test_state import started, step

SNAPSHOT = schema.Snapshot(
    step=3, kl=2.7, entropy=1.5, reverse_kl=None, js=0.1, tv=0.2,
    prompt=(
        PromptToken(1, " a", changed=2, improvement=0.5, locked=True, surprisal=0.1),
        PromptToken(2, "\n", cosine=0.5),
    ),
    tokens=(TokenMass(7, " x", 0.5, 1 + 1e-7, -0.1),),
    candidates=(None, PositionCandidates(3, 2.7, (TriedToken(2, "b", 2.5, True), TriedToken(4, "c", 2.7)))),
)  # fmt: skip

EVENTS: list[Event] = [
    schema.Progress("model", "loading", 0.5), started(), step(2, 3.0), SNAPSHOT,
    schema.Projection(3, (1, 2), 4.0, 0.5), schema.Bounds(0.5, 1e-6, 1.0, 0.9, 1.0, None, 3.0), schema.Best(2, 3.0),
    schema.Checkpoint(2), schema.Control("edit", "edited", "id", None, 1, 5, 3.0, 2.5), schema.Warning("careful"),
    schema.Resumed(3), schema.Ended("error", {"kl": 2.0}, "out of memory", 1), schema.Ended("budget"),
]  # fmt: skip


def line(event: Event, **changes: Any) -> bytes:
    return json.dumps(as_fields(event) | changes).encode()


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_events_round_trip(event: Event) -> None:
    assert decode_event(line(event)) == event
    assert decode_event(line(event, of_a_later_version=[1])) == event
    if event is not SNAPSHOT:
        assert decode_light_event(line(event)) == event


def test_a_snapshot_can_be_decoded_without_its_tokens() -> None:
    light = decode_light_event(line(SNAPSHOT, prompt=7))
    assert light == schema.Divergences(3, 2.7, 1.5, None, 0.1, 0.2)


@pytest.mark.parametrize(
    ("event", "changes"),
    [
        (step(2, 3.0), {"kl": 1e16}),
        (step(2, 3.0), {"kl": "3"}),
        (step(2, 3.0), {"kl": None}),
        (step(2, 3.0), {"step": -1}),
        (step(2, 3.0), {"step": 2**53 + 1}),
        (step(2, 3.0), {"step": True}),
        (step(2, 3.0), {"entropy": -0.1}),
        (SNAPSHOT, {"tokens": [[7, " x", 1.1, 0.5, 0.1]]}),
        (SNAPSHOT, {"tokens": [[7, " x", 0.5, 0.5]]}),
        (SNAPSHOT, {"prompt": [{"id": 1}]}),
        (schema.Warning("careful"), {"text": 3}),
        (schema.Resumed(3), {"type": "of a later version"}),
    ],
)
def test_an_invalid_event_keeps_only_its_common_fields(event: Event, changes: dict[str, Any]) -> None:
    assert decode_event(line(event, t=5.0, **changes)) == Event(t=5.0)


@pytest.mark.parametrize("damaged", [b"[1]", b"{", b'{"t": NaN}', b'{"a": 1} {}', b'{"text": "\\ud800"}', b"\xff"])
def test_a_line_that_is_not_an_object_is_rejected(damaged: bytes) -> None:
    for decode in (decode_event, decode_light_event):
        with pytest.raises(ValueError, match=r"."):
            decode(damaged)


def test_a_damaged_result_is_empty_and_a_damaged_snapshot_is_none() -> None:
    assert read_result({"kl": 2.0, "of_a_later_version": 1}) == schema.Result(kl=2.0)
    assert read_result({"kl": "2.0"}) == read_result(None) == schema.Result()
    assert read_snapshot(as_fields(SNAPSHOT)) == SNAPSHOT
    assert read_snapshot({"step": 3}) is None


def test_non_finite_numbers_become_null() -> None:
    assert as_fields(schema.Bounds(floor=float("nan"), gap=float("inf")))["gap"] is None
