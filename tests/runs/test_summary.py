"""Summaries of runs: reading, caching, sorting, filtering and deleting."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from distprompt_tui.core.errors import UsageError
from distprompt_tui.runs import schema
from distprompt_tui.runs import summary as module
from distprompt_tui.runs.directory import RunDirectory, list_runs
from distprompt_tui.runs.process import delete_run
from distprompt_tui.runs.summary import (
    ORDERS,
    RunLabel,
    RunSummary,
    as_dict,
    matching_runs,
    read_runs,
    sorted_runs,
    summarise,
)
from tests.tui.recording import Recorder, recorded


def factories(name: str, state: str = "budget", best: float | None = 1.0, limit: float | None = 0.5) -> RunSummary:
    title = RunLabel(name.split("-")[0], "SmolLM2", "soft", 10, 0)
    return RunSummary(RunDirectory(Path(name)), title, state, best, limit, 3.0, 5, 10, 0.1, 0.0)


def names(runs: list[RunSummary]) -> list[str]:
    return [summary.run.name for summary in runs]


@pytest.mark.parametrize("reason", ["budget", "stopped", "error"])
def test_an_ended_run(tmp_path: Path, reason: str) -> None:
    recorder = Recorder(tmp_path)
    recorder.start()
    recorder.steps(4)
    recorder.bounds()
    recorder.end(reason)
    summary = summarise(recorder.run)
    assert (summary.state, summary.step, summary.seconds_per_step) == (reason, 4, 1.0)
    assert summary.best_kl is not None
    assert summary.head_optimum == 0.19
    assert summary.excess == summary.best_kl - 0.19
    assert not summary.is_live
    assert summary.is_resumable == (reason != "budget")


def test_the_summary_agrees_with_the_complete_state(tmp_path: Path) -> None:
    run = recorded(tmp_path)
    line = as_dict(summarise(run))
    assert line | {"kl": round(line["kl"], 4), "excess": round(line["excess"], 4)} == {
        "run": str(run.path),
        "state": "budget",
        "preset": "outlier",
        "model": "smollm2",
        "method": "soft",
        "length": 10,
        "seed": 0,
        "kl": round(line["kl"], 4),
        "head_optimum": 0.19,
        "excess": round(line["kl"] - 0.19, 4),
        "witness_kl": None,
        "entropy_achieved": line["entropy_achieved"],
        "steps": 40,
        "steps_planned": 1000,
        "changed": line["changed"],
        "problem": None,
    }
    assert 0 < line["excess"] < 0.1
    assert 2 < line["entropy_achieved"] < 4


def test_device_and_machine_are_those_of_the_manifest(tmp_path: Path) -> None:
    run = recorded(tmp_path)
    assert (summarise(run).device, summarise(run).host) == ("", "")
    run.manifest.write_text('{"device": "cuda:0", "host": "gpu-1", "witness": {"kl": 0.29, "length": 12}}')
    assert summarise(run).witness_kl == as_dict(summarise(run))["witness_kl"] == 0.29
    run.manifest.write_text('{"device": "cuda:0", "host": "gpu-1"}')
    assert summarise(run).witness_kl is None
    assert (summarise(run).device, summarise(run).host) == ("cuda:0", "gpu-1")


def test_an_active_run_pauses_and_crashes(tmp_path: Path) -> None:
    living = Recorder(tmp_path)
    living.start()
    with living.living_worker():
        assert summarise(living.run).state == "running"
        living.writer.write(schema.Control(command="pause", outcome="paused"))
        assert summarise(living.run).state == "paused"
    assert summarise(living.run).state == "crashed"


def test_a_resumed_run_that_crashed_has_not_ended(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.start()
    recorder.steps(2)
    recorder.end("stopped")
    recorder.writer.write(schema.Resumed(step=2))
    assert summarise(recorder.run).state == "crashed"


def test_the_head_optimum_is_found_far_from_the_end_once(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, whole_vocabulary=False)
    recorder.start()
    recorder.bounds()
    recorder.steps(100)
    assert recorder.run.events.stat().st_size > module._TAIL_BYTES
    first = summarise(recorder.run)
    assert first.head_optimum == 0.19
    recorder.writer.write(schema.Bounds(floor=0.0, head_optimum=7.0))
    assert summarise(recorder.run, first).head_optimum == 0.19


def test_a_later_head_optimum_is_found_in_the_new_events(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.start()
    recorder.steps(1)
    first = summarise(recorder.run)
    assert first.head_optimum is None
    assert first.scan_offset == recorder.run.events.stat().st_size
    recorder.writer.write(schema.Bounds(floor=0.0, head_optimum=0.0))
    assert summarise(recorder.run, first).head_optimum == 0.0


def test_only_changed_runs_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorders = [Recorder(tmp_path) for _ in range(3)]
    for recorder in recorders:
        recorder.start()
    known = read_runs(tmp_path)
    read: list[Path] = []
    last_events = module._last_events
    monkeypatch.setattr(module, "_last_events", lambda path, size: read.append(path) or last_events(path, size))
    assert read_runs(tmp_path, known) == known
    assert read == []
    recorders[1].steps(1)
    again = read_runs(tmp_path, known)
    assert read == [recorders[1].run.events]
    assert sum(new is old for new, old in zip(again, known, strict=True)) == 2
    with recorders[0].living_worker():
        states = [summary.state for summary in read_runs(tmp_path, again)]
    assert sorted(states) == ["crashed", "crashed", "running"]


def test_damaged_files_are_still_listed(tmp_path: Path) -> None:
    run = recorded(tmp_path)
    run.events.write_bytes(
        b'\x00\xff{{{\n[1,2]\n{"type":"step","step":"x","seconds":[]}\n{"type":"ended","result":3}\n'
    )
    run.spec_file.write_text("[[[")
    (summary,) = read_runs(tmp_path)
    assert (summary.state, summary.best_kl, summary.step) == ("crashed", None, 0)
    assert summary.title == RunLabel(preset=run.name)
    run.spec_file.write_text("budget = 3\nmodel = 4\n")
    run.events.unlink()
    (summary,) = read_runs(tmp_path)
    assert summary.steps_planned is None


def test_a_missing_folder_has_no_runs(tmp_path: Path) -> None:
    assert read_runs(tmp_path / "nowhere") == []


def test_all_sort_orders() -> None:
    runs = [
        factories("b-1", best=None),
        factories("a-2", best=0.7, limit=0.1),
        factories("c-3", "running", best=0.9, limit=0.8),
        factories("b-4", "stopped", best=0.7, limit=None),
    ]
    expected = {
        "newest": ["c-3", "b-4", "b-1", "a-2"],
        "best": ["b-4", "a-2", "c-3", "b-1"],
        "excess": ["c-3", "a-2", "b-4", "b-1"],
        "target": ["a-2", "b-4", "b-1", "c-3"],
        "model": ["c-3", "b-4", "b-1", "a-2"],
        "state": ["b-1", "a-2", "c-3", "b-4"],
    }
    assert {order: names(sorted_runs(runs, order)) for order in ORDERS} == expected


def test_all_words_must_match() -> None:
    runs = [factories("coin-1"), factories("coin-2", "running"), factories("zipf-3")]
    assert names(matching_runs(runs, "COIN  smollm2")) == ["coin-1", "coin-2"]
    assert names(matching_runs(runs, "coin running")) == ["coin-2"]
    assert matching_runs(runs, "coin hard") == []
    assert matching_runs(runs, " ") == runs


def test_deleting_a_run_removes_its_folder(tmp_path: Path) -> None:
    kept, gone = recorded(tmp_path), recorded(tmp_path, "hard")
    delete_run(gone)
    assert list_runs(tmp_path) == [kept]
    assert not gone.path.exists()
    assert kept.events.exists()


def test_an_active_run_is_not_deleted(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    with recorder.living_worker(), pytest.raises(UsageError, match=rf"is running \(process {os.getpid()}\): stop it"):
        delete_run(recorder.run)
    assert recorder.run.spec_file.is_file()


def test_only_runs_are_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "spec.toml").write_text("")
    with pytest.raises(UsageError, match="not a run directory"):
        delete_run(RunDirectory(folder))
    link = tmp_path / "link"
    link.symlink_to(recorded(tmp_path).path)
    with pytest.raises(UsageError, match="not a run directory"):
        delete_run(RunDirectory(link))
    assert (folder / "spec.toml").exists()
    assert RunDirectory(link).spec_file.exists()
