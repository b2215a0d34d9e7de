"""The number of events of a long run is bounded, and viewers still get the newest ones."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pytest
import torch

from distprompt_tui.bounds.values import Bounds
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.runs.directory import create_run
from distprompt_tui.runs.event_reader import EventLogReader
from distprompt_tui.runs.events import EventWriter, Tailer, decode_object
from distprompt_tui.runs.reducer import reduce_all
from distprompt_tui.search import make_search
from distprompt_tui.targets import build_target
from distprompt_tui.worker import recorder
from distprompt_tui.worker.recorder import INTERVALS, MAX_EVENTS_PER_EFOLD, Recorder
from tests.tiny_runs import tiny_spec


def test_events_of_old_runs_are_infrequent_and_the_newest_are_in_a_second_file(
    tmp_path: Path,
    tiny_folders: dict[str, Path],
    tiny_models: dict[str, LanguageModel],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Simulate a day in steps of five minutes, with one hundredth of the events."""
    parts = MAX_EVENTS_PER_EFOLD / 100
    monkeypatch.setattr(recorder, "MAX_EVENTS_PER_EFOLD", parts)
    clock = 0.0
    monkeypatch.setattr(recorder.time, "monotonic", lambda: clock)  # type: ignore[attr-defined]
    model, spec = tiny_models["llama"], tiny_spec(tiny_folders["llama"], steps=288)
    target = build_target(spec.target, model.vocabulary, None)
    run = create_run(spec, tmp_path)
    events = EventWriter(run.events)
    search = make_search(model, torch.tensor(target.probabilities), spec, pytest.fail)
    writer = Recorder(run, events, model, target, torch.tensor(target.probabilities), spec)
    for step in search.steps():
        clock += 300
        writer.record(step, search)
        if step.index == 270:
            latest = json.loads(run.latest.read_text())
            assert {"step", "snapshot"} & {event["type"] for event in latest}
            state = reduce_all(EventLogReader(run.events).read())
            assert (state.step, state.snapshot and state.snapshot.step) == (270, 270)
    counts = Counter(event["type"] for event in Tailer(run.events, decode_object).read())
    for kind in ("step", "snapshot", "projection"):
        assert parts < counts[kind] <= parts * (1 + math.log(clock / (parts * INTERVALS[kind])))
    assert run.trace.stat().st_size <= 4 * 289
    writer.finish(search, search.best, Bounds(), "budget", {})
    state = reduce_all(EventLogReader(run.events).read())
    assert (state.step, state.best_kl) == (288, search.best.kl)
