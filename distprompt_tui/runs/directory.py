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

from distprompt_tui.config.spec import RECORDED, RunSpec
from distprompt_tui.config.validation import read_checked
from distprompt_tui.errors import NotFoundError, UsageError, near_matches
from distprompt_tui.runs.events import NEWEST
from distprompt_tui.runs.schema import FORMAT_VERSION
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

    @property
    def spec_file(self) -> Path:
        """The full RunSpec, every default written out."""
        return self.path / SPEC

    @property
    def manifest(self) -> Path:
        """Versions, model revision and weights' hash, device, seed, process, start time."""
        return self.path / "manifest.json"

    @property
    def events(self) -> Path:
        """What happened, appended by the worker."""
        return self.path / "events.jsonl"

    @property
    def newest(self) -> Path:
        """What a long run would say now, where its events have become rare: a list of them, replaced."""
        return self.path / NEWEST

    @property
    def control(self) -> Path:
        """What viewers asked for, read by the worker."""
        return self.path / "control.jsonl"

    @property
    def trace(self) -> Path:
        """The divergence of every step: float32, little endian, appended."""
        return self.path / "trace.f32"

    @property
    def checkpoint(self) -> Path:
        """The last complete state of the search."""
        return self.path / "checkpoint.safetensors"

    @property
    def previous_checkpoint(self) -> Path:
        """The one before it."""
        return self.path / "checkpoint.previous.safetensors"

    @property
    def has_begun(self) -> bool:
        """Whether a search has got as far as a checkpoint."""
        return self.checkpoint.exists() or self.previous_checkpoint.exists()

    @property
    def target(self) -> Path:
        """p, (V,) float64."""
        return self.path / "target.npy"

    @property
    def context_vectors(self) -> Path:
        """What the tokens before the prompt enter the model as, where there are any; as a soft prompt's file."""
        return self.path / "context.safetensors"

    @property
    def achieved(self) -> Path:
        """The newest q, (V,) float32."""
        return self.path / "achieved.npy"

    @property
    def best(self) -> Path:
        """The best prompt so far and its result."""
        return self.path / "best"

    @property
    def result(self) -> Path:
        """Numbers of the best prompt so far."""
        return self.best / "result.json"

    @property
    def log(self) -> Path:
        """The worker's own output."""
        return self.path / "worker.log"

    @property
    def heartbeat(self) -> Path:
        """Its modification time says when the worker was last known to live."""
        return self.path / "heartbeat"

    @property
    def reserve(self) -> Path:
        """Room on the disk that a living worker can give up for its last words."""
        return self.path / "reserve"

    @property
    def lock(self) -> Path:
        """Held by the living worker; holds its process id."""
        return self.path / "worker.lock"

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
        return read_checked(self.spec_file, RunSpec, RECORDED)


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
