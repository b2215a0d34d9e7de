"""A long run in little memory: snapshots stay in the file, steps are thinned, and the state is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distprompt_tui.runs import event_reader
from distprompt_tui.runs.event_reader import EventLogReader
from distprompt_tui.runs.events import NEWEST, EventWriter, Tailer
from distprompt_tui.runs.reducer import as_of, reduce, reduce_all
from distprompt_tui.runs.state import RunState
from distprompt_tui.storage.safe_io import write_json
from tests.runs.test_state import started, step


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


@pytest.fixture
def writer(path: Path) -> EventWriter:
    writer = EventWriter(path)
    write(writer, started())
    return writer


def write(writer: EventWriter, event: dict[str, Any]) -> None:
    writer.write(event["type"], **{name: value for name, value in event.items() if name not in ("type", "t")})


def snapshot(index: int, reverse_kl: float | None = 0.5) -> dict[str, Any]:
    return {
        "type": "snapshot", "step": index, "kl": 5 - index / 100, "entropy": 1.0, "reverse_kl": reverse_kl,
        "js": 0.1, "tv": 0.2, "prompt": [{"id": index, "text": f" t{index}", "changed": index}],
        "tokens": [[7, " x", 0.5, 0.4, 0.1]],
    }  # fmt: skip


def search(writer: EventWriter, first: int, last: int) -> None:
    """Steps, and a snapshot every fifth."""
    for index in range(first, last):
        write(writer, step(index, 5 - index / 100))
        if index % 5 == 0:
            write(writer, snapshot(index))


def test_only_the_newest_snapshot_is_read_whole(path: Path, writer: EventWriter) -> None:
    search(writer, 0, 52)
    watched = EventLogReader(path)
    events = list(watched.read())
    assert [event["step"] for event in events if "prompt" in event] == [50]
    assert [place.step for place in watched.places] == list(range(0, 51, 5))
    state = reduce_all(events)
    assert [reading.step for reading in state.readings] == list(range(0, 51, 5))
    assert list(watched.read()) == []
    search(writer, 52, 56)
    state = reduce_all(watched.read(), state)
    assert state.snapshot is not None
    assert (state.step, state.snapshot.step, state.snapshot.prompt[0].text) == (55, 55, " t55")


def test_any_moment_can_be_gone_back_to(path: Path, writer: EventWriter) -> None:
    search(writer, 0, 41)
    watched = EventLogReader(path)
    state = reduce_all(watched.read())
    event = watched.snapshot(watched.places[3])
    assert event is not None
    then = as_of(state, event)
    assert then is not None
    assert then.snapshot is not None
    assert (then.step, then.kl, then.best_kl, then.best_step) == (15, 4.85, 4.85, 15)
    assert then.snapshot.prompt[0].id == 15
    assert (then.curve, then.bounds) == (state.curve, state.bounds)
    assert then == as_of(then, event)
    assert as_of(state, {"type": "snapshot", "step": 15}) is None


def test_what_a_resumed_run_did_not_do_is_not_in_its_history(path: Path, writer: EventWriter) -> None:
    search(writer, 0, 31)
    writer.write("resumed", step=12)
    search(writer, 13, 17)
    watched = EventLogReader(path)
    state = reduce_all(watched.read())
    assert [place.step for place in watched.places] == [0, 5, 10, 15]
    assert [reading.step for reading in state.readings] == [0, 5, 10, 15]
    assert state.step == 16


def test_many_steps_are_thinned_and_the_last_one_counts(
    path: Path, writer: EventWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_reader, "MAX_CURVE_POINTS", 16)
    search(writer, 0, 1000)
    events = list(EventLogReader(path).read())
    steps = [event["step"] for event in events if event["type"] == "step"]
    assert len(steps) < 16 * 8
    assert (steps[0], steps[-1]) == (0, 999)
    whole = reduce_all(Tailer(path).read())
    thinned = reduce_all(events)
    same = ("step", "kl", "best_kl", "best_step", "start_kl", "entropy", "seconds", "snapshot", "readings")
    assert [getattr(thinned, name) for name in same] == [getattr(whole, name) for name in same]


def test_a_moment_whose_line_is_gone_is_none(path: Path, writer: EventWriter) -> None:
    search(writer, 0, 11)
    watched = EventLogReader(path)
    list(watched.read())
    path.write_bytes(b"\x00\xff{{{\n")
    assert watched.snapshot(watched.places[0]) is None
    path.unlink()
    assert watched.snapshot(watched.places[0]) is None
    assert list(watched.read()) == []


def test_damaged_lines_are_passed_over(path: Path, writer: EventWriter) -> None:
    search(writer, 0, 6)
    with path.open("ab") as file:
        file.write(b'{"v":1,"type":"snapshot","step":7,"kl":tru\n{"v":1,"type":"snapshot","step":"x"}\n[1]\n{"half')
    watched = EventLogReader(path)
    state = reduce_all(watched.read())
    assert [place.step for place in watched.places] == [0, 5]
    assert state.snapshot is not None
    assert state.snapshot.step == 5


def test_many_at_once_and_one_by_one_give_the_same_state(path: Path, writer: EventWriter) -> None:
    search(writer, 0, 60)
    writer.write("best", step=59, kl=4.41)
    writer.write("bounds", floor=0.1, head_optimum=0.2)
    search(writer, 60, 70)
    events = Tailer(path).read()
    one_by_one = RunState()
    for event in events:
        one_by_one = reduce(one_by_one, event)
    assert one_by_one == reduce_all(events)


def test_what_a_long_run_says_beside_its_events_is_read_once(path: Path, writer: EventWriter) -> None:
    search(writer, 0, 11)
    watched = EventLogReader(path)
    state = reduce_all(watched.read())
    write_json(path.with_name(NEWEST), [step(14, 1.5), snapshot(15)], durable=False)
    state = reduce_all(watched.read(), state)
    assert state.snapshot is not None
    assert (state.step, state.kl, state.snapshot.step) == (14, 1.5, 15)
    assert list(watched.read()) == []
    path.with_name(NEWEST).write_text('[{"type": "st')
    assert list(watched.read()) == []
