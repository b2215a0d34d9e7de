"""The end of a worker's process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.waiting import DEADLINE_SECONDS

COMPUTE_UNTIL_THE_END = """
import runpy, threading, torch
from distprompt_tui.worker import session

def run_session(*_):
    computing = threading.Event()
    def compute():
        matrix = torch.ones(300, 300)
        while True:
            matrix = matrix @ matrix / 300
            computing.set()
    threading.Thread(target=compute, daemon=True).start()
    computing.wait()

session.run_session = run_session
runpy.run_module("distprompt_tui.worker", run_name="__main__", alter_sys=True)
"""


def test_a_search_that_ends_before_its_bounds_exits_normally(tmp_path: Path) -> None:
    for name in ("worker.lock", "control.jsonl"):
        (tmp_path / name).touch()
    worker = subprocess.run(
        [sys.executable, "-c", COMPUTE_UNTIL_THE_END, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert (worker.returncode, worker.stderr) == (0, "")
