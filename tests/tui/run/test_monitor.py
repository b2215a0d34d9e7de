"""Following runs and listing them: what files say about life, crash and end."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from distprompt_tui.core.config.presets import load_preset, override, with_method
from distprompt_tui.runs import schema
from distprompt_tui.runs.directory import create_run
from distprompt_tui.runs.log import read_log
from distprompt_tui.runs.summary import RunLabel
from distprompt_tui.tui.platform import clipboard
from distprompt_tui.tui.run.monitor import SILENT_AFTER_SECONDS, RunMonitor
from tests.tui.recording import Recorder, recorded, searching


def test_a_run_without_worker_has_crashed_until_it_says_that_it_ended(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    follower = RunMonitor(recorder.run)
    with recorder.living_worker():
        recorder.start()
        recorder.steps(3)
        view = follower.poll()
        assert (view.health, view.state.phase, view.state.step) == ("alive", "searching", 3)
    recorder.run.log.write_text("Traceback\n\nMemoryError: no\n")
    view = follower.poll()
    assert view.health == "crashed"
    assert view.log_tail == ("Traceback", "MemoryError: no")
    recorder.end("stopped")
    assert follower.poll().health == "ended"


def test_the_title_is_known_before_the_worker_speaks(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "hard")
    assert RunMonitor(recorder.run).poll().title == RunLabel("outlier", "smollm2", "hard", 10, 0)
    recorder.run.spec_file.write_text("not toml at all [")
    assert RunMonitor(recorder.run).poll().title.preset == recorder.run.name


def test_a_silent_worker_is_noticed_unless_it_pauses(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.start()
    with recorder.living_worker():
        recorder.steps(1)
        recorder.run.heartbeat.touch()
        follower = RunMonitor(recorder.run)
        assert follower.poll().health == "alive"
        follower._heard_at -= SILENT_AFTER_SECONDS + 10
        view = follower.poll()
        assert view.health == "silent"
        assert view.silent_seconds is not None
        assert view.silent_seconds >= SILENT_AFTER_SECONDS + 9
        recorder.writer.write(schema.Control(command="pause", outcome="paused"))
        assert follower.poll().health == "alive"


def test_a_stage_has_the_time_since_its_start(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    with recorder.living_worker():
        follower = RunMonitor(recorder.run)
        assert follower.poll().stage_seconds is None
        recorder.writer.write(schema.Progress("model", "loading smollm2"))
        assert follower.poll().stage_seconds is not None
        follower._stage_since -= 12
        recorder.writer.write(schema.Progress("model", "loading smollm2", 0.5))
        assert (follower.poll().stage_seconds or 0) >= 12
        recorder.start()
        assert follower.poll().stage_seconds is None


def test_a_log_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    assert read_log(tmp_path / "worker.log") == []
    (tmp_path / "worker.log").write_bytes(b"\xff\xfe\n" + b"x" * 200_000)
    assert len(read_log(tmp_path / "worker.log")[-1]) < 100_000


def test_what_can_be_copied(tmp_path: Path) -> None:
    run = recorded(tmp_path, "hard")
    state = RunMonitor(run).poll().state
    assert clipboard.text_of("path", run, state) == str(run.path)
    assert clipboard.text_of("attach", run, state) == f"distprompt-tui attach {run.name}"
    growing = searching(tmp_path / "growing", steps=4)
    assert clipboard.text_of("result", Recorder(tmp_path / "new").run, state) == ""
    so_far = json.loads(clipboard.text_of("result", growing.run, state))
    assert (so_far["kl"], so_far["steps"]) == (growing.kl, 4)
    assert clipboard.text_of("ids", run, state) == "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"
    (run.best / "prompt.json").write_text('{"ids": [5, 6], "text": " so"}')
    assert clipboard.text_of("ids", run, state) == "[5, 6]"
    assert clipboard.text_of("text", run, state) == " so"
    kept = clipboard.keep(" so", run.path)
    assert kept is not None
    assert kept.read_text() == " so"


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ([], ""),
        (["seed=3", "budget.steps=20"], " --steps 20 --seed 3"),
        (["search.lr=0.3", 'model.name="my model"'], " --set search.lr=0.3 --model 'my model'"),
    ],
)
def test_the_headless_command_repeats_a_run(tmp_path: Path, changes: list[str], options: str) -> None:
    run = create_run(override(load_preset("outlier").spec, changes), tmp_path)
    assert clipboard.headless_command(run) == f"distprompt-tui run outlier{options}"


def test_the_headless_command_of_another_method_or_target(tmp_path: Path) -> None:
    preset = load_preset("outlier").spec
    hard = create_run(override(with_method(preset, "hard"), ["search.width=8"]), tmp_path)
    assert clipboard.headless_command(hard) == "distprompt-tui run outlier --method hard --set search.width=8"
    for changed in (["target.seed=9"], ["preset=gone"]):
        run = create_run(override(preset, changed), tmp_path)
        assert clipboard.headless_command(run) == shlex.join(
            ["distprompt-tui", "run", str(run.spec_file), "--set", f'preset="{run.read_spec().preset}"']
        )
        assert load_preset(str(run.spec_file)).spec.target == run.read_spec().target
