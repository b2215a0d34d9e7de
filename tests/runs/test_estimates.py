"""Estimates of a search's time and memory."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from distprompt_tui.core.config.device_widths import MAX_LOGITS
from distprompt_tui.core.config.search_specs import Hard, SearchSpec, Soft
from distprompt_tui.core.config.spec import ModelSpec, RunSpec
from distprompt_tui.core.config.target_specs import Uniform
from distprompt_tui.models.registry import find_model
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.estimates import memory_bytes, memory_of, needed_memory, seconds_per_step
from distprompt_tui.runs.summary import RunLabel, RunSummary

LABEL = RunLabel("outlier", "smollm2", "soft", 10, 0)
RUN = RunSummary(
    RunDirectory(Path("x")), LABEL, "budget", 1.0, 0.5, 3.0, 5, 10, 0.5, 100.0, device="cpu", host=socket.gethostname()
)
MEBIBYTE = 1 << 20


@pytest.mark.parametrize(
    ("label", "device", "expected"),
    [
        (LABEL, "cpu", 0.5),
        (replace(LABEL, preset="coin-flip", seed=7), "auto", 0.5),
        (LABEL, "", 0.5),
        (LABEL, "cuda", None),
        (replace(LABEL, length=20), "cpu", None),
        (replace(LABEL, method="hard"), "cpu", None),
        (replace(LABEL, model="gemma3-270m"), "cpu", None),
    ],
)
def test_the_speed_is_that_of_a_comparable_run(label: RunLabel, device: str, expected: float | None) -> None:
    assert seconds_per_step([RUN], label, device) == expected


def test_the_speed_is_that_of_the_latest_run_on_this_machine() -> None:
    runs = [
        RUN,
        replace(RUN, changed_at=200.0, seconds_per_step=0.25),
        replace(RUN, changed_at=300.0, seconds_per_step=None),
        replace(RUN, changed_at=400.0, seconds_per_step=9.0, host="another machine"),
        replace(RUN, changed_at=150.0, seconds_per_step=0.125, device="cuda:0"),
    ]
    assert seconds_per_step(runs, LABEL, "cpu") == 0.25
    assert seconds_per_step(runs, LABEL, "cuda") == 0.125
    assert seconds_per_step([], LABEL, "cpu") is None


@pytest.mark.parametrize(("search", "measured_mib"), [(Soft(), 1_050), (Hard(), 1_380)])
def test_the_memory_is_close_to_measured_searches_with_smollm2(search: SearchSpec, measured_mib: int) -> None:
    """The largest resident memory of workers on Linux."""
    estimate = memory_bytes(RunSpec(target=Uniform(), search=search), 134_515_008, 49_152, "cpu") / MEBIBYTE
    assert estimate == pytest.approx(measured_mib, rel=0.15)


def test_memory_depends_on_dtype_batch_and_vocabulary() -> None:
    def needed(search: SearchSpec, dtype: str = "auto", device: str = "cpu", size: int = 50_000) -> int:
        model = ModelSpec.model_validate({"dtype": dtype})
        return memory_bytes(RunSpec(target=Uniform(), search=search, model=model), 1_000_000, size, device)

    assert needed(Soft()) - needed(Soft(), dtype="bfloat16") == 2_000_000
    assert needed(Soft()) - needed(Soft(), device="cuda:0") == 2_000_000
    assert needed(Soft(restarts=3)) - needed(Soft()) == 2 * 50_000 * 4 * 4
    largest = needed(Hard(width=100_000, draft=False)) - needed(Hard(width=1, draft=False))
    assert largest == (MAX_LOGITS - 50_000) * 4 * 2
    assert needed(Soft(), size=100_000) > needed(Soft())


def test_the_size_of_a_known_model_is_used() -> None:
    spec = RunSpec(target=Uniform())
    model = find_model("smollm2")
    assert model.parameters is not None
    assert model.vocab_size is not None
    rough = memory_bytes(spec, model.parameters, model.vocab_size, "cpu")
    assert memory_of(spec, replace(model, folder=None), "cpu") == rough
    assert needed_memory(spec) == pytest.approx(rough, rel=0.1)  # from the files, if it is prepared
    assert needed_memory(spec.model_copy(update={"model": ModelSpec(name="no/such-model")})) is None
