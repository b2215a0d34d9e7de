"""Starting processes with closed standard streams, and in a folder with unrelated Python modules."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tomli_w

from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.events import Tailer, decode_object
from distprompt_tui.runs.isolation import isolated, python
from distprompt_tui.runs.process import start_worker, worker_pid
from distprompt_tui.runs.summary import summarise
from tests.tiny_runs import tiny_spec, wait_for_end
from tests.waiting import until

NAMES = ("statistics", "random", "torch", "numpy", "json", "tokenize", "pydantic", "typing", "tokenizers/__init__")


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A folder of modules that create a file on import."""
    folder = tmp_path / "trap"
    (folder / "distprompt_tui").mkdir(parents=True)
    mark = f"open({str(tmp_path / 'imported')!r}, 'a').write(__name__ + ' ')\nraise SystemExit(99)\n"
    (folder / "tokenizers").mkdir()
    for name in (*NAMES, "distprompt_tui/__init__"):
        (folder / f"{name}.py").write_text(mark)
    return folder


@pytest.fixture
def preset(tmp_path: Path, tiny_folders: dict[str, Path]) -> Path:
    """A short search."""
    file = tmp_path / "tiny.toml"
    spec = tiny_spec(tiny_folders["llama"], steps=20)
    file.write_text(tomli_w.dumps(spec.model_dump(mode="json", exclude_unset=True, exclude={"preset"})))
    return file


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_the_lock_survives_closed_streams(closed: str, tmp_path: Path, tiny_folders: dict[str, Path]) -> None:
    """The parent exits immediately. Its worker continues and holds the lock, so that no second one can start."""
    spec = tiny_spec(tiny_folders["llama"])
    code = (
        "import sys, pathlib\n"
        "from distprompt_tui.runs.process import start_run\n"
        "from distprompt_tui.core.config.spec import RunSpec\n"
        "start_run(RunSpec.model_validate_json(sys.argv[1]), pathlib.Path(sys.argv[2]))\n"
    )
    command = ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", code]
    subprocess.run([*command, spec.model_dump_json(), str(tmp_path)], check=True)
    (path,) = tmp_path.iterdir()
    run = RunDirectory(path)
    pid = worker_pid(run)
    assert pid is not None
    with pytest.raises(Exception, match=f"already has a worker \\(process {pid}\\)"):
        start_worker(run)
    os.kill(pid, 9)
    wait_for_end(run)


def test_the_command_runs_with_all_streams_closed(preset: Path, tmp_path: Path) -> None:
    environment = os.environ | {"DISTPROMPT_HOME": str(tmp_path)}
    command = ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-m", "distprompt_tui"]
    done = subprocess.run([*command, "run", str(preset)], env=environment)
    assert done.returncode == 0
    (path,) = (tmp_path / "runs").iterdir()
    assert summarise(RunDirectory(path)).state == "budget"  # ended, like the command
    events = Tailer(path / "events.jsonl", decode_object).read()
    assert [event["seq"] for event in events] == list(range(len(events)))
    for closed in ("<&-", ">&-"):
        refused = subprocess.run([*command[:2], f'exec "$@" {closed}', *command[3:], "attach"], env=environment)
        assert refused.returncode == 2


PACKAGE = str(Path(sys.modules["distprompt_tui"].__file__ or "").parents[1])
INSTALLED = ("-P", "-c", "from distprompt_tui.__main__ import main; main()")
"""Python's arguments that start the program as the installed command does."""


def run_in(trap: Path, *arguments: str, **environment: str) -> bytes:
    """Run Python in a folder of traps and return its output; nothing may be imported from the folder."""
    home = trap.parent
    found = os.environ | {"DISTPROMPT_HOME": str(home)} | environment
    done = subprocess.run([sys.executable, *arguments], env=found, cwd=trap, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert not (home / "imported").exists(), (home / "imported").read_text()
    return done.stdout


def as_source_tree(trap: Path) -> None:
    (trap / "distprompt_tui" / "__init__.py").unlink()
    (trap / "distprompt_tui").rmdir()
    (trap / "distprompt_tui").symlink_to(Path(PACKAGE) / "distprompt_tui")
    (trap / "typing.py").unlink()  # Python itself imports it for -m


@pytest.mark.parametrize("is_source_tree", [False, True])
def test_a_run_imports_nothing_from_the_working_directory(is_source_tree: bool, trap: Path, preset: Path) -> None:
    """The command and its worker; PYTHONPATH names the working directory, which may be the program's source tree."""
    if is_source_tree:
        as_source_tree(trap)
        done = run_in(trap, "-m", "distprompt_tui", "run", str(preset), "--json", PYTHONPATH=str(trap))
    else:
        done = run_in(trap, *INSTALLED, "run", str(preset), "--json", PYTHONPATH=f"{PACKAGE}:.:{trap}")
    assert json.loads(done)["steps"] == 20


@pytest.mark.parametrize("paths", ["", ":", ".", "../trap", "TRAP", "TRAP/../link", "TRAP/."])
@pytest.mark.parametrize("safe", ["", "1"])
def test_the_working_directory_is_not_imported_from(
    paths: str, safe: str, trap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each way in which PYTHONPATH can name it; the command, then a process that it starts."""
    (trap.parent / "link").symlink_to(trap)
    monkeypatch.chdir(trap)
    environment = {"PYTHONPATH": f"{PACKAGE}:{paths.replace('TRAP', str(trap))}", "PYTHONSAFEPATH": safe}
    assert run_in(trap, *INSTALLED, "paths", **environment).startswith(b"runs ")
    assert run_in(trap, *python("distprompt_tui", "paths")[1:], **isolated(environment)).startswith(b"runs ")


@pytest.mark.parametrize("paths", ["", ":", ".", "TRAP"])
def test_a_source_tree_starts_its_own_package(paths: str, trap: Path) -> None:
    as_source_tree(trap)
    code = "from distprompt_tui.runs.isolation import python; print(python('x')[2])"
    begun = run_in(trap, "-c", code, PYTHONPATH=paths.replace("TRAP", str(trap))).decode().strip()
    assert begun == str(trap / "distprompt_tui" / "runs" / "isolation.py")
    assert run_in(trap, "-P", begun, "-m", "distprompt_tui", "paths").startswith(b"runs ")


@pytest.mark.parametrize(
    "module", ["distprompt_tui.worker", "distprompt_tui.worker.model_server", "distprompt_tui.sweeps.worker"]
)
def test_each_process_is_isolated(module: str, trap: Path) -> None:
    code = f"import sys; sys.argv = ['x']; import {module}" if "worker" not in module else f"import {module}"
    command = python(module)[:2]
    done = subprocess.run([*command, "-c", code], env=isolated(os.environ), cwd=trap, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert not (trap.parent / "imported").exists()


def test_a_worker_runs_after_its_working_directory_was_deleted(tmp_path: Path, tiny_folders: dict[str, Path]) -> None:
    """As of an app that is open for days: torch does not load in a deleted directory."""
    code = (
        "import os, sys, pathlib\n"
        "from distprompt_tui.runs.process import start_run\n"
        "from distprompt_tui.core.config.spec import RunSpec\n"
        "os.rmdir(os.getcwd())\n"
        "start_run(RunSpec.model_validate_json(sys.argv[1]), pathlib.Path(sys.argv[2]))\n"
    )
    (tmp_path / "here").mkdir()
    spec = tiny_spec(tiny_folders["llama"], steps=5)
    package = str(Path(sys.modules["distprompt_tui"].__file__ or "").parents[1])
    subprocess.run(
        [sys.executable, "-c", code, spec.model_dump_json(), str(tmp_path / "runs")],
        cwd=tmp_path / "here",
        env=os.environ | {"PYTHONPATH": package},
        check=True,
    )
    (path,) = (tmp_path / "runs").iterdir()
    run = RunDirectory(path)
    wait_for_end(run)
    assert summarise(run).state == "budget"


def test_absolute_python_path_entries_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isolated({"PYTHONPATH": ":/a:.:/b::c:../d", "HOME": "/h"}) == {
        "PYTHONPATH": "/a:/b",
        "PYTHONSAFEPATH": "1",
        "HOME": "/h",
    }
    monkeypatch.chdir(tmp_path)
    assert isolated({"PYTHONPATH": f"{tmp_path}:/a:{tmp_path}/."})["PYTHONPATH"] == "/a"
    assert isolated({"PYTHONPATH": "."}) == isolated({"PYTHONPATH": ""}) == isolated({}) == {"PYTHONSAFEPATH": "1"}


def test_a_returned_command_leaves_no_process(preset: Path, tmp_path: Path) -> None:
    """After an end by budget, SIGTERM or `runs stop`, the run can be deleted or resumed immediately."""
    environment = os.environ | {"DISTPROMPT_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "distprompt_tui"]

    def one_run() -> RunDirectory:
        (path,) = (tmp_path / "runs").iterdir()
        return RunDirectory(path)

    def done(*arguments: str) -> tuple[int, str]:
        ended = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True)
        return ended.returncode, (ended.stdout + ended.stderr).strip()

    going = subprocess.Popen(
        [*command, "run", str(preset), "--steps", "100000000", "--json"], env=environment, stdout=subprocess.PIPE
    )
    until(lambda: (tmp_path / "runs").is_dir() and any((tmp_path / "runs").glob("*/trace.f32")))
    going.terminate()
    going.communicate()
    run = one_run()
    assert (going.returncode, worker_pid(run), summarise(run).state) == (130, None, "stopped")
    assert done("runs", "stop", run.name) == (
        2,
        f"distprompt-tui: {run.name} is not running: stopped",
    )
    exit_code, said = done("runs", "resume", run.name)
    assert (exit_code, "continues in the background" in said) == (0, True)
    assert done("runs", "stop", run.name) == (0, "stopped")
    assert worker_pid(run) is None
    assert done("runs", "delete", run.name, "--yes")[0] == 0

    assert done("run", str(preset), "--json")[0] == 0
    run = one_run()
    assert (worker_pid(run), summarise(run).state) == (None, "budget")
    exit_code, said = done("runs", "resume", run.name)
    assert exit_code == 2
    assert said.startswith(f"distprompt-tui: {run.name} has ended: budget spent; only a stopped, failed")
