"""Processes: no network, no pickles, private files, escaped terminal output, safe termination."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from distprompt_tui.cli.options import fail, say
from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.config.target_specs import Uniform
from distprompt_tui.runs.directory import RunDirectory, create_run
from distprompt_tui.runs.process import stop
from tests.cli.test_commands import distprompt
from tests.fuzz.inputs import HOSTILE
from tests.fuzz.readers import assert_visible

WATCHED = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")

SPY = f"""
import os, sys

def write(event, arguments):
    if event in {(*WATCHED, "pickle.find_class")!r}:
        with open(os.environ["SPY_FILE"], "a") as file:
            print(event, arguments, file=file)

sys.addaudithook(write)
"""
"""Content of `sitecustomize`, which Python runs in every process, including workers."""

PRESET = """
[target]
family = "outlier"
entropy = 3.0
count = 1
[search]
length = 3
[budget]
steps = 4
[model]
name = "{folder}"
device = "cpu"
"""


@pytest.fixture
def spied(tmp_path: Path) -> dict[str, str]:
    """An environment in which processes log forbidden operations."""
    (tmp_path / "spy").mkdir()
    (tmp_path / "spy" / "sitecustomize.py").write_text(SPY)
    path = os.pathsep.join([str(tmp_path / "spy"), os.environ.get("PYTHONPATH", "")])
    return {"PYTHONPATH": path, "SPY_FILE": str(tmp_path / "seen"), "HF_HUB_OFFLINE": "0"}


def test_audit_hook_works(spied: dict[str, str], tmp_path: Path) -> None:
    code = "import socket, pickle; socket.socket().bind(('127.0.0.1', 0)); pickle.loads(pickle.dumps(Exception))"
    subprocess.run([sys.executable, "-c", code], env=os.environ | spied, check=True)
    seen = (tmp_path / "seen").read_text()
    assert "socket.bind" in seen
    assert "pickle.find_class" in seen


def test_run_uses_no_network_and_no_pickle_and_is_private(
    spied: dict[str, str], tmp_path: Path, tiny_folders: dict[str, Path]
) -> None:
    """From the command line through the worker to `verify`, on a model in a folder, with the network allowed."""
    preset = tmp_path / "tiny.toml"
    preset.write_text(PRESET.format(folder=tiny_folders["llama"]))
    home = spied | {"DISTPROMPT_HOME": str(tmp_path / "home")}
    before = os.umask(0)  # the program must restrict the permissions itself
    try:
        result = distprompt("run", str(preset), "--json", **home)
    finally:
        os.umask(before)
    assert result.returncode == 0, result.stderr
    run = Path(json.loads(result.stdout)["run"])
    verified = distprompt("runs", "verify", run.name, **home)
    assert verified.returncode == 0, verified.stderr
    assert not (tmp_path / "seen").exists(), (tmp_path / "seen").read_text()
    for path in (run, *run.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o077 == 0, f"{path} is {mode:o}"


def test_telemetry_is_off() -> None:
    code = "import distprompt_tui.models, os; print(os.environ['HF_HUB_DISABLE_TELEMETRY'], os.environ['DO_NOT_TRACK'])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "1 1\n"


def test_lists_of_untrusted_names_are_escaped(tmp_path: Path) -> None:
    presets = tmp_path / "presets"
    presets.mkdir()
    said = json.dumps(HOSTILE)
    (presets / "mine.toml").write_text(f'description = {said}\n[target]\nfamily = "uniform"\n')
    create_run(RunSpec(target=Uniform()), tmp_path / "runs").path.rename(tmp_path / "runs" / "\x1b[2J\x9b31m\n")
    home = {"DISTPROMPT_HOME": str(tmp_path)}
    for arguments in (["presets"], ["runs"], ["runs", "list", "--json"], ["models"]):
        result = distprompt(*arguments, **home)
        assert result.returncode == 0, result.stderr
        for line in result.stdout.split("\n"):
            assert_visible(line)
    (presets / "mine.toml").write_text(f'[target]\nfamily = "uniform"\n{said} = 1\n')
    left_out = distprompt("presets", **home)
    assert (left_out.returncode, left_out.stderr.count("\n")) == (0, 1)
    assert_visible(left_out.stderr.strip("\n"))


def test_failure_is_one_escaped_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        fail(f"wrong: {HOSTILE}", 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert_visible(line)


def test_names_are_escaped_on_a_terminal_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    say("/tmp/\x9b2J")
    assert capsys.readouterr().out == "/tmp/\x9b2J\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    say("/tmp/\x9b2J")
    assert capsys.readouterr().out == "/tmp/‹9B›2J\n"


@pytest.mark.parametrize(("written", "owner", "ends"), [("{pid}", 0, True), ("{pid}", 1, False), ("-1", 0, False)])
def test_stop_uses_only_lock_files_of_the_user(
    written: str, owner: int, ends: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An untrusted run must not select the process that is stopped."""
    run = RunDirectory(tmp_path)
    child = subprocess.Popen(["sleep", "60"])
    lock = os.open(run.lock, os.O_RDWR | os.O_CREAT)
    os.write(lock, written.format(pid=child.pid).encode())
    fcntl.flock(lock, fcntl.LOCK_EX)
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + owner)
    stop(run, grace_seconds=0.05, silent_seconds=3)
    try:
        assert (child.wait(2 if ends else 0.2) if ends else child.poll()) == (-15 if ends else None)
    finally:
        child.kill()
        child.wait()
        os.close(lock)
