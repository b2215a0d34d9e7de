"""Real workers that are killed and resumed have bitwise the same result as uninterrupted ones."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest

from distprompt_tui.runs.directory import RunDirectory, create_run
from distprompt_tui.runs.event_reader import EventLogReader
from distprompt_tui.runs.events import Tailer, decode_object
from distprompt_tui.runs.export import export_run
from distprompt_tui.runs.reducer import reduce_all
from distprompt_tui.runs.state import RunState
from tests.tiny_runs import SEARCHES, outcome, tiny_spec
from tests.waiting import until
from tests.worker.faulty_worker import Faults, kill, start_faulty, wait_until_halted

STEPS = 150


def seen(run: RunDirectory) -> RunState:
    """Return the state that a new viewer computes."""
    return reduce_all(EventLogReader(run.events).read())


def steps_of(run: RunDirectory) -> list[int]:
    return [point.step for point in seen(run).curve]


def resumptions(run: RunDirectory) -> int:
    return [event["type"] for event in Tailer(run.events, decode_object).read()].count("resumed")


@pytest.mark.parametrize("search", list(SEARCHES))
def test_killed_and_resumed_equals_uninterrupted(search: str, tmp_path: Path, tiny_folders: dict[str, Path]) -> None:
    spec = tiny_spec(tiny_folders["llama"], search, STEPS)
    whole, run = create_run(spec, tmp_path), create_run(spec, tmp_path)
    start_faulty(whole).join()
    for before, after in enumerate((STEPS // 6, STEPS // 4)):
        worker = start_faulty(run, Faults(steps=10, share=1e9, halt=after))
        wait_until_halted(worker)
        assert resumptions(run) == before
        assert kill(worker)
    start_faulty(run).join()
    assert outcome(run) == outcome(whole)
    state = seen(run)
    assert (state.phase, state.reason) == ("ended", seen(whole).reason)
    assert (state.best_kl, state.best_step, state.start_kl) == (
        seen(whole).best_kl, seen(whole).best_step, seen(whole).start_kl,
    )  # fmt: skip
    assert resumptions(run) == 2


def test_a_viewer_sees_each_step_exactly_once(tmp_path: Path, tiny_folders: dict[str, Path]) -> None:
    run = create_run(tiny_spec(tiny_folders["llama"], steps=400), tmp_path)
    watched, state = EventLogReader(run.events), RunState()
    for _ in range(3):
        worker = start_faulty(run, Faults(seconds=0.1))
        before = seen(run).step
        until(lambda before=before, worker=worker: seen(run).step > before + 20 or not worker.is_alive())
        kill(worker)
        state = reduce_all(watched.read(), state)
    start_faulty(run).join()
    state = reduce_all(watched.read(), state)
    for curve in (steps_of(run), [point.step for point in state.curve]):
        assert curve == sorted(set(curve))
        assert (curve[0], curve[-1]) == (0, 400)
    table = export_run(run, "csv").read_text().splitlines()[1:]
    assert [int(line.partition(",")[0]) for line in table] == steps_of(run)
    assert len(np.fromfile(run.trace, "<f4")) == 401


def test_killed_before_the_first_checkpoint_restarts(tmp_path: Path, tiny_folders: dict[str, Path]) -> None:
    spec = tiny_spec(tiny_folders["llama"], steps=60)
    whole, run = create_run(spec, tmp_path), create_run(spec, tmp_path)
    start_faulty(whole).join()
    worker = start_faulty(run, Faults(seconds=1e9, steps=10**9))
    until(lambda: seen(run).step > 10)
    kill(worker)
    assert not run.checkpoint.exists()
    start_faulty(run).join()
    assert outcome(run) == outcome(whole)
    assert steps_of(run) == sorted(set(steps_of(run)))


def test_a_damaged_checkpoint_repeats_the_steps_since_the_previous_one(
    tmp_path: Path, tiny_folders: dict[str, Path]
) -> None:
    spec = tiny_spec(tiny_folders["llama"], steps=200)
    whole, run = create_run(spec, tmp_path), create_run(spec, tmp_path)
    start_faulty(whole).join()
    worker = start_faulty(run, Faults(steps=20, share=1e9))
    until(run.previous_checkpoint.exists)
    kill(worker)
    run.checkpoint.write_bytes(run.checkpoint.read_bytes()[:-100])
    start_faulty(run).join()
    assert outcome(run) == outcome(whole)
    assert any("checkpoint.safetensors is damaged" in warning for warning in seen(run).warnings)


def test_two_damaged_checkpoints_end_the_run_and_destroy_nothing(tmp_path: Path, tiny_folders: dict[str, Path]) -> None:
    run = create_run(tiny_spec(tiny_folders["llama"]), tmp_path)
    worker = start_faulty(run, Faults(steps=20, share=1e9))
    until(run.previous_checkpoint.exists)
    kill(worker)
    for path in (run.checkpoint, run.previous_checkpoint):
        path.write_bytes(path.read_bytes()[:100])
    kept = [run.checkpoint, run.previous_checkpoint, run.trace, *run.best.iterdir()]
    before = [path.read_bytes() for path in kept]
    start_faulty(run).join()
    assert [path.read_bytes() for path in kept] == before
    state = seen(run)
    assert state.reason == "error"
    assert state.error is not None
    assert "cannot be resumed" in state.error
    assert "\n" not in state.error


def test_kills_at_random_times(tmp_path: Path, tiny_folders: dict[str, Path]) -> None:
    """`tests/benchmarks/kills.py` runs 200 kills."""
    chance = random.Random(1)
    spec = tiny_spec(tiny_folders["llama"], "soft, restarts", steps=150)
    whole, run = create_run(spec, tmp_path), create_run(spec, tmp_path)
    began = time.monotonic()
    start_faulty(whole).join()
    took = time.monotonic() - began
    for _ in range(6):
        worker = start_faulty(run, Faults(seconds=0.05))
        time.sleep(chance.uniform(0, took))
        if not kill(worker):
            break
    else:
        start_faulty(run).join()
    assert outcome(run) == outcome(whole)


def test_a_lost_trace_is_reported(tmp_path: Path, tiny_folders: dict[str, Path]) -> None:
    run = create_run(tiny_spec(tiny_folders["llama"], steps=80), tmp_path)
    worker = start_faulty(run, Faults(steps=20, share=1e9))
    until(run.checkpoint.exists)
    kill(worker)
    run.trace.unlink()
    start_faulty(run).join()
    trace = np.fromfile(run.trace, "<f4")
    assert len(trace) == 81
    assert np.isnan(trace[0])
    assert np.isfinite(trace[-1])
    assert any("lacks" in warning for warning in seen(run).warnings)
