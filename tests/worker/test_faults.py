"""Injected faults: signals, full and read-only disks, clock changes, NaN from models, damaged files."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from distprompt_tui.cli import app
from distprompt_tui.core.errors import DistPromptError, UsageError
from distprompt_tui.core.storage.jsonl import append_line
from distprompt_tui.core.storage.safe_io import write_array, write_json
from distprompt_tui.runs import schema
from distprompt_tui.runs.directory import RunDirectory, create_run
from distprompt_tui.runs.events import EventWriter, Tailer, decode_object
from distprompt_tui.runs.process import send, start_worker, stop
from distprompt_tui.tui.run.monitor import RunMonitor
from tests.faulty_model import FaultyModel
from tests.tiny_runs import outcome, tiny_spec
from tests.waiting import until
from tests.worker.faulty_worker import Faults, kill, start_faulty, wait_until_halted
from tests.worker.test_checkpoint import checkpoint_of
from tests.worker.test_resume import seen, steps_of


@pytest.fixture
def run(tmp_path: Path, tiny_folders: dict[str, Path]) -> RunDirectory:
    """A short run without a worker."""
    return create_run(tiny_spec(tiny_folders["llama"], steps=60), tmp_path)


@dataclass(frozen=True)
class Mounts:
    """Mount file systems in this namespace, or in the namespace of a helper process.

    Attributes:
        enter: prefix of commands that mount.
        root: path of the namespace's root directory.
    """

    enter: tuple[str, ...] = ()
    root: str = ""

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self.enter, *command], capture_output=True, text=True, env=os.environ | {"LC_ALL": "C"})


@pytest.fixture(scope="module")
def mounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounts]:
    """Mount as root in this namespace, otherwise in new user and mount namespaces, which most systems allow.

    Skip if the system allows neither; the test of the file size limit runs everywhere.
    """
    folder = tmp_path_factory.mktemp("mounts")
    if Mounts().run("mount", "-t", "tmpfs", "tmpfs", folder).returncode == 0:
        subprocess.run(["umount", folder], check=True)
        yield Mounts()
        return
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", "echo made; exec cat"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stderr is not None
        if holder.stdout.readline() != "made\n":
            pytest.skip(f"full disk not tested, only a file size limit: {holder.stderr.read().strip()}")
        enter = ("nsenter", f"--target={holder.pid}", "--user", "--mount", "--preserve-credentials")
        yield Mounts(enter, f"/proc/{holder.pid}/root")
        holder.stdin.close()


@pytest.fixture
def disk(tmp_path: Path, mounts: Mounts) -> Iterator[Path]:
    """A separate file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = mounts.run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder)
    assert made.returncode == 0, made.stderr
    yield Path(f"{mounts.root}{folder}")
    assert mounts.run("umount", "--lazy", folder).returncode == 0


def fill(disk: Path, leave: int = 0) -> Path:
    """Fill the disk up to `leave` bytes and return the file that occupies it."""
    ballast = disk / "ballast"
    free = os.statvfs(disk)
    ballast.write_bytes(bytes(max(free.f_bavail * free.f_bsize - leave, 0)))
    return ballast


def assert_one_clear_line(text: str | None, *words: str) -> None:
    assert text is not None
    assert "\n" not in text
    for word in words:
        assert word in text


def test_sighup_does_not_stop_the_search(run: RunDirectory) -> None:
    worker = start_faulty(run)
    until(lambda: seen(run).step > 5)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGHUP)
    worker.join()
    assert (worker.exitcode, seen(run).reason) == (0, "budget")


@pytest.mark.parametrize("leave", [0, 4096, 8192, 20480])
def test_a_full_disk_ends_the_run_which_can_be_resumed(
    disk: Path, tiny_folders: dict[str, Path], tmp_path: Path, leave: int
) -> None:
    spec = tiny_spec(tiny_folders["llama"], "soft", steps=400)
    run = create_run(spec, disk)
    worker = start_faulty(run, Faults(seconds=0.1, halt=50))
    wait_until_halted(worker)
    ballast = fill(disk, leave)
    os.kill(worker.pid or 0, signal.SIGCONT)
    worker.join()
    state = seen(run)
    assert (worker.exitcode, state.reason) == (1, "error")
    assert_one_clear_line(state.error, "No space left", "runs resume")
    watched = Tailer(run.events, decode_object)
    watched.read()
    assert watched.damaged == 0
    assert [path.name for path in run.path.iterdir() if path.name.startswith(".")] == []
    ballast.unlink()
    start_faulty(run).join()
    whole = create_run(spec, tmp_path)
    start_faulty(whole).join()
    assert outcome(run) == outcome(whole)
    assert steps_of(run) == sorted(set(steps_of(run)))


def test_a_file_size_limit_ends_the_run_which_can_be_resumed(run: RunDirectory, tmp_path: Path) -> None:
    worker = start_faulty(run, Faults(steps=20, share=1e9, halt=20))
    wait_until_halted(worker)
    kill(worker)
    worker = start_faulty(run, Faults(file_bytes=1 << 12))
    worker.join()
    assert worker.exitcode == 1
    start_faulty(run).join()
    whole = create_run(run.read_spec(), tmp_path)
    start_faulty(whole).join()
    assert outcome(run) == outcome(whole)
    assert steps_of(run) == sorted(set(steps_of(run)))


def write_checkpoint(run: RunDirectory) -> None:
    from distprompt_tui.worker.checkpoint import save_checkpoint

    save_checkpoint(run, checkpoint_of(2))


WRITES: dict[str, Callable[[RunDirectory], object]] = {
    "events.jsonl": lambda run: EventWriter(run.events).write(schema.Warning("x" * 9000)),
    "control.jsonl": lambda run: append_line(os.open(run.control, os.O_WRONLY | os.O_APPEND), {"text": "x" * 9000}),
    "checkpoint.safetensors": write_checkpoint,
    "achieved.npy": lambda run: write_array(run.achieved, np.ones(9000, np.float32)),
    "best/prompt.json": lambda run: write_json(run.best / "prompt.json", {"ids": list(range(9000))}),
    "manifest.json": lambda run: write_json(run.manifest, {"text": "x" * 9000}),
}


@pytest.mark.parametrize("name", list(WRITES))
def test_each_failed_write_keeps_the_old_file(name: str, disk: Path, tiny_folders: dict[str, Path]) -> None:
    """At every number of free pages until the write succeeds, the file has its old or its new contents."""
    run = create_run(tiny_spec(tiny_folders["llama"]), disk)
    file = run.path / name
    EventWriter(run.events).write(schema.Warning("old"))
    if name not in ("events.jsonl", "control.jsonl"):
        file.write_bytes(b"old")
    before, failures = file.read_bytes(), 0
    for pages in range(40):
        ballast = fill(disk, 4096 * pages)
        try:
            WRITES[name](run)
        except OSError:
            failures += 1
            assert file.read_bytes() == before
            assert not [path for path in run.path.rglob(".*") if path.is_file()]
        ballast.unlink()
        if file.read_bytes() != before:
            break
    assert failures
    assert file.read_bytes() != before
    assert not file.read_bytes().startswith(b"old") or name.endswith("jsonl")


def test_a_full_disk_leaves_no_incomplete_run(disk: Path, tiny_folders: dict[str, Path]) -> None:
    fill(disk)
    with pytest.raises(UsageError, match="No space left"):
        create_run(tiny_spec(tiny_folders["llama"]), disk)
    assert [path.name for path in disk.iterdir()] == ["ballast"]


def test_an_incomplete_line_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, write = EventWriter(tmp_path / "events.jsonl"), os.write
    writer.write(schema.Resumed(1))
    monkeypatch.setattr("os.write", lambda file, data: write(file, data[: len(data) // 2]))
    with pytest.raises(OSError, match="No space left"):
        writer.write(schema.Resumed(2))
    monkeypatch.undo()
    writer.write(schema.Resumed(3))
    events = Tailer(tmp_path / "events.jsonl", decode_object).read()
    assert [(event["seq"], event["step"]) for event in events] == [(0, 1), (1, 3)]


def test_a_read_only_run_is_shown_and_not_resumed(
    disk: Path, mounts: Mounts, tmp_path: Path, tiny_folders: dict[str, Path]
) -> None:
    run = create_run(tiny_spec(tiny_folders["llama"], steps=20), disk)
    start_faulty(run).join()
    assert mounts.run("mount", "-o", "remount,ro", tmp_path / "disk").returncode == 0
    assert RunMonitor(run).poll().state.reason == "budget"
    with pytest.raises(UsageError, match="Read-only"):
        start_worker(run)
    with pytest.raises(UsageError, match="Read-only"):
        send(run, "pause")
    assert stop(run, grace_seconds=0.1)


def test_clock_changes_have_no_effect(run: RunDirectory, tmp_path: Path) -> None:
    whole = create_run(run.read_spec(), tmp_path)
    start_faulty(whole).join()
    start_faulty(run, Faults(clock=7200)).join()
    assert outcome(run) == outcome(whole)
    events = Tailer(run.events, decode_object).read()
    times = [event["t"] for event in events]
    assert times == sorted(times)
    assert times[-1] - times[0] < 3600
    assert 0 <= events[-1]["result"]["seconds"] < 3600


def test_a_clock_change_does_not_make_a_worker_look_silent(
    tmp_path: Path, tiny_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run(tiny_spec(tiny_folders["llama"]), tmp_path)
    worker = start_faulty(run)
    until(lambda: seen(run).step > 0)
    follower = RunMonitor(run)
    assert follower.poll().is_live
    true = time.time
    for jump in (7200, -7200):
        monkeypatch.setattr("time.time", lambda jump=jump: true() + jump)
        assert follower.poll().health != "silent"
    kill(worker)


def test_permanent_nan_ends_the_run_and_keeps_its_best_prompt(run: RunDirectory) -> None:
    worker = start_faulty(run, Faults(model=FaultyModel(healthy=30, every=1)))
    worker.join()
    state = seen(run)
    assert worker.exitcode == 1
    assert_one_clear_line(state.error, "no finite divergence", "20 times in a row", "is kept")
    assert any("goes back" in warning for warning in state.warnings)
    assert (run.best / "prompt.safetensors").exists()
    start_faulty(run).join()
    assert seen(run).reason == "budget"
    assert math.isfinite(json.loads(run.result.read_text())["kl"])


def test_occasional_nan_does_not_end_the_run(run: RunDirectory) -> None:
    start_faulty(run, Faults(model=FaultyModel(healthy=5, every=7))).join()
    state = seen(run)
    assert (state.reason, state.step) == ("budget", 60)
    assert np.isfinite(np.fromfile(run.trace, "<f4")).all()
    assert any("goes back" in warning for warning in state.warnings)


def test_two_viewers_see_the_same_and_both_are_answered(tmp_path: Path, tiny_folders: dict[str, Path]) -> None:
    run = create_run(tiny_spec(tiny_folders["llama"]), tmp_path)
    worker = start_faulty(run)
    viewers = [RunMonitor(run), RunMonitor(run)]
    until(lambda: all(viewer.poll().state.step > 3 for viewer in viewers))
    send(run, "pause")
    until(lambda: all(viewer.poll().state.phase == "paused" for viewer in viewers))
    send(run, "resume")
    send(run, "stop")
    worker.join()
    states = [viewer.poll().state for viewer in viewers]
    assert states[0].reason == states[1].reason == "stopped"
    assert states[0].result == states[1].result
    answers = [event["outcome"] for event in Tailer(run.events, decode_object).read() if event["type"] == "control"]
    assert answers == ["paused", "resumed", "stopping"]


def test_a_run_of_a_newer_version_is_shown_but_not_resumed(run: RunDirectory) -> None:
    start_faulty(run).join()
    lines = [json.loads(line) for line in run.events.read_text().splitlines()]
    newer = [{**line, "v": schema.FORMAT_VERSION + 1, "colour": "new"} for line in lines] + [{"v": 9, "type": "news"}]
    run.events.write_text("".join(json.dumps(line) + "\n" for line in newer))
    manifest = json.loads(run.manifest.read_text())
    run.manifest.write_text(json.dumps(manifest | {"v": schema.FORMAT_VERSION + 1}))
    before = run.events.read_bytes()
    state = seen(run)
    assert (state.reason, state.step) == ("budget", 60)
    assert any("newer version" in warning for warning in state.warnings)
    with pytest.raises(UsageError, match="newer version"):
        start_worker(run)
    assert run.events.read_bytes() == before


def test_a_run_of_an_older_version_is_shown(run: RunDirectory) -> None:
    """A version without format versions, sequence numbers and later fields."""
    start_faulty(run).join()
    later = ("v", "seq", "memory", "utilization", "positions", "closed", "agreement")
    lines = [json.loads(line) for line in run.events.read_text().splitlines()]
    run.events.write_text(
        "".join(json.dumps({name: line[name] for name in line if name not in later}) + "\n" for line in lines)
    )
    state = seen(run)
    assert (state.reason, state.step, state.warnings) == ("budget", 60, ())


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "gone"])
def test_a_run_with_damaged_events_can_be_resumed(run: RunDirectory, tmp_path: Path, damage: str) -> None:
    whole = create_run(run.read_spec(), tmp_path)
    start_faulty(whole).join()
    worker = start_faulty(run, Faults(steps=10, share=1e9))
    until(lambda: seen(run).step > 25)
    kill(worker)
    data = run.events.read_bytes()
    garbage = b"\x00\xff{[}\n" + data[:500] + b"\n\xc3\x28\n" + data[700:-3]
    run.events.write_bytes({"truncated": data[:-20], "garbage": garbage, "empty": b"", "gone": b""}[damage])
    if damage == "gone":
        run.events.unlink()
    start_faulty(run).join()
    assert outcome(run) == outcome(whole)
    state = seen(run)
    assert (state.reason, state.step) == ("budget", 60)
    assert steps_of(run) == sorted(set(steps_of(run)))


def test_a_missing_model_is_reported_immediately(run: RunDirectory, tmp_path: Path) -> None:
    folder = shutil.copytree(run.read_spec().model.name, tmp_path / "model")
    gone = create_run(tiny_spec(folder), tmp_path / "runs")
    worker = start_faulty(gone)
    until(lambda: seen(gone).step > 0)
    kill(worker)
    shutil.rmtree(folder)
    said = CliRunner().invoke(app, ["runs", "resume", gone.name, "--runs-dir", str(gone.path.parent)])
    assert isinstance(said.exception, DistPromptError | SystemExit)
    assert "no model" in str(said.exception) + said.output
    start_faulty(gone).join()
    assert_one_clear_line(seen(gone).error, "no model")
