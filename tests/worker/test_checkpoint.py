"""Checkpoints: round trip, detection of damage, and fallback to the previous one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.events import EventWriter, Tailer, decode_object
from distprompt_tui.search.protocol import SearchState
from distprompt_tui.worker import checkpoint
from distprompt_tui.worker.checkpoint import Checkpoint, CheckpointSchedule, load_checkpoint, save_checkpoint


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path)


@pytest.fixture
def events(run: RunDirectory) -> EventWriter:
    return EventWriter(run.events)


def checkpoint_of(step: int) -> Checkpoint:
    tensors = {
        "vectors": torch.full((2, 3), step + 0.1),
        "count": torch.tensor(step),
        "none": torch.zeros(0, 2, dtype=torch.long),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "half": torch.tensor([0.5, step], dtype=torch.bfloat16),
    }
    return Checkpoint(SearchState(tensors, {"step": step, "now": {"kl": 0.1 + 0.2}}), step, 1 / 3, 4.5)


def warnings(run: RunDirectory) -> list[str]:
    return [event["text"] for event in Tailer(run.events, decode_object).read() if event["type"] == "warning"]


def assert_is(found: Checkpoint | None, step: int) -> None:
    expected = checkpoint_of(step)
    assert found is not None
    assert (found.step, found.seconds, found.start_kl) == (expected.step, expected.seconds, expected.start_kl)
    assert found.search.numbers == expected.search.numbers
    assert found.search.tensors.keys() == expected.search.tensors.keys()
    for name, tensor in expected.search.tensors.items():
        assert torch.equal(found.search.tensors[name], tensor)
        assert found.search.tensors[name].dtype == tensor.dtype


def test_the_newest_checkpoint_is_restored_and_two_are_kept(run: RunDirectory, events: EventWriter) -> None:
    assert load_checkpoint(run, events) is None
    for step in (1, 2, 3):
        save_checkpoint(run, checkpoint_of(step))
        assert_is(load_checkpoint(run, events), step)
    assert warnings(run) == []
    run.previous_checkpoint.replace(run.checkpoint)
    assert_is(load_checkpoint(run, events), 2)


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "missing", "other"])
def test_a_damaged_checkpoint_falls_back_to_the_previous_one(
    run: RunDirectory, events: EventWriter, damage: str
) -> None:
    for step in (1, 2):
        save_checkpoint(run, checkpoint_of(step))
    data = run.checkpoint.read_bytes()
    if damage == "missing":
        run.checkpoint.unlink()
    else:
        flipped = data[:-1] + bytes([data[-1] ^ 1])
        run.checkpoint.write_bytes({"cut": data[:-9], "empty": b"", "flipped": flipped, "other": b"{}" * 99}[damage])
    assert_is(load_checkpoint(run, events), 1)
    (warning,) = warnings(run)
    assert run.checkpoint.name in warning
    assert "the previous one is used, of step 1" in warning


def test_two_damaged_checkpoints_raise_one_error_and_stay_unchanged(run: RunDirectory, events: EventWriter) -> None:
    for step in (1, 2):
        save_checkpoint(run, checkpoint_of(step))
    run.checkpoint.write_bytes(b"\0" * 50)
    run.previous_checkpoint.write_bytes(b"")
    with pytest.raises(DistPromptError, match=r"cannot be resumed.*damaged.*fork") as failure:
        load_checkpoint(run, events)
    assert "\n" not in str(failure.value)
    assert (run.checkpoint.read_bytes(), run.previous_checkpoint.read_bytes()) == (b"\0" * 50, b"")


@given(data=st.data())
def test_a_flipped_bit_is_detected(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The checkpoint is rejected, or the bit has no meaning and all values are the same."""
    run = RunDirectory(tmp_path_factory.mktemp("run"))
    save_checkpoint(run, checkpoint_of(7))
    whole = bytearray(run.checkpoint.read_bytes())
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[bit // 8] ^= 1 << bit % 8
    run.checkpoint.write_bytes(whole)
    try:
        found = load_checkpoint(run, EventWriter(run.events))
    except DistPromptError:
        return
    assert_is(found, 7)


def test_a_failed_save_keeps_both_checkpoints(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (1, 2):
        save_checkpoint(run, checkpoint_of(step))
    before = [path.read_bytes() for path in (run.checkpoint, run.previous_checkpoint)]

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(run, checkpoint_of(3))
    assert [path.read_bytes() for path in (run.checkpoint, run.previous_checkpoint)] == before
    assert len(list(run.path.iterdir())) == 2


def test_checkpoints_are_due_by_time_and_steps_at_a_bounded_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now)  # type: ignore[attr-defined]
    timetable = CheckpointSchedule()
    assert not timetable.is_due(checkpoint.STEPS - 1)
    assert timetable.is_due(checkpoint.STEPS)
    timetable.saved(checkpoint.STEPS, cost=0.1)
    assert not timetable.is_due(2 * checkpoint.STEPS)  # no time has elapsed
    now += 0.1 / checkpoint.SHARE_OF_TIME + 0.1
    assert timetable.is_due(2 * checkpoint.STEPS)
    assert not timetable.is_due(2 * checkpoint.STEPS - 1)
    now += checkpoint.SECONDS
    assert timetable.is_due(checkpoint.STEPS + 1)
