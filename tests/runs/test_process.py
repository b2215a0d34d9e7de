"""Real worker processes: start, follow, stop, kill."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from distprompt_tui.cli import runs as runs_commands
from distprompt_tui.core.config.search_specs import Hard
from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.errors import UsageError
from distprompt_tui.runs import process
from distprompt_tui.runs.directory import RunDirectory, create_run
from distprompt_tui.runs.event_reader import EventLogReader
from distprompt_tui.runs.events import Tailer, decode_object
from distprompt_tui.runs.process import new_request_id, send, start_run, start_worker, stop, worker_pid
from distprompt_tui.runs.reducer import reduce_all
from distprompt_tui.runs.result_notes import outcome_notes
from distprompt_tui.runs.schema import read_result
from distprompt_tui.runs.state import FORCED, RunState
from distprompt_tui.runs.summary import summarise
from tests.tiny_runs import wait_for_end
from tests.waiting import DEADLINE_SECONDS, until


def wait_for(run: RunDirectory, condition: Callable[[RunState], bool]) -> RunState:
    """Follow a run until its state meets the condition; fail with its log after the deadline."""
    reader, state = EventLogReader(run.events), RunState()

    def reached() -> bool:
        nonlocal state
        state = reduce_all(reader.read(), state)
        return condition(state)

    until(reached, run.log.read_text)
    return state


@pytest.fixture
def spec(tiny_folders: dict[str, Path]) -> RunSpec:
    """A search that does not end by itself within the test."""
    return RunSpec.model_validate(
        {
            "preset": "test",
            "model": {"name": str(tiny_folders["llama"]), "device": "cpu"},
            "target": {"family": "outlier", "entropy": 3.0, "tokens": ["yes"]},
            "search": {"method": "soft", "length": 4},
            "budget": {"steps": 10_000_000},
        }
    )


@pytest.fixture
def run(spec: RunSpec, tmp_path: Path) -> RunDirectory:
    """A started run."""
    return start_run(spec, tmp_path)


def test_a_finished_run_has_all_files(spec: RunSpec, tmp_path: Path) -> None:
    run = start_run(spec.model_copy(update={"budget": spec.budget.model_copy(update={"steps": 30})}), tmp_path)
    state = wait_for(run, lambda state: state.phase == "ended")
    wait_for_end(run)
    assert state.reason == "budget"
    result = json.loads(run.result.read_text())
    assert result == state.result
    assert result["steps"] == 30
    trace = np.fromfile(run.trace, dtype="<f4")
    assert len(trace) == 31
    assert trace.min() == pytest.approx(result["kl"], abs=1e-5)
    p, q = np.load(run.target), np.load(run.achieved)
    inside = p > 0
    assert (p[inside] * np.log(p[inside] / q[inside])).sum() == pytest.approx(result["kl"], abs=1e-4)
    events = Tailer(run.events, decode_object).read()
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert run.read_spec().budget.steps == 30
    manifest = json.loads(run.manifest.read_text())
    assert len(manifest["weights_sha256"]) == 64
    assert (run.path.stat().st_mode & 0o777, run.best.stat().st_mode & 0o777) == (0o700, 0o700)
    assert result["head_optimum"] is not None
    assert result["floor"] <= result["head_optimum"] + 1e-9
    assert result["excess"] == pytest.approx(result["kl"] - result["head_optimum"])


def test_pause_resume_and_stop(run: RunDirectory) -> None:
    wait_for(run, lambda state: state.step > 5)
    send(run, "pause")
    paused = wait_for(run, lambda state: state.phase == "paused")
    time.sleep(0.3)
    assert wait_for(run, lambda state: state.phase == "paused").step == paused.step
    send(run, "resume")
    wait_for(run, lambda state: state.phase == "searching" and state.step > paused.step)
    assert stop(run, grace_seconds=DEADLINE_SECONDS)
    state = wait_for(run, lambda state: state.phase == "ended")
    assert state.reason == "stopped"
    assert state.result is not None
    assert state.result["kl"] == pytest.approx(state.best_kl, abs=1e-4)


def test_stopping_a_paused_run(run: RunDirectory) -> None:
    wait_for(run, lambda state: state.step > 0)
    send(run, "pause")
    wait_for(run, lambda state: state.phase == "paused")
    assert stop(run, grace_seconds=DEADLINE_SECONDS)
    assert wait_for(run, lambda state: state.phase == "ended").reason == "stopped"


def test_an_unresponsive_worker_is_killed(run: RunDirectory) -> None:
    wait_for(run, lambda state: state.step > 0)
    pid = worker_pid(run)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    assert not stop(run, grace_seconds=0.3, silent_seconds=0.5)
    wait_for_end(run)
    state = wait_for(run, lambda state: state.phase == "ended")
    assert (state.reason, state.error) == (FORCED, None)
    summary = summarise(run)
    assert (summary.state, summary.is_resumable) == (FORCED, True)
    start_worker(run)  # it resumes, and ignores requests to the earlier worker
    wait_for(run, lambda state: state.phase == "searching" and state.step > 0)
    assert stop(run)


def test_a_temporarily_halted_worker_is_not_killed(run: RunDirectory) -> None:
    wait_for(run, lambda state: state.step > 0)
    pid = worker_pid(run)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    threading.Timer(1.5, os.kill, (pid, signal.SIGCONT)).start()
    assert stop(run, grace_seconds=0.1)
    assert wait_for(run, lambda state: state.phase == "ended").reason == "stopped"


SLOW_WORKER = """
import sys, time
from distprompt_tui.search.soft import SoftSearch
from distprompt_tui.worker.__main__ import main
steps = SoftSearch.steps
def slow(self):
    for step in steps(self):
        yield step
        time.sleep(4 if step.index == 3 else 0)
SoftSearch.steps = slow
sys.exit(main())
"""
"""A worker with a step that takes longer than `stop` waits for heartbeats."""


@pytest.mark.parametrize("how", ["wait", "kill"])
def test_a_worker_in_a_long_step_is_killed_only_on_request(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nexec '{sys.executable}' -c '{SLOW_WORKER}' \"$RUN\"\n")
    python.chmod(0o755)
    run = create_run(spec, tmp_path / "runs")
    monkeypatch.setenv("RUN", str(run.path))
    monkeypatch.setattr(sys, "executable", str(python))
    start_worker(run)
    wait_for(run, lambda state: state.step >= 3)
    force = threading.Event()
    if how == "kill":
        force.set()
    assert stop(run, grace_seconds=0.1, silent_seconds=3.0, force=force) == (how == "wait")
    assert wait_for(run, lambda state: state.phase == "ended").reason == {"wait": "stopped", "kill": FORCED}[how]


def test_requests_during_start_up_are_answered_by_id(spec: RunSpec, tmp_path: Path) -> None:
    """A second viewer's request is answered by its own id; requests to an earlier worker are ignored."""
    run = create_run(spec, tmp_path)
    send(run, "stop")
    start_worker(run)
    mine, others = new_request_id(), new_request_id()
    send(run, "pause", mine)
    assert wait_for(run, lambda state: state.phase == "paused").answered == (mine,)
    send(run, "unlock", others, position=0)
    assert wait_for(run, lambda state: len(state.answered) > 1).answered == (mine, others)
    asked = Tailer(run.control, decode_object).read()
    assert len({request["id"] for request in asked}) == 3
    assert stop(run)
    assert wait_for(run, lambda state: state.phase == "ended").reason == "stopped"


def test_sigterm_before_the_search_ends_the_worker(run: RunDirectory) -> None:
    wait_for(run, lambda state: state.phase != "starting" or run.heartbeat.exists())
    pid = worker_pid(run)
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    assert wait_for(run, lambda state: state.phase == "ended").reason == "stopped"
    wait_for_end(run)


def test_a_second_worker_is_rejected(run: RunDirectory) -> None:
    with pytest.raises(UsageError, match="already has a worker"):
        start_worker(run)
    stop(run)


def test_resumed_after_kill_equals_uninterrupted(spec: RunSpec, tmp_path: Path) -> None:
    """After a kill at some step after a checkpoint, the second worker has the result of an uninterrupted one."""
    spec = spec.model_copy(update={"budget": spec.budget.model_copy(update={"steps": 400})})
    whole = start_run(spec, tmp_path)
    expected = wait_for(whole, lambda state: state.phase == "ended").result
    assert expected is not None
    run = start_run(spec, tmp_path)
    wait_for(run, lambda state: state.step > 50)
    stop(run, grace_seconds=DEADLINE_SECONDS)
    wait_for_end(run)
    start_worker(run)
    result = wait_for(run, lambda state: state.phase == "ended" and state.reason == "budget").result
    assert result is not None
    assert (result["kl"], result["steps"]) == (expected["kl"], expected["steps"])
    assert np.array_equal(np.fromfile(run.trace, "<f4"), np.fromfile(whole.trace, "<f4"))


def test_the_worker_outlives_its_parent(spec: RunSpec, tmp_path: Path) -> None:
    """The parent is a real process in its own terminal session, killed during the search."""
    code = (
        "import sys, time, pathlib\n"
        "from distprompt_tui.core.config.spec import RunSpec\n"
        "from distprompt_tui.runs.process import start_run\n"
        "start_run(RunSpec.model_validate_json(sys.argv[1]), pathlib.Path(sys.argv[2]))\n"
        "time.sleep(1000)\n"
    )
    spec = spec.model_copy(update={"budget": spec.budget.model_copy(update={"steps": 300})})
    starter = subprocess.Popen(
        [sys.executable, "-c", code, spec.model_dump_json(), str(tmp_path)], start_new_session=True
    )
    found = until(lambda: list(tmp_path.glob("*/events.jsonl")))
    os.killpg(starter.pid, signal.SIGKILL)
    starter.wait()
    run = RunDirectory(found[0].parent)
    assert worker_pid(run) is not None
    state = wait_for(run, lambda state: state.phase == "ended")
    assert (state.reason, state.step) == ("budget", 300)


def test_a_failure_is_reported_in_one_sentence(spec: RunSpec, tmp_path: Path) -> None:
    target = spec.target.model_copy(update={"tokens": ("banana split",)})
    run = start_run(spec.model_copy(update={"target": target}), tmp_path)
    state = wait_for(run, lambda state: state.phase == "ended")
    assert state.reason == "error"
    assert state.error is not None
    assert "is not one token for this model" in state.error
    assert "\n" not in state.error


def test_an_ended_search_is_pruned_and_records_its_initial_prompt(spec: RunSpec, tmp_path: Path) -> None:
    budget = spec.budget.model_copy(update={"steps": 8})
    soft = start_run(spec.model_copy(update={"budget": budget}), tmp_path)
    before = wait_for(soft, lambda state: state.phase == "ended").result
    assert before is not None
    assert before["from_kl"] is None
    search = Hard(length=4, init="prompt", init_prompt=str(soft.path), width=8, prune=50.0, fluency_weight=0.1)
    hard = start_run(spec.model_copy(update={"budget": budget, "search": search}), tmp_path)
    state = wait_for(hard, lambda state: state.phase == "ended")
    result = state.result
    assert result is not None
    assert (result["from_prompt"], result["from_kind"]) == (str(soft.path), "soft")
    assert result["from_kl"] == pytest.approx(before["kl"], abs=1e-4)
    assert result["length_before"] == 4
    assert len(result["prompt_ids"]) < 4
    assert result["kl"] <= result["kl_before"] + 50
    assert result["kl_string"] == pytest.approx(result["kl"], abs=1e-4)
    assert json.loads((hard.best / "prompt.json").read_text())["ids"] == result["prompt_ids"]
    assert json.loads(hard.manifest.read_text())["widths"] == {"width": 8, "chains": 1}
    assert result["log_likelihood"] < 0 or len(result["prompt_ids"]) == 1
    assert len(outcome_notes(read_result(result))) == 3


def test_manual_edits_while_paused(spec: RunSpec, tmp_path: Path) -> None:
    hard = Hard(length=4, init="text", init_text="yes or no, heads", locked=(0,), width=8)
    run = start_run(spec.model_copy(update={"search": hard}), tmp_path)
    wait_for(run, lambda state: state.step > 3)
    send(run, "pause")
    paused = wait_for(run, lambda state: state.phase == "paused")
    assert paused.snapshot is not None
    assert paused.snapshot.prompt[0].locked
    token = paused.snapshot.prompt[0].id
    send(run, "edit", position=2, token=token)
    edited = wait_for(run, lambda state: state.snapshot is not None and state.snapshot.prompt[2].id == token)
    assert edited.snapshot is not None
    assert edited.snapshot.prompt[2].changed == edited.step
    assert edited.kl == pytest.approx(edited.snapshot.kl, abs=1e-4)
    send(run, "lock", position=2)
    wait_for(run, lambda state: state.snapshot is not None and state.snapshot.prompt[2].locked)
    send(run, "edit", position=9, token=token)
    refused = wait_for(run, lambda state: bool(state.warnings))
    assert refused.warnings == ("there is no position 10 in a prompt of length 4",)
    assert refused.phase == "paused"
    assert summarise(run).state == "paused"
    send(run, "resume")
    later = wait_for(run, lambda state: state.step > edited.step + 10 and bool(state.snapshot))
    assert later.snapshot is not None
    assert later.snapshot.prompt[2].id == token
    assert any(tried is not None and len(tried.tokens) > 1 for tried in later.snapshot.candidates)
    assert stop(run, grace_seconds=DEADLINE_SECONDS)


class Terminal(io.StringIO):
    """A terminal that notes what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.written.set()
        return super().write(text)


def test_the_command_explains_a_slow_stop(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, terminal = create_run(spec, tmp_path), Terminal()
    monkeypatch.setattr(process, "SLOW_STOP_SECONDS", 0.0)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(process, "worker_pid", lambda run: 1)
    monkeypatch.setattr(process, "stop", lambda run, force: terminal.written.wait(DEADLINE_SECONDS))
    runs_commands.stop_run(run.name, tmp_path)
    assert "waiting for the end of the current step" in terminal.getvalue()
    assert capsys.readouterr().out == "stopped\n"
