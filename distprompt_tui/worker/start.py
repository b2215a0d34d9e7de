"""Keep a copy of the initial prompt in the run's folder, so that a resume does not depend on the original file."""

from __future__ import annotations

from pathlib import Path

from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.storage.prompt_files import read_prompt, write_vectors
from distprompt_tui.core.storage.safe_io import write_json
from distprompt_tui.runs.directory import RunDirectory

_NAMES = ("start.safetensors", "start.json")


def keep_start(run: RunDirectory, spec: RunSpec) -> None:
    """Copy the spec's initial prompt, if any, into the run's folder, once; raise a UsageError if it is unreadable."""
    path = getattr(spec.search, "init_prompt", None)
    if path is None or _kept(run) is not None:
        return
    found = read_prompt(Path(path))
    vectors_file, ids_file = (run.path / name for name in _NAMES)
    if isinstance(found, list):
        write_json(ids_file, {"ids": found})
    else:
        write_vectors(vectors_file, found)


def with_kept_start(run: RunDirectory, spec: RunSpec) -> RunSpec:
    """Return the spec with the path of the run's copy of the initial prompt, if there is one."""
    kept = _kept(run)
    if kept is None or getattr(spec.search, "init_prompt", None) is None:
        return spec
    search = spec.search.model_copy(update={"init_prompt": str(kept)})
    return spec.model_copy(update={"search": search})


def _kept(run: RunDirectory) -> Path | None:
    return next((run.path / name for name in _NAMES if (run.path / name).is_file()), None)
