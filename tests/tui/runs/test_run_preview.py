"""The preview of the selected run beside the list of runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from distprompt_tui.core.config.presets import load_preset
from distprompt_tui.runs.directory import RunDirectory, create_run
from distprompt_tui.runs.summary import RunLabel, RunSummary, read_runs
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.drawing.styled_text import plain_text, width_of
from distprompt_tui.tui.run.monitor import RunMonitor
from distprompt_tui.tui.runs.preview_lines import preview_lines
from distprompt_tui.tui.runs.preview_reader import Changes, PreviewReader
from distprompt_tui.tui.runs.run_preview import RunPreviewPanel
from tests.tui.conftest import screen_text, until
from tests.tui.recording import Recorder, recorded
from tests.tui.runs.test_screen import at_runs

Make = Callable[..., DistPromptApp]


@pytest.mark.parametrize("size", [(160, 45), (200, 55)])
async def test_wide_screen_previews_the_selected_run(
    tmp_path: Path, app_on: Make, small_world: object, size: tuple[int, int]
) -> None:
    recorded(tmp_path / "runs", "hard", steps=60)
    growing = Recorder(tmp_path / "runs")
    growing.start()
    growing.steps(3)
    app = app_on()
    with growing.living_worker():
        async with app.run_test(size=size) as pilot:
            await at_runs(app, pilot, 2)
            await until(pilot, lambda: "10 vectors" in screen_text(app))
            assert "step 3/1,000" in screen_text(app)
            growing.steps(30)
            await app.screen.poller.poll()
            await until(pilot, lambda: "step 33/1,000" in screen_text(app))
            await pilot.press("down")
            await until(pilot, lambda: "10 tokens" in screen_text(app))
            assert "head optimum 0.190 + excess" in screen_text(app)
            assert "entropy" in screen_text(app)


async def test_narrow_screen_previews_nothing(tmp_path: Path, app_on: Make, small_world: object) -> None:
    recorded(tmp_path / "runs")
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await at_runs(app, pilot, 1)
        assert not app.screen.query_one(RunPreviewPanel).display
        assert app.screen.query_one(RunPreviewPanel).data is None


@pytest.mark.parametrize(("width", "height"), [(60, 40), (40, 12), (90, 20)])
@pytest.mark.parametrize("method", ["soft", "hard"])
def test_preview_fits_its_panel(tmp_path: Path, method: str, width: int, height: int) -> None:
    run = recorded(tmp_path, method)
    (summary,) = read_runs(tmp_path)
    lines = preview_lines(PreviewReader().read(summary), width, height, ascii_only=True)
    assert len(lines) <= height
    assert all(width_of(line) <= width for line in lines)
    assert "budget spent" in plain_text(lines[0])
    assert any("head optimum 0.190" in plain_text(line) for line in lines)
    assert run.name in summary.run.name


def test_preview_lists_the_settings_that_differ_from_the_preset(tmp_path: Path) -> None:
    spec = load_preset("outlier").spec.model_copy(update={"seed": 7})
    create_run(spec, tmp_path)
    (summary,) = read_runs(tmp_path)
    preview = PreviewReader().read(summary)
    assert preview.changes == Changes("outlier", (("seed", "0", "7"),))
    assert "seed 7 (was 0)" in "\n".join(plain_text(line) for line in preview_lines(preview, 80, 30))


def test_a_field_that_an_older_run_lacks_is_no_difference(tmp_path: Path) -> None:
    run = create_run(load_preset("outlier").spec, tmp_path)
    text = run.spec_file.read_text()
    assert "compile = false\n" in text
    run.spec_file.write_text(text.replace("compile = false\n", ""))
    (summary,) = read_runs(tmp_path)
    assert PreviewReader().read(summary).changes == Changes("outlier")


def test_unchanged_runs_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(tmp_path)
    (summary,) = read_runs(tmp_path)
    reader = PreviewReader()
    first = reader.read(summary)
    monkeypatch.setattr(RunMonitor, "poll", None)
    assert reader.read(summary) is first


def test_unreadable_run_shows_the_reason(tmp_path: Path) -> None:
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    summary = RunSummary(
        RunDirectory(tmp_path / "gone"), RunLabel("gone"), "unreadable", None, None, None, 0, None, None, 0.0,
        problem="permission denied",
    )  # fmt: skip
    text = "\n".join(plain_text(line) for line in preview_lines(PreviewReader().read(summary), 60, 20))
    assert "cannot be read: permission denied" in text
