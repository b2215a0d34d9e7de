"""Configuration and device load, and the terminals on which they are shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distprompt_tui.core.config.search_specs import Hard, Soft
from distprompt_tui.core.config.spec import Context, RunSpec
from distprompt_tui.core.config.target_specs import Temperature
from distprompt_tui.runs.schema import Step
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.drawing.styled_text import plain_text, width_of
from distprompt_tui.tui.run.configuration import ConfigurationData, configuration_lines, settings_of
from distprompt_tui.tui.run.device_graph import DeviceData, DeviceGraph, device_lines, graph
from tests.tui.conftest import screen_text, until, watched
from tests.tui.recording import recorded, searching

Make = Callable[..., DistPromptApp]

MIB = 1 << 20


def spec(search: Any, **fields: Any) -> dict[str, Any]:
    return RunSpec(target=Temperature(entropy=2.0), search=search, seed=7, **fields).model_dump(mode="json")


def configuration(fields: dict[str, Any], device: str = "cuda:0", width: int = 60) -> dict[str, str]:
    lines = configuration_lines(ConfigurationData(settings_of(fields), device, "bfloat16"), width)
    return {text[:14].strip(): text[14:] for text in map(plain_text, lines)}


def test_the_configuration_names_every_setting_of_a_soft_search() -> None:
    assert configuration(spec(Soft(length=10, lr=0.5, restarts=4))) == {
        "model": "smollm2",
        "method": "soft",
        "length": "10 vectors",
        "seed": "7",
        "learning rate": "0.5 (ggt)",
        "batch": "4 prompts",
        "device": "cuda:0",
        "dtype": "bfloat16",
        "context": "none",
        "budget": "1,000 steps",
    }


def test_a_hard_search_has_candidates_and_a_context() -> None:
    found = configuration(spec(Hard(length=1), context=Context(prefix="Say:\n\x1b", suffix="!", bos=False)))
    assert found["length"] == "1 token"
    assert found["batch"] == "auto"
    assert "learning rate" not in found
    assert found["context"] == r"'Say:\n\x1b' before, '!' after, no BOS"


@pytest.mark.parametrize(
    ("chains", "batch"), [("auto", "24 candidates"), (1, "24 candidates"), (8, "24 candidates in each of 8 chains")]
)
def test_chains_are_shown_if_there_are_several(chains: Any, batch: str) -> None:
    assert configuration(spec(Hard(width=24, chains=chains)))["batch"] == batch


@pytest.mark.parametrize("fields", [{}, {"search": 3, "model": []}, {"search": {"length": "many", "lr": None}}])
def test_a_damaged_spec_leaves_settings_out(fields: dict[str, Any]) -> None:
    assert {"device", "dtype"} <= configuration(fields).keys()
    assert "length" not in configuration(fields)


def step(number: int, load: float | None, memory: int | None) -> Step:
    return Step(number, 1.0, 1.0, 1.0, float(number), number, memory=memory, utilization=load)


def test_load_and_memory_have_a_graph_each() -> None:
    curve = tuple(step(number, 100.0 * (number > 50), 512 * MIB) for number in range(101))
    lines = device_lines(DeviceData(curve, "cpu"), 40, 10)
    assert len(lines) == 10
    assert plain_text(lines[0]) == "load 100 % of a core, max 100 %"
    assert plain_text(lines[4]) == " " * 20 + "█" * 20
    assert plain_text(lines[5]) == "memory 512 MiB, max 512 MiB"
    assert all(width_of(line) <= 40 for line in lines)


def test_a_value_holds_for_the_time_before_it() -> None:
    lines = device_lines(DeviceData((step(1, 50.0, None), step(4, 100.0, None)), "cuda:0"), 4, 4)
    assert plain_text(lines[1]) == "▄███"


def test_columns_have_the_height_of_their_values() -> None:
    lines = [plain_text(line) for line in graph([0.0, 0.01, 50.0, 100.0], 100.0, 2, "")]
    assert lines == ["   █", " ▁██"]


def test_a_run_without_a_record_says_so() -> None:
    assert "no record" in plain_text(device_lines(DeviceData((step(1, None, None),)), 40, 10)[0])
    assert "first step" in plain_text(device_lines(DeviceData(), 40, 10)[0])


@pytest.mark.parametrize(("size", "shown"), [((160, 45), True), ((159, 45), False), ((160, 44), False)])
async def test_large_terminals_show_the_details(
    tmp_path: Path, app_on: Make, size: tuple[int, int], shown: bool
) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "gap closed" in screen_text(app))
        assert ("learning rate 0.2 (ggt)" in screen_text(app)) == shown
        assert ("─ Device  cpu" in screen_text(app)) == shown
        await pilot.press("5")
        await until(pilot, lambda: "learning rate" not in screen_text(app))
        await pilot.press("0")
        await until(pilot, lambda: ("learning rate" in screen_text(app)) == shown)


async def test_hidden_details_are_not_drawn(tmp_path: Path, app_on: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = searching(tmp_path / "runs", steps=3)
    drawn: list[int] = []
    lines = DeviceGraph.lines
    monkeypatch.setattr(DeviceGraph, "lines", lambda *args: (drawn.append(1), lines(*args))[1])
    async with watched(recorder, app_on, size=(120, 40)) as (app, pilot):
        await until(pilot, lambda: "step 3/100" in screen_text(app))
        recorder.steps(1)
        await until(pilot, lambda: "step 4/100" in screen_text(app))
        assert not drawn
