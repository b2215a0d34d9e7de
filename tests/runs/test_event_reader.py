"""Reading long runs in bounded memory: snapshots stay in the file, and the state is the same."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest

from distprompt_tui.core.storage.safe_io import write_json
from distprompt_tui.runs import schema
from distprompt_tui.runs.event_reader import EventLogReader
from distprompt_tui.runs.events import NEWEST, EventWriter, Tailer, as_fields
from distprompt_tui.runs.reducer import reduce, reduce_all, state_at
from distprompt_tui.runs.schema import PromptToken, Snapshot, TokenMass, decode_event, read_snapshot
from distprompt_tui.runs.state import RunState
from tests.runs.test_state import started, step


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


@pytest.fixture
def writer(path: Path) -> EventWriter:
    writer = EventWriter(path)
    writer.write(started())
    return writer


def snapshot(index: int) -> Snapshot:
    return Snapshot(
        step=index, kl=5 - index / 100, entropy=1.0, reverse_kl=0.5, js=0.1, tv=0.2,
        prompt=(PromptToken(index, f" t{index}", changed=index),), tokens=(TokenMass(7, " x", 0.5, 0.4, 0.1),),
    )  # fmt: skip


def search(writer: EventWriter, first: int, last: int) -> None:
    """Write steps, and a snapshot at every fifth step."""
    for index in range(first, last):
        writer.write(step(index, 5 - index / 100))
        if index % 5 == 0:
            writer.write(snapshot(index))


def test_only_the_newest_snapshot_is_complete(path: Path, writer: EventWriter) -> None:
    search(writer, 0, 52)
    watched = EventLogReader(path)
    events = list(watched.read())
    assert [event.step for event in events if isinstance(event, Snapshot)] == [50]
    assert [place.step for place in watched.places] == list(range(0, 51, 5))
    state = reduce_all(events)
    assert [reading.step for reading in state.readings] == list(range(0, 51, 5))
    assert list(watched.read()) == []
    search(writer, 52, 56)
    state = reduce_all(watched.read(), state)
    assert state.snapshot is not None
    assert (state.step, state.snapshot.step, state.snapshot.prompt[0].text) == (55, 55, " t55")


def test_every_recorded_snapshot_can_be_read_again(path: Path, writer: EventWriter) -> None:
    search(writer, 0, 41)
    watched = EventLogReader(path)
    state = reduce_all(watched.read())
    snapshot = watched.snapshot(watched.places[3])
    assert snapshot is not None
    then = state_at(state, snapshot)
    assert then.snapshot is not None
    assert (then.step, then.kl, then.best_kl, then.best_step) == (15, 4.85, 4.85, 15)
    assert then.snapshot.prompt[0].id == 15
    assert (then.curve, then.bounds) == (state.curve, state.bounds)
    assert then == state_at(then, snapshot)
    assert read_snapshot({"type": "snapshot", "step": 15}) is None


def test_a_resume_removes_later_snapshots(path: Path, writer: EventWriter) -> None:
    search(writer, 0, 31)
    writer.write(schema.Resumed(12))
    search(writer, 13, 17)
    watched = EventLogReader(path)
    state = reduce_all(watched.read())
    assert [place.step for place in watched.places] == [0, 5, 10, 15]
    assert [reading.step for reading in state.readings] == [0, 5, 10, 15]
    assert state.step == 16


def test_the_reader_gives_the_state_of_all_events(
    path: Path, writer: EventWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()
    monkeypatch.setattr("distprompt_tui.runs.events.time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    search(writer, 0, 1000)
    assert reduce_all(EventLogReader(path).read()) == reduce_all(Tailer(path, decode_event).read())


def test_a_missing_snapshot_line_gives_none(path: Path, writer: EventWriter) -> None:
    search(writer, 0, 11)
    watched = EventLogReader(path)
    list(watched.read())
    path.write_bytes(b"\x00\xff{{{\n")
    assert watched.snapshot(watched.places[0]) is None
    path.unlink()
    assert watched.snapshot(watched.places[0]) is None
    assert list(watched.read()) == []


def test_damaged_lines_are_skipped(path: Path, writer: EventWriter) -> None:
    search(writer, 0, 6)
    with path.open("ab") as file:
        file.write(b'{"v":1,"type":"snapshot","step":7,"kl":tru\n{"v":1,"type":"snapshot","step":"x"}\n[1]\n{"half')
    watched = EventLogReader(path)
    state = reduce_all(watched.read())
    assert [place.step for place in watched.places] == [0, 5]
    assert state.snapshot is not None
    assert state.snapshot.step == 5


def test_reducing_in_parts_gives_the_same_state(path: Path, writer: EventWriter) -> None:
    search(writer, 0, 60)
    writer.write(schema.Best(59, 4.41))
    writer.write(schema.Bounds(floor=0.1, head_optimum=0.2))
    search(writer, 60, 70)
    events = Tailer(path, decode_event).read()
    one_by_one = RunState()
    for event in events:
        one_by_one = reduce(one_by_one, event)
    assert one_by_one == reduce_all(events)


def test_the_second_event_file_is_read_once(path: Path, writer: EventWriter) -> None:
    search(writer, 0, 11)
    watched = EventLogReader(path)
    state = reduce_all(watched.read())
    write_json(path.with_name(NEWEST), [as_fields(step(14, 1.5)), as_fields(snapshot(15))], durable=False)
    state = reduce_all(watched.read(), state)
    assert state.snapshot is not None
    assert (state.step, state.kl, state.snapshot.step) == (14, 1.5, 15)
    assert list(watched.read()) == []
    path.with_name(NEWEST).write_text('[{"type": "st')
    assert list(watched.read()) == []
