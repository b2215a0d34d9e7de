"""Read a run directory as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distprompt_tui.core.config.paths import runs_dir
from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.errors import UsageError
from distprompt_tui.core.storage.npy import read_row, read_target
from distprompt_tui.core.storage.prompt_files import read_prompt
from distprompt_tui.runs.directory import find_run
from distprompt_tui.runs.event_reader import EventLogReader
from distprompt_tui.runs.reducer import reduce_all
from distprompt_tui.runs.state import RunState


@dataclass(frozen=True, eq=False)
class RunCurve:
    """The n reported steps of a run; long runs do not report every step.

    Attributes:
        step: (n,) int64.
        kl: divergence of the current prompt, nats, (n,) float64.
        best_kl: lowest divergence so far, nats, (n,).
        entropy: of the achieved distribution, nats, (n,).
        seconds: search time, (n,).
    """

    step: NDArray[np.int64]
    kl: NDArray[np.float64]
    best_kl: NDArray[np.float64]
    entropy: NDArray[np.float64]
    seconds: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RecordedRun:
    """The contents of a run directory.

    Attributes:
        path: the run directory.
        spec: the full spec, enough to repeat the run.
        state: the state after the last event, with bounds, phase and result.
        curve: the reported steps.
        target: p, (V,) float64.
        achieved: q of the newest prompt, or of the best one after the end, (V,) float64; None before step 0.
        prompt: the best prompt, vectors (n, d) float32 or token ids; None before step 0.
    """

    path: Path
    spec: RunSpec
    state: RunState
    curve: RunCurve
    target: NDArray[np.float64]
    achieved: NDArray[np.float64] | None
    prompt: NDArray[np.float32] | list[int] | None


def open_run(run: str | Path) -> RecordedRun:
    """Read a run, running or ended, without torch and without the model.

    Args:
        run: a run directory, a run's name, or a unique part of its name.

    Raises:
        NotFoundError: no run or several runs match.
        UsageError: a file of the run is damaged, or the run has no target yet.
    """
    directory = find_run(str(run), runs_dir())
    state = reduce_all(EventLogReader(directory.events).read())
    try:
        achieved = read_row(directory.achieved) if directory.achieved.exists() else None
    except (OSError, ValueError) as error:
        raise UsageError(f"{directory.achieved} cannot be read: {error}") from error
    return RecordedRun(
        path=directory.path,
        spec=directory.read_spec(),
        state=state,
        curve=_curve(state),
        target=read_target(directory.target),
        achieved=achieved,
        prompt=read_prompt(directory.path) if directory.has_result() else None,
    )


def _curve(state: RunState) -> RunCurve:
    def column(name: str, dtype: Any = np.float64) -> NDArray[Any]:
        return np.array([getattr(point, name) for point in state.curve], dtype)

    return RunCurve(column("step", np.int64), *map(column, ("kl", "best_kl", "entropy", "seconds")))
