"""The whole vocabulary from a run's arrays, and the snapshot's tokens where they are missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distprompt_tui.runs.events import Tailer
from distprompt_tui.runs.reducer import reduce_all
from distprompt_tui.runs.schema import decode_event
from distprompt_tui.runs.state import RunState
from distprompt_tui.tui.run.token_table import TableQuery, TokenSource, TokenTable
from distprompt_tui.tui.settings import ORDERS, Order
from tests.tui.recording import HOSTILE, SIZE, Recorder, recorded, searching


@pytest.fixture
def source(tmp_path: Path) -> TokenSource:
    return TokenSource(recorded(tmp_path))


@pytest.fixture
def state(source: TokenSource) -> RunState:
    return reduce_all(Tailer(source.run.events, decode_event).read())


@pytest.mark.parametrize("order", ORDERS)
def test_the_whole_vocabulary_is_sorted(source: TokenSource, state: RunState, order: Order) -> None:
    table = source.build(state, TableQuery(order, ""))
    assert table.complete
    assert sorted(table.ids) == list(range(SIZE))
    rows = [table.row(index) for index in range(len(table))]
    values = {
        "probability": [max(row.target, row.achieved) for row in rows],
        "contribution": [row.contribution for row in rows],
        "target": [row.target for row in rows],
        "achieved": [row.achieved for row in rows],
        "gap": [abs(row.gap) for row in rows],
    }[order]
    assert values == sorted(values, reverse=True)


def test_shares_are_parts_of_the_divergence(source: TokenSource, state: RunState) -> None:
    table = source.build(state, TableQuery("contribution", ""))
    p, q = np.load(source.run.target), np.load(source.run.achieved).astype(np.float64)
    assert table.kl == pytest.approx(float((p * np.log(p / q)).sum()))
    assert sum(table.row(index).contribution or 0 for index in range(len(table))) == pytest.approx(1.0)


@pytest.mark.parametrize("find", ["", "word1", "no such token"])
@pytest.mark.parametrize("order", ORDERS)
def test_rows_and_rest_are_the_whole_vocabulary(source: TokenSource, state: RunState, order: Order, find: str) -> None:
    p, q = np.load(source.run.target), np.load(source.run.achieved).astype(np.float64)
    for data in ("newest", "snapshot"):
        table = source.build(state, TableQuery(order, find, frozenset({3}), data))
        first, last = min(2, len(table)), min(7, len(table))
        rest, shown = table.rest(first, last), [table.row(index) for index in range(first, last)]
        assert rest.count + len(shown) == SIZE
        assert rest.target + sum(row.target for row in shown) == pytest.approx(1)
        assert rest.achieved + sum(row.achieved for row in shown) == pytest.approx(1)
        shares = sum(row.contribution or 0 for row in shown)
        assert table.kl is not None
        assert rest.contribution / table.kl + shares == pytest.approx(1)
    assert state.snapshot is not None
    assert table.kl == state.snapshot.kl
    assert source.build(state, TableQuery(order, find)).kl == pytest.approx(float((p * np.log(p / q)).sum()))


def test_masses_of_zero_are_no_error(source: TokenSource, state: RunState) -> None:
    p, q = np.zeros(SIZE), np.zeros(SIZE, dtype=np.float32)
    p[0], q[1] = 1.0, 1.0
    np.save(source.run.target, p)
    np.save(source.run.achieved, q)
    table = source.build(state, TableQuery("contribution", ""))
    assert table.ids[:2] == [0, 1]
    assert np.isfinite(table.row(0).contribution)


def test_finding_by_text_and_by_id(source: TokenSource, state: RunState) -> None:
    assert source.build(state, TableQuery("target", "WORD1")).ids == list(range(10, 20))
    assert source.build(state, TableQuery("target", "33")).ids == [33]
    table = source.build(state, TableQuery("target", "no such token"))
    assert len(table) == 0
    assert table.total == SIZE


def test_a_token_keeps_its_place_or_is_gone(source: TokenSource, state: RunState) -> None:
    table = source.build(state, TableQuery("target", "word"))
    assert table.index_of(table.ids[3]) == 3
    assert table.index_of(0) is None


@pytest.mark.parametrize("order", ORDERS)
def test_without_files_the_snapshot_serves(tmp_path: Path, order: Order) -> None:
    recorder = searching(tmp_path, whole_vocabulary=False, steps=5)
    source = TokenSource(recorder.run)
    state = reduce_all(Tailer(recorder.run.events, decode_event).read())
    table = source.build(state, TableQuery(order, ""))
    assert not table.complete
    assert len(table) == 20
    assert {table.row(index).text for index in range(len(table))} >= set(HOSTILE)


def test_damaged_files_are_not_fatal(source: TokenSource, state: RunState) -> None:
    source.run.achieved.write_bytes(b"\x93NUMPY broken")
    assert not source.build(state, TableQuery("contribution", "")).complete
    source.run.achieved.write_bytes(b"")
    assert not source.build(state, TableQuery("contribution", "")).complete
    np.save(source.run.achieved, np.zeros(3, dtype=np.float32))
    assert not source.build(state, TableQuery("contribution", "")).complete


def test_before_the_first_snapshot_there_are_no_rows(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    table = TokenSource(recorder.run).build(RunState(), TableQuery("contribution"))
    assert isinstance(table, TokenTable)
    assert len(table) == 0


def test_a_run_with_a_damaged_tokenizer_falls_back(source: TokenSource, state: RunState) -> None:
    Path(state.tokenizer_file).write_text("{}")
    assert not source.build(state, TableQuery("contribution", "")).complete
