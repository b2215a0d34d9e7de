"""Sweeps in real worker processes: their rows, and recovery from killed processes."""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest
import torch

from distprompt_tui.core.config.search_specs import Soft
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search.soft import SoftSearch
from distprompt_tui.sweeps.directory import SweepDirectory, SweepWriter, make_directory, read_lines
from distprompt_tui.sweeps.executors.local import LocalExecutor
from distprompt_tui.sweeps.process import runner_pid
from distprompt_tui.sweeps.results import ResultRow
from distprompt_tui.sweeps.runner import Progress, SweepRunner
from distprompt_tui.sweeps.sweep_spec import Sweep
from distprompt_tui.sweeps.tasks import SearchOutcome, all_searches
from distprompt_tui.targets import build_target
from distprompt_tui.worker.model_provider import ModelProvider
from tests.sweeps.conftest import only_sweep, start, untimed
from tests.waiting import DEADLINE_SECONDS, until


def test_every_search_has_a_row_and_a_result(tiny_sweep: Sweep, whole: SweepDirectory) -> None:
    rows = whole.read_rows()
    assert [row.key for row in rows] == [search.key for search in all_searches(tiny_sweep)]
    for row in rows:
        assert row.head_optimum is not None
        assert row.floor is not None
        assert row.floor <= row.head_optimum + 1e-9 <= row.kl + 2e-9
        assert row.kl <= row.start + 1e-5
        assert (row.kl_string is None) == (row.method == "soft")
        assert (row.witness_kl is None) == (row.family == "vanilla")
        assert (row.witness_length is None) == (row.witness_kl is None)
        assert row.entropy_asked == pytest.approx(row.entropy, abs=1e-3)
        result = whole.read_result(row.key)
        assert len(result["prompt"]) == row.length
        assert sum(token["after"] for token in result["tokens"]) <= 1 + 1e-9
    table = whole.table.read_text().splitlines()
    assert len(table) == len(rows) + 1
    assert table[0].endswith(",excess,gap_closed")
    assert table[1].startswith(rows[0].key)


def test_row_matches_a_single_search(
    tiny_sweep: Sweep, whole: SweepDirectory, tiny_models: dict[str, LanguageModel]
) -> None:
    rows = {row.key: row for row in whole.read_rows()}
    model = tiny_models["llama"]
    for asked in [search for search in all_searches(tiny_sweep) if search.config.method == "soft"][::3]:
        spec = asked.spec
        assert isinstance(spec.search, Soft)
        source = ModelProvider(model, spec.model, lambda text, fraction: None)
        target = torch.tensor(build_target(spec.target, model.vocabulary, source).probabilities)
        alone = SoftSearch(model, target, spec.search, spec.budget.steps, spec.seed)
        first, *_, last = list(alone.steps())
        row = rows[asked.key]
        assert row.kl == pytest.approx(alone.best.kl, rel=0.05)
        assert row.start == pytest.approx(first.kls[0], rel=1e-4)
        assert (row.steps, row.positions) == (last.index, last.positions)


def test_killed_sweep_continues_without_missing_or_repeated_rows(
    tiny_sweep: Sweep, whole: SweepDirectory, tmp_path: Path
) -> None:
    listed = start(tiny_sweep, tmp_path, "--dry-run", "--json")
    out, _ = listed.communicate(timeout=DEADLINE_SECONDS)
    told = json.loads(out)
    assert (listed.returncode, told["done"], told["searches"]) == (0, 0, 16)
    assert [(part["method"], part["searches"], part["seconds"]) for part in told["left"]] == [
        ("soft", 8, None),
        ("hard", 8, None),
    ]

    measured = start(tiny_sweep, tmp_path, "--estimate", "--json")
    out, _ = measured.communicate(timeout=DEADLINE_SECONDS)
    told = json.loads(out)
    assert (told["done"], told["searches"]) == (3, 16)  # a batch and a hard search
    assert [(part["method"], part["searches"]) for part in told["left"]] == [("soft", 6), ("hard", 7)]
    for part in told["left"]:
        assert part["seconds"] == pytest.approx(part["seconds_each"] * part["searches"])
        assert part["peak_bytes"] > 1 << 26  # torch alone is more

    before = rows_under(tmp_path)
    killed = start(tiny_sweep, tmp_path)
    until(lambda: rows_under(tmp_path) != before or killed.poll() is not None)
    assert killed.poll() is None
    time.sleep(random.uniform(0, 0.5))
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()

    end = start(tiny_sweep, tmp_path, "--json")
    out, _ = end.communicate(timeout=DEADLINE_SECONDS)
    assert end.returncode == 0
    assert (json.loads(out)["done"], json.loads(out)["left"]) == (told["searches"], [])
    again = only_sweep(tmp_path)
    keys = [row.key for row in read_lines(again.rows_file, ResultRow)]
    assert len(keys) == len(set(keys)) == told["searches"]
    assert untimed(again.read_rows()) == untimed(whole.read_rows())


def rows_under(home: Path) -> int:
    """Count the rows under a home."""
    return len(read_lines(only_sweep(home).rows_file, ResultRow))


def test_killed_worker_is_replaced(tiny_sweep: Sweep, whole: SweepDirectory, tmp_path: Path) -> None:
    directory = make_directory(tiny_sweep, tmp_path)
    runner = SweepRunner(directory)
    failed: list[str | None] = []

    def show(now: Progress) -> None:
        failed.append(now.report.error)
        if len(failed) == 1:  # before the next task, which finds a dead worker
            for child in psutil.Process().children():
                if "distprompt_tui.sweeps.worker" in child.cmdline():
                    child.kill()

    executor = LocalExecutor(1, tiny_sweep.threads, directory.log)
    runner.run_tasks(runner.missing(), executor, show)
    executor.close()
    assert [error for error in failed if error] == ["the worker was killed by signal 9"]
    assert not runner.failed
    assert untimed(directory.read_rows()) == untimed(whole.read_rows())


def test_repeated_failures_are_reported(tiny_sweep: Sweep, tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    broken = shutil.copytree(tiny_folders["llama"], tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"no weights")
    few = {"methods": ("soft",), "entropies": (2.0, 100.0), "targets": 1, "batch": 1, "series": tiny_sweep.series[:1]}
    sweep = tiny_sweep.model_copy(update=few | {"models": (*tiny_sweep.models, str(broken))})
    end = start(sweep, tmp_path)
    out, err = end.communicate(timeout=DEADLINE_SECONDS)
    assert end.returncode == 1
    assert "failed after 2 attempts, 2 searches: " in out
    assert "invalid, 1 search: impossible entropy of 100 nats" in out
    assert err.count("failed: ") == 4
    directory = only_sweep(tmp_path)
    assert [row.model for row in directory.read_rows()] == list(tiny_sweep.models)
    assert sorted(failure.attempts for failure in directory.read_failures()) == [0, 2, 2]


def test_second_process_is_rejected(tiny_sweep: Sweep, tmp_path: Path) -> None:
    (tmp_path / "sweeps").mkdir()
    directory = make_directory(tiny_sweep, tmp_path / "sweeps")
    with directory.locked():
        second = start(tiny_sweep, tmp_path)
        _, err = second.communicate(timeout=DEADLINE_SECONDS)
    assert second.returncode == 2
    assert f"{directory.name} is already running (process {os.getpid()})" in err
    assert not directory.rows_file.exists()
    with directory.locked():
        pass


def test_checking_the_lock_does_not_block_a_runner(
    tiny_sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = make_directory(tiny_sweep, tmp_path)
    viewer = os.open(directory.lock, os.O_RDONLY | os.O_CREAT)
    fcntl.flock(viewer, fcntl.LOCK_SH)
    monkeypatch.setattr("distprompt_tui.runs.process.time.sleep", lambda seconds: os.close(viewer))
    with directory.locked():
        assert runner_pid(directory) == os.getpid()
    assert runner_pid(directory) is None


def test_torn_line_is_skipped_and_terminated(whole: SweepDirectory, tiny_sweep: Sweep, tmp_path: Path) -> None:
    directory = make_directory(tiny_sweep, tmp_path)
    rows = whole.read_rows()
    lines = whole.rows_file.read_bytes().splitlines(keepends=True)
    directory.rows_file.write_bytes(lines[0] + lines[1][:40])
    assert len(directory.read_rows()) == 1
    writer = SweepWriter(directory)
    outcomes = [SearchOutcome(key=row.key, row=row, result={}) for row in rows]
    writer.commit(outcomes)
    writer.commit(outcomes)
    assert directory.read_rows() == rows
    assert len(read_lines(directory.rows_file, ResultRow)) == len(rows)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_term_print_how_to_continue(tiny_sweep: Sweep, tmp_path: Path, number: signal.Signals) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it may be ignored
    running = start(tiny_sweep, tmp_path)
    signal.signal(signal.SIGINT, before)
    workers = until(psutil.Process(running.pid).children)
    running.send_signal(number)
    out, err = running.communicate(timeout=DEADLINE_SECONDS)
    assert running.returncode == 130
    assert "stopped; repeat the command to continue" in out
    assert "Traceback" not in err
    assert not psutil.wait_procs(workers, timeout=DEADLINE_SECONDS)[1]


def test_invalid_options_are_errors(tiny_sweep: Sweep, tmp_path: Path) -> None:
    for option, expected in (("--quick", "has no [quick] size"), ("--model=nothing", "no model 'nothing'")):
        end = start(tiny_sweep, tmp_path, option)
        _, err = end.communicate(timeout=DEADLINE_SECONDS)
        assert end.returncode in (2, 3)
        assert expected in err
        assert not (tmp_path / "sweeps").exists()
