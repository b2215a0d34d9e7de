"""A run's folder: the one place where the worker and its viewers meet."""

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

from distprompt_tui.config.spec import LEGACY_CONTEXT, RunSpec
from distprompt_tui.config.validation import read_checked
from distprompt_tui.errors import NotFoundError, UsageError, near_matches
from distprompt_tui.runs.events import NEWEST
from distprompt_tui.runs.schema import FORMAT_VERSION
from distprompt_tui.storage.folder import FileIn
from distprompt_tui.storage.safe_io import (
    Unreadable,
    list_folders,
    open_private,
    read_json,
    stat_inside,
    user_path,
    why_unreadable,
    write_atomically,
)

SPEC = "spec.toml"
"""A folder that has it is a run."""


@dataclass(frozen=True)
class RunDirectory:
    """The paths inside one run's folder."""

    path: Path

    @property
    def name(self) -> str:
        """The run's id."""
        return self.path.name

    spec_file = FileIn(SPEC)
    """The full RunSpec, every default written out."""
    manifest = FileIn("manifest.json")
    """Versions, model revision and weights' hash, device, seed, process, start time."""
    events = FileIn("events.jsonl")
    """What happened, appended by the worker."""
    latest = FileIn(NEWEST)
    """What a long run would say now, where its events have become rare: a list of them, replaced."""
    control = FileIn("control.jsonl")
    """What viewers asked for, read by the worker."""
    trace = FileIn("trace.f32")
    """The divergence of every step: float32, little endian, appended."""
    checkpoint = FileIn("checkpoint.safetensors")
    """The last complete state of the search."""
    previous_checkpoint = FileIn("checkpoint.previous.safetensors")
    """The one before it."""

    @property
    def has_begun(self) -> bool:
        """Whether a search has got as far as a checkpoint."""
        return self.checkpoint.exists() or self.previous_checkpoint.exists()

    target = FileIn("target.npy")
    """p, (V,) float64."""
    context_vectors = FileIn("context.safetensors")
    """What the tokens before the prompt enter the model as, where there are any; as a soft prompt's file."""
    achieved = FileIn("achieved.npy")
    """The newest q, (V,) float32."""
    best = FileIn("best")
    """The best prompt so far and its result."""
    result = FileIn("best/result.json")
    """Numbers of the best prompt so far."""
    log = FileIn("worker.log")
    """The worker's own output."""
    heartbeat = FileIn("heartbeat")
    """Its modification time says when the worker was last known to live."""
    ballast = FileIn("reserve")
    """Room on the disk that a living worker can give up for its last words."""
    lock = FileIn("worker.lock")
    """Held by the living worker; holds its process id."""

    def refuse_links(self) -> None:
        """Before anything is written: what goes into the folder must not land elsewhere.

        Raises:
            UsageError: one of its files is a symbolic link.
        """
        for path in (self.best, *self.path.glob("*"), *self.best.glob("*")):
            if path.is_symlink():
                raise UsageError(f"{path} is a symbolic link: nothing is written into a run whose files are elsewhere")

    def check_format(self) -> None:
        """Refuse to go on with what a newer version of the program began.

        Raises:
            UsageError: it did.
        """
        try:
            version = read_json(self.manifest).get("v")
        except UsageError:
            return  # there is none yet, or what it says is not needed to go on
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise UsageError(
                f"{self.name} was begun by a newer version of this program (run format {version}; "
                f"this one knows {FORMAT_VERSION}): go on with that one"
            )

    def has_result(self) -> bool:
        """Whether a best prompt was saved.

        Raises:
            UsageError: nobody can tell.
        """
        try:
            return stat_inside(self.best, self.result.name) is not None
        except OSError as error:
            raise UsageError(f"{self.result} cannot be read: {why_unreadable(error)}") from error

    def read_spec(self) -> RunSpec:
        """The run's spec.

        Raises:
            UsageError: the file is missing or damaged.
        """
        return read_checked(self.spec_file, RunSpec, LEGACY_CONTEXT)


def create_run(spec: RunSpec, runs_dir: Path) -> RunDirectory:
    """Make a run's folder, readable by its owner only, with its `spec.toml`.

    Args:
        spec: what to run.
        runs_dir: the folder of all runs; made when missing.

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
            shutil.rmtree(run.path, ignore_errors=True)  # made above, by this very call
            raise
    except OSError as error:
        raise UsageError(f"no run can be written under {runs_dir}: {error.strerror}") from error
    return run


def _make_folder(spec: RunSpec, runs_dir: Path) -> RunDirectory:
    """An empty folder of a name that nothing has had: time in UTC, preset, model, method, and chance."""
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
    """Refuse a path that no file of a run could hold: TOML and JSON are UTF-8.

    Raises:
        UsageError: it is such a path.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = str(path).encode(errors="backslashreplace").decode()
        raise UsageError(f"runs cannot be kept in {shown}: the path is not UTF-8 text; use another folder") from error


def list_entries(runs_dir: Path) -> tuple[list[RunDirectory], list[Unreadable]]:
    """All runs, newest first, and what cannot be looked at, by name.

    Raises:
        UsageError: the folder itself cannot be read.
    """
    found, unreadable = list_folders(runs_dir, SPEC)
    runs = [(_began(path, status), path.name, RunDirectory(path)) for path, status in found]
    return [run for _, _, run in sorted(runs, key=lambda each: each[:2], reverse=True)], unreadable


def list_runs(runs_dir: Path) -> list[RunDirectory]:
    """All runs that can be read, newest first; errors as in `list_entries`."""
    return list_entries(runs_dir)[0]


def made_at(run: RunDirectory) -> float:
    """When a run was begun, Unix seconds; 0 where it cannot be read."""
    try:
        status = stat_inside(run.path, SPEC)
    except OSError:
        return 0.0
    return _began(run.path, status) if status is not None else 0.0


def find_run(name: str, runs_dir: Path) -> RunDirectory:
    """A run by its folder, its name, or a part of its name that only one has.

    Raises:
        NotFoundError: there is none, several fit, or it cannot be read.
        UsageError: the folder of all runs cannot be read.
    """
    as_path = user_path(name)
    try:
        if stat_inside(as_path, SPEC) is not None:
            return RunDirectory(as_path.absolute())
    except ValueError:
        pass  # a null byte, which no path has
    except OSError as error:
        if os.sep in name and error.errno not in (errno.ENOTDIR, errno.ENAMETOOLONG):
            raise NotFoundError(f"{name} cannot be read: {why_unreadable(error)}") from error
    runs, unreadable = list_entries(runs_dir)
    fitting = [run for run in runs if run.name == name] or [run for run in runs if name in run.name]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise NotFoundError(f"{name!r} fits {len(fitting)} runs: {', '.join(run.name for run in fitting[:4])}")
    for entry in unreadable:
        if name in entry.path.name:
            raise NotFoundError(f"{entry.path} cannot be read: {entry.why}")
    raise NotFoundError(f"no run {name!r} in {runs_dir}: {near_matches(name, [run.name for run in runs])}")


_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d)(Z?)_")
_ZONES_APART = 26 * 3600.0
"""Seconds between the same reading of two clocks on earth, at most."""
_WRITTEN_WITHIN = 5.0
"""Seconds between the time in a run's name and that of its spec, where nobody has copied it since."""


def _began(path: Path, spec: os.stat_result) -> float:
    """When a run was begun, Unix seconds.

    Names have UTC, to the second; the spec, which is written once, is dated more finely. Earlier versions wrote the
    local time of wherever it was: there the spec's date counts, unless it was copied since.
    """
    stamp = _STAMP.match(path.name)
    if stamp is None:
        return spec.st_mtime
    try:
        named = datetime.strptime(stamp[1], "%Y-%m-%dT%H-%M-%S")
        named_at = (named.replace(tzinfo=UTC) if stamp[2] else named).timestamp()
    except (ValueError, OverflowError, OSError):  # no such date
        return spec.st_mtime
    within = _WRITTEN_WITHIN if stamp[2] else _ZONES_APART
    return spec.st_mtime if abs(spec.st_mtime - named_at) < within else named_at
