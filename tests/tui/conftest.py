"""Apps under test: a recorded run, or a start screen with one small model and two presets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from textual.pilot import Pilot

from distprompt_tui.core.config.presets import Preset
from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.config.target_specs import Lm, Temperature
from distprompt_tui.models.registry import ModelEntry
from distprompt_tui.runs.directory import RunDirectory, create_run
from distprompt_tui.runs.events import Tailer
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.start import listings, preview_service
from tests.tui.recording import SIZE, Recorder, write_tokenizer
from tests.waiting import DEADLINE_SECONDS


async def until(pilot: Pilot[Any], condition: Callable[[], object]) -> None:
    """Run the app until a condition holds; fail after the deadline."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():
            await pilot.pause(0.02)
    await pilot.pause()


def screen_text(app: DistPromptApp) -> str:
    """Return the text on the terminal."""
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


async def asked(pilot: Pilot[Any], commands: Tailer[dict[str, Any]]) -> dict[str, Any]:
    """Return the next request in the control file."""
    found: list[dict[str, Any]] = []
    await until(pilot, lambda: found.extend(commands.read()) or found)
    (request,) = found
    return request


@asynccontextmanager
async def watched(
    recorder: Recorder, app_on: Callable[..., DistPromptApp], **how: Any
) -> AsyncIterator[tuple[DistPromptApp, Pilot[Any]]]:
    """Return an app on a growing run; `how` describes the terminal."""
    app = app_on(attach=recorder.run)
    app.updates_per_second = 20.0
    with recorder.living_worker():
        async with app.run_test(**how) as pilot:
            yield app, pilot


class FakeModelClient:
    """Answers at once; records the questions."""

    questions: ClassVar[list[tuple[str, str]]] = []
    device = "cpu"
    loading_since: ClassVar[float | None] = None

    def __init__(self, model: str, report: Callable[[str], None]) -> None:
        self.model = model
        self.report = report

    async def ask(self, question: str, **fields: Any) -> AsyncIterator[dict[str, Any]]:
        self.questions.append((question, fields["target"]["family"]))
        if question == "target":
            tokens = [[0, " banana", 0.6], [1, "[/", 0.4]]
            numbers = {"entropy": 0.67, "uniform_kl": 3.5, "recipe": "after a text", "by_rank": [0.6, 0.4, 0.0]}
            yield {"top": tokens, "done": True, **numbers}
        else:
            yield {"floor": 0.25, "gap": 1e-6, "head_optimum": None}
            yield {"floor": 0.25, "head_optimum": 0.5}
            yield {"done": True}

    async def close(self) -> None:
        """No process to end."""


@pytest.fixture
def small_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[RunSpec]:
    """Surroundings of a start screen. Returns the started specs instead of starting workers."""
    folder = write_tokenizer(tmp_path / "model").parent
    models = [
        ModelEntry("tiny", "Tiny [/] model", 1_000_000, SIZE, "folder tiny", "prepared", folder, weights="Q4_1"),
        ModelEntry("raw", "Raw model", 2_000_000, SIZE, "package raw", "installed"),
        ModelEntry("far", "Far model", None, None, "hub far/model", "hub"),
    ]
    presets = [
        Preset("calm", tmp_path / "calm.toml", preset_spec("calm", Temperature(entropy=2.0)), True),
        Preset("echo", tmp_path / "echo.toml", preset_spec("echo", Lm(text="Once")), True),
        Preset("broad", tmp_path / "broad.toml", preset_spec("broad", Temperature(entropy=50.0)), True),
    ]
    started: list[RunSpec] = []

    def start_run(spec: RunSpec, runs_dir: Path) -> RunDirectory:
        started.append(spec)
        return create_run(spec, runs_dir)

    FakeModelClient.questions = []
    monkeypatch.setattr(listings, "read_models", lambda: models)
    monkeypatch.setattr(listings, "read_presets", lambda: presets)
    monkeypatch.setattr(preview_service, "ModelClient", FakeModelClient)
    monkeypatch.setattr(preview_service, "DEBOUNCE_SECONDS", 0.0)
    monkeypatch.setattr("distprompt_tui.runs.process.start_run", start_run)
    return started


def preset_spec(name: str, target: Any) -> RunSpec:
    """A preset's spec."""
    return RunSpec(title=f"The {name} one", description="What it is for.", preset=name, target=target)


@pytest.fixture
def app_on(tmp_path: Path) -> Callable[..., DistPromptApp]:
    """Makes apps with this test's folder of runs."""

    def make(**how: Any) -> DistPromptApp:
        return DistPromptApp(runs_dir=tmp_path / "runs", **how)

    return make
