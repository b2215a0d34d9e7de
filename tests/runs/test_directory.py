"""The folder of all runs: unique names, order by time, and unreadable entries."""

from __future__ import annotations

import fcntl
import os
import secrets
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.config.target_specs import Uniform
from distprompt_tui.core.errors import NotFoundError, UsageError
from distprompt_tui.core.storage.jsonl import append_line
from distprompt_tui.core.storage.lock import lock_holder
from distprompt_tui.core.storage.safe_io import parse_json, write_json
from distprompt_tui.runs import directory
from distprompt_tui.runs.directory import RunDirectory, create_run, find_run, list_entries, list_runs
from distprompt_tui.runs.process import delete_run, start_run, worker_pid
from distprompt_tui.runs.summary import read_runs, sorted_runs
from distprompt_tui.sweeps.directory import SweepDirectory

SPEC = RunSpec(target=Uniform())
PROCESSES, RUNS_EACH = 4, 60


def _make_colliding_runs(number: int, runs_dir: Path) -> list[str]:
    """Create runs whose names have no random part, each with a unique mark."""
    secrets.token_hex = lambda length: "abcd"  # type: ignore[assignment]
    names = []
    for seed in range(number * RUNS_EACH, (number + 1) * RUNS_EACH):
        run = create_run(SPEC.model_copy(update={"seed": seed}), runs_dir)
        (run.path / "mark").write_text(str(seed))
        names.append(run.name)
    return names


def test_colliding_names_in_several_processes_give_separate_runs(tmp_path: Path) -> None:
    with get_context("spawn").Pool(PROCESSES) as pool:
        made = pool.starmap(_make_colliding_runs, [(number, tmp_path) for number in range(PROCESSES)], chunksize=1)
    names = [name for of_a_process in made for name in of_a_process]
    assert len(set(names)) == len(list(tmp_path.iterdir())) == PROCESSES * RUNS_EACH
    for seed, name in enumerate(names):
        run = RunDirectory(tmp_path / name)
        assert (run.path / "mark").read_text() == str(seed)
        assert run.read_spec().seed == seed
        assert {path.name for path in run.path.iterdir()} == {"best", "control.jsonl", "mark", "spec.toml"}


@pytest.mark.parametrize("what", ["folder", "file", "dangling link"])
def test_an_existing_entry_is_not_overwritten(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda length: "abcd")
    first = create_run(SPEC, tmp_path / "other")
    stamp = first.name.partition("_")[0]
    monkeypatch.setattr(directory, "datetime", _Stopped)
    _Stopped.text = stamp
    taken = tmp_path / first.name
    if what == "folder":
        taken.mkdir()
        (taken / "thesis.tex").write_text("mine")
    elif what == "file":
        taken.write_text("mine")
    else:
        taken.symlink_to("nowhere")
    made = create_run(SPEC, tmp_path)
    assert made.name == f"{first.name}-2"
    assert taken.is_symlink() or (taken / "thesis.tex" if taken.is_dir() else taken).read_text() == "mine"


class _Stopped(directory.datetime):  # type: ignore[name-defined, misc]
    """A clock that always formats the same time."""

    text = ""

    def strftime(self, form: str) -> str:
        return self.text


def test_a_failed_creation_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    other = create_run(SPEC, tmp_path)
    monkeypatch.setattr(directory, "write_atomically", full)
    with pytest.raises(UsageError, match="No space left on device"):
        create_run(SPEC, tmp_path)
    assert list(tmp_path.iterdir()) == [other.path]
    assert other.read_spec() == SPEC


# Order by time.


def test_newest_first_across_time_zones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago", "Europe/Berlin", "XXX-13:45", "UTC"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        made.append(create_run(SPEC, tmp_path).name)
        time.sleep(0.02)
    assert [run.name for run in list_runs(tmp_path)] == made[::-1]
    assert [summary.run.name for summary in sorted_runs(read_runs(tmp_path), "newest")] == made[::-1]
    monkeypatch.undo()
    time.tzset()


def _old_run(runs_dir: Path, name: str, written: float) -> str:
    """Create a run with the name that earlier versions gave it, with a local time without its zone."""
    (runs_dir / name).mkdir()
    (runs_dir / name / "spec.toml").write_text("")
    os.utime(runs_dir / name / "spec.toml", (written, written))
    return name


def test_old_runs_are_dated_by_their_spec_unless_copied(tmp_path: Path) -> None:
    at = 1_770_000_000.0  # 2026-02-02, 02:40 UTC
    first = _old_run(tmp_path, "2026-02-02T16-40-00_a_m_soft_0000", at)  # at UTC+14
    second = _old_run(tmp_path, "2026-02-01T15-41-00_b_m_soft_0000", at + 60)  # at UTC-11
    copied = _old_run(tmp_path, "2020-02-02T02-40-00_c_m_soft_0000", at + 9e6)
    copied_new = _old_run(tmp_path, "2026-02-02T02-40-30Z_d_m_soft_0000", at + 9e6)
    renamed = _old_run(tmp_path, "my favourite", at + 90)
    nonsense = _old_run(tmp_path, "2026-99-99T02-40-30_e_m_soft_0000", at + 120)
    expected = [nonsense, renamed, second, copied_new, first, copied]
    assert [run.name for run in list_runs(tmp_path)] == expected


@given(st.lists(st.floats(0, 4e9), min_size=2, max_size=6, unique_by=int))
@settings(max_examples=30)
def test_runs_are_sorted_by_time(times: list[float]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for at in times:
            stamp = time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime(at))
            _old_run(Path(folder), f"{stamp}_a_m_soft_{int(at)}", at)
        listed = [int(run.name.rpartition("_")[2]) for run in list_runs(Path(folder))]
        assert listed == sorted(map(int, times), reverse=True)


# Unreadable entries.


def _without_permissions(code: str, folder: Path, *arguments: str) -> str:
    """Return the output of a Python program in a folder. Root switches to a user to whom permissions apply."""
    drop = "import os\nif os.geteuid() == 0:\n    os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
    package = str(Path(directory.__file__).parents[2])
    code = f"import sys; sys.path.insert(0, {package!r})\n{IMPORTS}{drop}{code}"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


IMPORTS = """
from pathlib import Path
from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.runs.directory import find_run, list_runs
from distprompt_tui.runs.summary import read_runs, summarise
import distprompt_tui.runs.process, distprompt_tui.runs.export
import distprompt_tui.core.config.toml_files, distprompt_tui.sweeps.directory
"""


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A run among entries of all other types, in a folder that all users can read."""
    tmp_path.chmod(0o755)
    runs = tmp_path / "runs"
    create_run(SPEC, runs).path.rename(runs / "good")
    for path in ((runs / "good"), *(runs / "good").rglob("*")):
        path.chmod(0o755)
    (runs / "dangling").symlink_to("nowhere")
    (runs / "loop").symlink_to("loop")
    (runs / "spec-elsewhere").mkdir()
    (runs / "spec-elsewhere" / "spec.toml").symlink_to("nowhere")
    (runs / "notes.txt").write_text("mine")
    (runs / "empty").mkdir()
    (runs / "strange").mkdir()
    (runs / "strange" / "spec.toml").mkdir()
    (runs / os.fsdecode(b"not-utf-8-\xff")).mkdir()
    (runs / "locked").mkdir(0o000)
    return runs


def test_unreadable_entries_are_listed_with_the_reason(mixed: Path) -> None:
    code = "for each in read_runs(Path('runs')): print(each.run.name, each.state, each.problem, sep='|')"
    assert _without_permissions(code, mixed.parent).splitlines() == [
        "good|crashed|",
        "dangling|unreadable|it is a broken link",
        "locked|unreadable|Permission denied",
        "loop|unreadable|Too many levels of symbolic links",
        "spec-elsewhere|unreadable|it is a broken link",
    ]


def test_a_run_is_found_among_unreadable_entries(mixed: Path) -> None:
    code = """
for name in sys.argv[1:]:
    try:
        print(find_run(name, Path('runs')).name)
    except DistPromptError as error:
        print(error.exit_code, error)
"""
    wanted = [
        "good",
        "oo",
        "locked",
        "runs/locked",
        "runs/loop",
        "dangling",
        "x" * 5000,
        "a\udcff",
        "~nobody/a",
    ]
    said = _without_permissions(code, mixed.parent, *wanted).splitlines()
    assert said[0] == "good"
    assert said[2:6] == [
        "3 runs/locked cannot be read: Permission denied",
        "3 runs/locked cannot be read: Permission denied",
        "3 runs/loop cannot be read: Too many levels of symbolic links",
        "3 runs/dangling cannot be read: it is a broken link",
    ]
    assert len(said) == len(wanted)


def test_an_unreadable_best_prompt_is_reported(mixed: Path) -> None:
    (mixed / "good" / "best").chmod(0o000)
    code = """
from distprompt_tui.runs.export import export_run
for form in ("csv", "json"):
    try:
        export_run(find_run("good", Path("runs")), form)
    except DistPromptError as error:
        print(error.exit_code, error)
"""
    said = _without_permissions(code, mixed.parent).splitlines()
    assert [line.partition(" ")[0] for line in said] == ["2", "2"]
    assert all(line.endswith("runs/good/best/result.json cannot be read: Permission denied") for line in said)


def test_an_unreadable_runs_folder_is_reported(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "mine").mkdir(0o000)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("")
    code = """
for name in ("mine", "mine/inside", "loop", "file", "file/inside", "nowhere"):
    try:
        print(list_runs(Path(name)))
    except DistPromptError as error:
        print(error.exit_code, error)
"""
    assert _without_permissions(code, tmp_path).splitlines() == [
        "2 mine cannot be read: Permission denied",
        "2 mine/inside cannot be read: Permission denied",
        "2 loop cannot be read: Too many levels of symbolic links",
        "[]",
        "[]",
        "[]",
    ]


def test_a_deleted_run_is_not_found(tmp_path: Path) -> None:
    run = create_run(SPEC, tmp_path)
    delete_run(run)
    assert list_entries(tmp_path) == ([], [])
    with pytest.raises(NotFoundError):
        find_run(run.name, tmp_path)


# Names that are not UTF-8.


@pytest.mark.parametrize("name", [b"\xff", b"caf\xe9/runs", b"ok/\xf0\x9f"])
def test_a_path_that_is_not_utf8_is_rejected(name: bytes, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"runs cannot be kept in .*is not UTF-8 text"):
        create_run(SPEC, tmp_path / os.fsdecode(name))
    assert list(tmp_path.iterdir()) == []


@given(st.text(st.characters(codec=None) | st.sampled_from("\udcff\udc80\ud83d\\u\x7f\x9b"), max_size=20))
def test_json_round_trip_of_any_text(text: str) -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as file:
        append_line(writer, {"path": text})
        os.close(writer)
        read = parse_json(file.read().decode())["path"]
    assert read == text.encode(errors="backslashreplace").decode()


def test_a_path_that_is_not_utf8_is_written_as_valid_json(tmp_path: Path) -> None:
    write_json(tmp_path / "manifest.json", {"model_folder": "/tmp/\udcff"})
    assert parse_json((tmp_path / "manifest.json").read_text()) == {"model_folder": "/tmp/\\udcff"}


# Locks.


@pytest.mark.parametrize("number", [38, 95, 37, 5])  # ENOSYS, ENOTSUP, ENOLCK, EIO
def test_without_file_locks_runs_are_listed_but_not_started(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    run = create_run(SPEC, tmp_path)
    run.lock.write_text("1")
    monkeypatch.setattr(fcntl, "flock", flock)
    assert worker_pid(run) is None
    assert [summary.state for summary in read_runs(tmp_path)] == ["crashed"]
    with pytest.raises(UsageError, match=r"worker\.lock cannot be locked: .*--runs-dir") as told:
        start_run(SPEC, tmp_path)
    assert "\n" not in str(told.value)
    assert list_runs(tmp_path) == [run]
    with pytest.raises(UsageError, match="cannot be locked"), SweepDirectory(run.path).locked():
        pass
    assert lock_holder(run.path / "lock") is None


@pytest.mark.parametrize("name", ["", " ", ".", ".."])
def test_an_empty_name_selects_no_run(name: str, tmp_path: Path) -> None:
    """As of an unset variable in `runs delete "$RUN" --yes`, also where there is only one run."""
    run = create_run(SPEC.model_copy(update={"preset": "v1.5"}), tmp_path)
    with pytest.raises(NotFoundError, match="no run "):
        find_run(name, tmp_path)
    assert find_run("v1.5", tmp_path).path == run.path


def test_an_unknown_name_lists_some_runs_only(tmp_path: Path) -> None:
    for _ in range(30):
        create_run(SPEC, tmp_path)
    with pytest.raises(NotFoundError, match=r" and 10 more$"):
        find_run("nothing-like-it", tmp_path)
