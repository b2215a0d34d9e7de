"""The event file: readers get complete lines only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distprompt_tui.runs import schema
from distprompt_tui.runs.events import EventWriter, Tailer, decode_object


def test_written_events_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    writer, tailer = EventWriter(path), Tailer(path, decode_object)
    assert tailer.read() == []
    writer.write(schema.Best(step=1, kl=0.5))
    writer.write(schema.Ended("budget", {"kl": float("nan"), "rows": [float("inf"), 1.0]}))
    first, second = tailer.read()
    assert (first["v"], first["seq"], first["type"], first["kl"]) == (1, 0, "best", 0.5)
    assert (second["seq"], second["result"]) == (1, {"kl": None, "rows": [None, 1.0]})
    assert tailer.read() == []


def test_no_event_follows_the_end_of_a_run(tmp_path: Path) -> None:
    """A thread of the worker may still compute bounds; a resumed run has another writer."""
    path = tmp_path / "events.jsonl"
    writer = EventWriter(path)
    for event in (schema.Best(1, 0.5), schema.Ended("error"), schema.Bounds(floor=0.1)):
        writer.write(event)
    EventWriter(path).write(schema.Resumed(1))
    assert [event["type"] for event in Tailer(path, decode_object).read()] == ["best", "ended", "resumed"]


@given(st.lists(st.dictionaries(st.text(max_size=4), st.text()), min_size=1, max_size=5), st.integers(1, 7))
def test_partial_writes_give_the_same_lines(values: list[dict[str, str]], piece: int) -> None:
    data = b"".join(json.dumps(value, ensure_ascii=False).encode() + b"\n" for value in values)
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lines.jsonl"
        tailer, seen = Tailer(path, decode_object), []
        for start in range(0, len(data), piece):
            with path.open("ab") as file:
                file.write(data[start : start + piece])
            seen += tailer.read()
    assert seen == values


def test_a_damaged_line_is_counted_and_skipped(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"a":1}\n\xff\xfe{{{\n[1]\n{"a":2}\n{"half')
    tailer = Tailer(path, decode_object)
    assert tailer.read() == [{"a": 1}, {"a": 2}]
    assert tailer.damaged == 2


def test_a_new_writer_continues_after_an_incomplete_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    EventWriter(path).write(schema.Warning("first"))
    with path.open("ab") as file:
        file.write(b'{"v":1,"seq":1,"ty')  # killed in the middle of a line
    EventWriter(path).write(schema.Resumed(0))
    tailer = Tailer(path, decode_object)
    assert [(event["seq"], event["type"]) for event in tailer.read()] == [(0, "warning"), (1, "resumed")]
    assert tailer.damaged == 1


def test_events_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    EventWriter(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_key_that_is_not_a_string_raises_a_type_error(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        EventWriter(tmp_path / "events.jsonl").write(schema.Ended("budget", {"value": object()}))
    assert Tailer(tmp_path / "events.jsonl", decode_object).read() == []
