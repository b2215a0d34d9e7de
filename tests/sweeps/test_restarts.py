"""Restarts of real searches: own seeds and rows, alone and in batches, and resumed one by one."""

from __future__ import annotations

from pathlib import Path

import pytest

from distprompt_tui.sweeps.curves import panels
from distprompt_tui.sweeps.directory import SweepWriter, make_directory
from distprompt_tui.sweeps.execute import run_task
from distprompt_tui.sweeps.runner import SweepRunner
from distprompt_tui.sweeps.sweep_spec import Sweep
from distprompt_tui.sweeps.tasks import plan_tasks


@pytest.fixture
def restarted(tiny_sweep: Sweep) -> Sweep:
    """Two targets, three restarts each; a soft batch holds four of the six searches at most."""
    fields = {"entropies": (2.0,), "series": tiny_sweep.series[:1], "batch": 4, "restarts": 3}
    short = {
        "soft": tiny_sweep.soft.model_copy(update={"steps": 8}),
        "hard": tiny_sweep.hard.model_copy(update={"steps": 2}),
    }
    return tiny_sweep.model_copy(update=fields | short)


def test_restarts_are_searches_of_their_own_and_the_best_counts(restarted: Sweep, tmp_path: Path) -> None:
    directory = make_directory(restarted, tmp_path)
    tasks = plan_tasks(restarted)
    assert [(task.config.method, len(task.searches)) for task in tasks] == [("soft", 3)] * 2 + [("hard", 1)] * 6
    writer = SweepWriter(directory)
    writer.commit(outcome for task in tasks for outcome in run_task(task))
    rows = directory.read_rows()
    assert [(row.method, row.target_index, row.restart) for row in rows] == [
        (method, target, restart) for method in ("soft", "hard") for target in (0, 1) for restart in (0, 1, 2)
    ]
    for first in range(0, len(rows), 3):
        restarts = rows[first : first + 3]
        assert len({row.start for row in restarts}) == 3  # from different prompts
        assert len({(row.head_optimum, row.entropy) for row in restarts}) == 1  # to the same target
    for panel, method in zip(panels(rows), ("soft", "hard"), strict=True):
        bests = [min(row.kl for row in rows if (row.method, row.target_index) == (method, target)) for target in (0, 1)]
        assert panel.curves[0].points[0].kl.value == pytest.approx(sum(bests) / 2)
        assert panel.curves[0].points[0].kl.targets == 2


def test_sweep_is_resumed_at_the_missing_restart(restarted: Sweep, tmp_path: Path) -> None:
    directory = make_directory(restarted, tmp_path)
    tasks = plan_tasks(restarted)
    hard = [task for task in tasks if task.config.method == "hard"]
    SweepWriter(directory).commit(run_task(hard[1]))
    missing = SweepRunner(directory).missing()
    assert missing == [task for task in tasks if task != hard[1]]
    (row,) = directory.read_rows()
    assert (row.target_index, row.restart) == (0, 1)
