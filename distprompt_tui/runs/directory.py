"""The folder of a run, the only connection between the worker and its viewers."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import secrets
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import tomli_w

from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.config.spec_base import LEGACY_CONTEXT
from distprompt_tui.core.config.validation import read_checked
from distprompt_tui.core.errors import NotFoundError, UsageError, near_matches
from distprompt_tui.core.storage.folder import FileIn
from distprompt_tui.core.storage.safe_io import (
    Unreadable,
    is_part,
    list_folders,
    open_private,
    read_json,
    stat_inside,
    user_path,
    why_unreadable,
    write_atomically,
)
from distprompt_tui.runs.events import NEWEST
from distprompt_tui.runs.schema import FORMAT_VERSION

SPEC = "spec.toml"  # a folder with this file is a run


@dataclass(frozen=True)
class RunDirectory:
    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    spec_file = FileIn(SPEC)  # the full RunSpec, with all defaults
    manifest = FileIn("manifest.json")  # versions, model revision, hash of the weights, device, seed, process, start
    events = FileIn("events.jsonl")  # appended by the worker
    latest = FileIn(NEWEST)  # the newest events of a long run that are not in the event file; replaced
    control = FileIn("control.jsonl")  # requests of viewers, read by the worker
    trace = FileIn("trace.f32")  # divergence of every step, float32, little endian; appended
    checkpoint = FileIn("checkpoint.safetensors")  # the last complete state of the search
    previous_checkpoint = FileIn("checkpoint.previous.safetensors")

    @property
    def has_begun(self) -> bool:
        """Whether the run has a checkpoint."""
        return self.checkpoint.exists() or self.previous_checkpoint.exists()

    target = FileIn("target.npy")  # p, (V,) float64
    context_vectors = FileIn("context.safetensors")  # embeddings of the tokens before the prompt, if any
    achieved = FileIn("achieved.npy")  # the newest q, (V,) float32
    best = FileIn("best")  # folder of the best prompt so far
    result = FileIn("best/result.json")  # measurements of the best prompt
    log = FileIn("worker.log")  # standard output and error of the worker
    heartbeat = FileIn("heartbeat")  # the worker updates its modification time
    ballast = FileIn("reserve")  # disk space that a worker frees to write its last event
    lock = FileIn("worker.lock")  # locked by the running worker; contains its process id

    def refuse_links(self) -> None:
        """Raise a UsageError if a file of the run is a symbolic link: a write would change a file elsewhere."""
        for path in (self.best, *self.path.glob("*"), *self.best.glob("*")):
            if path.is_symlink():
                raise UsageError(f"{path} is a symbolic link: nothing is written into a run with linked files")

    def check_format(self) -> None:
        """Raise a UsageError if a newer version of the program created the run."""
        try:
            version = read_json(self.manifest).get("v")
        except UsageError:
            return  # missing or damaged; a resume does not depend on it
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise UsageError(
                f"{self.name} was created by a newer version of this program (run format {version}; "
                f"this version supports {FORMAT_VERSION}): resume it with that version"
            )

    def has_result(self) -> bool:
        """Return whether a result was saved; raise a UsageError if the file cannot be accessed."""
        try:
            return stat_inside(self.best, self.result.name) is not None
        except OSError as error:
            raise UsageError(f"{self.result} cannot be read: {why_unreadable(error)}") from error

    def read_spec(self) -> RunSpec:
        """Read the run's spec; raise a UsageError if it is missing or damaged."""
        return read_checked(self.spec_file, RunSpec, LEGACY_CONTEXT)


def create_run(spec: RunSpec, runs_dir: Path) -> RunDirectory:
    """Create a run's folder, readable by its owner only, with its `spec.toml`. `runs_dir` is created if missing.

    Raises:
        UsageError: the folder cannot be written, or its path is not UTF-8 text.
    """
    _check_text(runs_dir.absolute())
    text = tomli_w.dumps(spec.model_dump(mode="json", exclude_none=True))
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        run = _make_folder(spec, runs_dir.absolute())
        try:
            run.best.mkdir(mode=0o700)
            write_atomically(run.spec_file, lambda file: file.write(text.encode()))
            os.close(open_private(run.control, os.O_WRONLY))
        except BaseException:
            shutil.rmtree(run.path, ignore_errors=True)  # this call created it
            raise
    except OSError as error:
        raise UsageError(f"no run can be written under {runs_dir}: {error.strerror}") from error
    return run


def _make_folder(spec: RunSpec, runs_dir: Path) -> RunDirectory:
    """Create an empty folder with a unique name: time in UTC, preset, model, method, random digits."""
    model = re.sub(r"[^A-Za-z0-9.-]+", "-", Path(spec.model.name).name)[:32]
    preset = re.sub(r"[^A-Za-z0-9.-]+", "-", spec.preset or spec.target.family)[:32]
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    for attempt in itertools.count(1):
        chance = secrets.token_hex(2) if attempt == 1 else f"{secrets.token_hex(2)}-{attempt}"
        run = RunDirectory(runs_dir / f"{stamp}_{preset}_{model}_{spec.search.method}_{chance}")
        with contextlib.suppress(FileExistsError):
            run.path.mkdir(mode=0o700)
            return run
    raise AssertionError("unreachable")


def _check_text(path: Path) -> None:
    """Raise a UsageError if a path is not UTF-8 text, as the run's TOML and JSON files are."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = str(path).encode(errors="backslashreplace").decode()
        raise UsageError(f"runs cannot be kept in {shown}: the path is not UTF-8 text; use another folder") from error


def list_entries(runs_dir: Path) -> tuple[list[RunDirectory], list[Unreadable]]:
    """Return all runs, newest first, and unreadable entries by name; raise a UsageError if `runs_dir` is unreadable."""
    found, unreadable = list_folders(runs_dir, SPEC)
    runs = [(_began(path, status), path.name, RunDirectory(path)) for path, status in found]
    return [run for _, _, run in sorted(runs, key=lambda each: each[:2], reverse=True)], unreadable


def list_runs(runs_dir: Path) -> list[RunDirectory]:
    """Return all readable runs, newest first; errors as in `list_entries`."""
    return list_entries(runs_dir)[0]


def made_at(run: RunDirectory) -> float:
    """Return the Unix time at which a run was created; 0 if it cannot be read."""
    try:
        status = stat_inside(run.path, SPEC)
    except OSError:
        return 0.0
    return _began(run.path, status) if status is not None else 0.0


def find_run(name: str, runs_dir: Path) -> RunDirectory:
    """Find a run by its folder, its name, or a unique part of its name.

    Raises:
        NotFoundError: no run or several runs match, or the run cannot be read.
        UsageError: `runs_dir` cannot be read.
    """
    as_path = user_path(name)
    try:
        if stat_inside(as_path, SPEC) is not None:
            return RunDirectory(as_path.absolute())
    except ValueError:
        pass  # a null byte is not valid in a path
    except OSError as error:
        if os.sep in name and error.errno not in (errno.ENOTDIR, errno.ENAMETOOLONG):
            raise NotFoundError(f"{name} cannot be read: {why_unreadable(error)}") from error
    runs, unreadable = list_entries(runs_dir)
    fitting = [run for run in runs if run.name == name] or [run for run in runs if is_part(name, run.name)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise NotFoundError(f"{name!r} matches {len(fitting)} runs: {', '.join(run.name for run in fitting[:4])}")
    for entry in unreadable:
        if is_part(name, entry.path.name):
            raise NotFoundError(f"{entry.path} cannot be read: {entry.why}")
    raise NotFoundError(f"no run {name!r} in {runs_dir}: {near_matches(name, [run.name for run in runs])}")


_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d)(Z?)_")
_ZONES_APART = 26 * 3600.0  # largest difference between two time zones, seconds
_WRITTEN_WITHIN = 5.0  # most seconds between the time in a run's name and that of its spec, if it was not copied


def _began(path: Path, spec: os.stat_result) -> float:
    # Names contain UTC, to the second. The spec is written once, and its file time has a finer resolution. Earlier
    # versions used local time: for their runs, the file time counts, unless the run was copied.
    stamp = _STAMP.match(path.name)
    if stamp is None:
        return spec.st_mtime
    try:
        named = datetime.strptime(stamp[1], "%Y-%m-%dT%H-%M-%S")
        named_at = (named.replace(tzinfo=UTC) if stamp[2] else named).timestamp()
    except (ValueError, OverflowError, OSError):  # not a date
        return spec.st_mtime
    within = _WRITTEN_WITHIN if stamp[2] else _ZONES_APART
    return spec.st_mtime if abs(spec.st_mtime - named_at) < within else named_at
