"""A small sweep of tiny models, and its directory after an uninterrupted run of the command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from distprompt_tui.core.config.validation import checked
from distprompt_tui.sweeps.directory import SweepDirectory
from distprompt_tui.sweeps.results import ResultRow
from distprompt_tui.sweeps.sweep_spec import Sweep

TIMED = ("seconds",)
"""Fields that differ between two sweeps of the same grid."""


@pytest.fixture(scope="session")
def tiny_sweep(tiny_folders: dict[str, Path]) -> Sweep:
    """Four batches and eight hard searches; some seconds of work."""
    fields: dict[str, Any] = {
        "name": "tiny",
        "models": [str(tiny_folders["llama"])],
        "methods": ["soft", "hard"],
        "lengths": [4],
        "entropies": [2.0, 4.0],
        "targets": 2,
        "batch": 2,
        "threads": 1,
        "device": "cpu",
        "texts": ["yes or no", "the dog"],
        "series": [
            {"name": "vanilla", "target": {"family": "vanilla"}},
            {"name": "lm, other", "target": {"family": "lm", "model": str(tiny_folders["gemma3"])}},
        ],
        "soft": {"steps": 60},
        "hard": {"steps": 5},
    }
    return checked(fields, Sweep)


@pytest.fixture(scope="session")
def whole(tiny_sweep: Sweep, tmp_path_factory: pytest.TempPathFactory) -> SweepDirectory:
    """The directory of the small sweep after an uninterrupted run."""
    home = tmp_path_factory.mktemp("whole")
    end = start(tiny_sweep, home)
    _, err = end.communicate()
    assert end.returncode == 0, err
    return only_sweep(home)


def start(sweep: Sweep, home: Path, *options: str) -> subprocess.Popen[str]:
    """Start the command on a sweep in a new session, with `home` as DISTPROMPT_HOME."""
    file = home / "asked.toml"
    fields = sweep.model_dump(mode="json", exclude_unset=True)
    file.write_text(tomli_w.dumps(fields), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-m", "distprompt_tui", "sweep", str(file), *options],
        env=os.environ | {"DISTPROMPT_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def only_sweep(home: Path) -> SweepDirectory:
    """Return the only sweep directory under a home."""
    (path,) = (home / "sweeps").iterdir()
    return SweepDirectory(path)


def untimed(rows: list[ResultRow]) -> list[dict[str, Any]]:
    """Return rows without the fields in `TIMED`."""
    return [{name: value for name, value in vars(row).items() if name not in TIMED} for row in rows]
