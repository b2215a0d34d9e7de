"""The target editor: tokens and probabilities, or a recipe, with a live preview."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from textual import work
from textual.app import ComposeResult
from textual.containers import Container
from textual.screen import ModalScreen
from textual.widgets import Input

from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.core.text import formatting
from distprompt_tui.core.text.formatting import Line
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.tui.editor import target_draft
from distprompt_tui.tui.editor.draft_form import DraftForm
from distprompt_tui.tui.editor.history import DraftHistory
from distprompt_tui.tui.editor.lines import ValidationBar, ValidationData
from distprompt_tui.tui.editor.recipe import value_at
from distprompt_tui.tui.editor.recipe_dialogs import FamilyDialog, as_rows_question
from distprompt_tui.tui.editor.save_preset_dialog import save_under_a_name, unsaved_question
from distprompt_tui.tui.editor.target_draft import Draft, DraftValidation, Row
from distprompt_tui.tui.keymap import EDITOR_APP_KEYS, EDITOR_KEYS
from distprompt_tui.tui.platform.threads import in_thread
from distprompt_tui.tui.start.opening import Opening
from distprompt_tui.tui.start.preview_service import PreviewState, TargetPreviewService
from distprompt_tui.tui.start.spec_builder import build_spec
from distprompt_tui.tui.start.target_preview import PreviewData, TargetView
from distprompt_tui.tui.widgets.app_screen import AppScreen
from distprompt_tui.tui.widgets.one_line import OneLine
from distprompt_tui.tui.widgets.search_form import SearchForm

if TYPE_CHECKING:
    from distprompt_tui.core.config import spec, target_specs
    from distprompt_tui.models.vocabulary import Vocabulary
    from distprompt_tui.tui.start.target_preview_data import TargetPreview


class EditorScreen(AppScreen):
    """Input is checked at once; the target is built in a thread, and its bounds are computed after a short delay."""

    AUTO_FOCUS = "#rows Input"
    keys = EDITOR_KEYS
    key_section = "editor"
    app_keys = EDITOR_APP_KEYS
    flat_below = 20

    def __init__(self, opening: Opening, *, saved: Callable[[str], None]) -> None:
        super().__init__()
        self._opening = opening
        self._model = opening.model
        self._saved = saved
        self._previews = TargetPreviewService(self._on_preview_change, opening.maker)
        self._vocabulary: Vocabulary | None = None
        self._report = DraftValidation(problem="reading the model's tokens…")
        self._last_made: TargetPreview | None = None
        self._rows_wanted_of: target_specs.TargetSpec | None = None
        # The draft when it was last opened or saved, and the equivalent spec, if any.
        self._kept = Draft()
        self._kept_spec: spec.RunSpec | None = None
        self._history = DraftHistory(Draft().trimmed())

    def compose_body(self) -> ComposeResult:
        yield OneLine([], id="header")
        with Container(id="edit"):
            yield DraftForm(id="draft", classes="panel")
            yield TargetView(PreviewData(), id="target", classes="panel")
        yield ValidationBar(ValidationData(), id="validation")
        yield SearchForm(id="search", classes="panel")

    def on_mount(self) -> None:
        for field in self.query(Input):
            field.cursor_blink = False
        self.query_one(SearchForm).show(self._opening.choice)
        self._show_all()
        self._open()

    def on_screen_resume(self) -> None:
        """Restart the bounds that `on_screen_suspend` cancelled."""
        self._look()

    def on_screen_suspend(self) -> None:
        """Leave the CPU to a search; the model stays in memory."""
        if not isinstance(self.app.screen, ModalScreen):
            self.workers.cancel_group(self, "look")
            self._previews.pause()

    def on_unmount(self) -> None:
        self._previews.pause()

    @property
    def form(self) -> DraftForm:
        return self.query_one(DraftForm)

    @property
    def has_changes(self) -> bool:
        return self._rows_wanted_of is None and self.form.draft.trimmed() != self._kept

    @work(group="open")
    async def _open(self) -> None:
        try:
            vocabulary = await self._previews.vocabulary(self._model)
            # The first check imports modules and builds tables, which would delay the first key.
            await in_thread(target_draft.check, Draft(rows=(Row(" a", "1"),)), vocabulary)
        except DistPromptError as error:
            self._report = DraftValidation(problem=str(error), is_wrong=True)
            self._show_all()
            return
        self._vocabulary = vocabulary
        if self._opening.preset:
            target = self._opening.base.target
            draft = target_draft.draft_of(target)
            is_whole = bool(draft.rows) or draft.by_recipe
            self._rows_wanted_of = None if is_whole else target
            self._write(draft, self._opening.base if is_whole else None)
        self._check()

    def _write(self, draft: Draft, says_the_same: spec.RunSpec | None) -> None:
        """Load a draft that the user has not entered."""
        self._kept, self._kept_spec = draft.trimmed(), says_the_same
        self._history = DraftHistory(draft.trimmed())
        self.form.write(draft)

    def on_draft_form_changed(self, event: DraftForm.Changed) -> None:
        self._check()

    def _check(self) -> None:
        if self._vocabulary is None:
            return
        draft = self.form.draft
        report = target_draft.check(draft, self._vocabulary)
        field = self.focused if isinstance(self.focused, Input) else None
        self._history.record(draft.trimmed(), field, len(field.value) if field else 0)
        if draft.trimmed().rows:
            self._rows_wanted_of = None
        is_new = report.target != self._report.target
        self._report = report
        if is_new or self._rows_wanted_of is not None:
            self._look()
        self._show_all()

    def _look(self) -> None:
        """Build the target and compute its bounds; cancel the previous work."""
        target = self._rows_wanted_of or self._report.target
        if target is None:
            self.workers.cancel_group(self, "look")
        else:
            self._find_out(target)

    @work(exclusive=True, group="look")
    async def _find_out(self, target: target_specs.TargetSpec) -> None:
        await self._previews.prefetch(self._model, [target])
        await self._previews.load(self._model, target)

    def _on_preview_change(self) -> None:
        if not self.is_composed:
            return
        if self._rows_wanted_of is not None and (made := self._known(self._rows_wanted_of).target) is not None:
            self._take_rows(made)
        self._show_all()

    def _known(self, target: target_specs.TargetSpec | None) -> PreviewState:
        return self._previews.known(self._model.name, target) if target is not None else PreviewState()

    def _take_rows(self, made: TargetPreview) -> None:
        """Use the most probable tokens of a target as rows, as the editor's initial state."""
        assert self._vocabulary is not None
        self._rows_wanted_of = None
        rows = target_draft.rows_of_tokens(made.tokens, self._vocabulary)
        self._write(replace(self.form.draft, rows=rows), None)
        self.notify(
            f"The target has too many tokens for the editor. The {len(rows)} most probable ones are shown as rows; the "
            f"rest is spread evenly, which changes the entropy from {formatting.nats(made.entropy)} nats.",
            severity="warning",
        )

    def _show_all(self) -> None:
        if not self.is_composed:
            return
        self.query_one("#header", OneLine).show(self._title())
        self.form.report(self._report)
        self._show_target()
        self._show_validation()
        self.show_keys()

    def _title(self) -> Line:
        name = sanitize(self._opening.base.preset) or "a new target"
        state = ("  ● not saved", "warning") if self.has_changes else ("", "")
        return [("Editor  ", "heading"), (name, "strong"), (f"  for {sanitize(self._model.name)}", "quiet"), state]

    def _show_target(self) -> None:
        target = self._rows_wanted_of or self._report.target
        known = self._known(target)
        if known.target is not None:
            self._last_made = known.target
        made = self._last_made if not known.failure else None
        making = f"Building the target: {self._previews.model_server_status.text() or 'please wait'}."
        self.query_one("#target", TargetView).show(
            PreviewData(
                target=made,
                is_old=known.target is None,
                going_on=known.failure or (making if target is not None else "The preview appears here."),
                bounds=known.bounds,
                server=self._previews.model_server_status,
                failed=bool(known.failure),
            )
        )

    def _show_validation(self) -> None:
        known = self._known(self._report.target)
        problem = known.failure or self._report.problem
        if not problem and known.target is None:
            problem = "building the target…"
        is_wrong = self._report.is_wrong or bool(known.failure)
        self.query_one(ValidationBar).show(ValidationData(problem, is_wrong, self.form.sentence))

    def on_descendant_focus(self) -> None:
        self.form.report(self._report)
        self._show_validation()

    def availability(self) -> Mapping[str, bool | None]:
        by_recipe = self.form.draft.by_recipe
        return {"rescale": not by_recipe, "rest": not by_recipe, "as_rows": by_recipe}

    def key_words(self) -> Mapping[str, str]:
        return {"recipe": "rows" if self.form.draft.by_recipe else "recipe"}

    def action_rescale(self) -> None:
        try:
            self.form.rows.write(target_draft.rescaled(self.form.draft.trimmed().rows))
        except DistPromptError as error:
            self.show_error(error)

    def action_rest(self) -> None:
        self.form.toggle_rest()

    def action_recipe(self) -> None:
        self._last_made = None
        self.form.toggle_recipe()

    def action_family(self) -> None:
        draft, path = self.form.draft, self.form.family_path

        def choose(family: str | None) -> None:
            if family is not None:
                self.form.choose_family(path, family)

        self.app.push_screen(FamilyDialog(value_at(draft.recipe, path) if draft.by_recipe else "explicit"), choose)

    @work(exclusive=True, group="save")
    async def action_as_rows(self) -> None:
        """Replace the recipe by rows, after showing what that changes."""
        target, vocabulary = self._report.target, self._vocabulary
        made = self._known(target).target
        if made is None or vocabulary is None:
            what = "is not built yet" if target is not None else "is not complete"
            self.notify(f"The recipe's target {what}, so it has no tokens for the rows.", severity="warning")
            return
        rows = target_draft.rows_of_tokens(made.tokens, vocabulary)
        draft = replace(self.form.draft, rows=rows, rest="uniform", by_recipe=False)
        report = target_draft.check(draft, vocabulary)
        if report.target is not None:
            await self._previews.prefetch(self._model, [report.target])
        if (after := self._known(report.target).target) is None:
            self.notify("The most probable tokens of this target cannot be rows.", severity="error")
            return
        question = as_rows_question(len(rows), made, after, rest=max(1 - report.total, 0.0))
        if await self.app.push_screen_wait(question) == "rows":
            self.form.write(draft)

    def action_drop(self) -> None:
        self.form.drop_current()

    def action_undo(self) -> None:
        self._restore(self._history.undo(), "Nothing to undo.")

    def action_redo(self) -> None:
        self._restore(self._history.redo(), "Nothing to redo.")

    def _restore(self, draft: Draft | None, missing: str) -> None:
        if draft is None:
            self.notify(missing)
        else:
            self.form.write(draft)

    def on_input_submitted(self) -> None:
        self.action_start()

    def action_start(self) -> None:
        try:
            chosen = self._spec()
        except DistPromptError as error:
            self.show_error(error)
        else:
            self.context.start_search(chosen)

    def _spec(self) -> spec.RunSpec:
        """Return the run that the fields describe.

        Raises:
            UsageError: a field is missing or invalid.
        """
        from distprompt_tui.core.errors import UsageError

        target = self._report.target
        problem = self._report.problem or self._known(target).failure
        if problem or target is None:
            raise UsageError(problem[:1].upper() + problem[1:] + ".")
        base = self._kept_spec
        if base is None or self.has_changes:
            changes = {"target": target, "title": "", "description": target_draft.summary_of(target), "preset": ""}
            base = self._opening.base.model_copy(update=changes)
        return build_spec(base, self._model.name, self.query_one(SearchForm).choice)

    @work(exclusive=True, group="save")
    async def action_save(self) -> None:
        await self._save()

    async def _save(self) -> bool:
        try:
            chosen = self._spec()
        except DistPromptError as error:
            self.show_error(error)
            return False
        draft = self.form.draft.trimmed()
        saved = await save_under_a_name(self.app, chosen, self._opening.preset)
        if saved is None:
            return False
        self._kept, self._kept_spec = draft, saved
        self._saved(saved.preset)
        self._show_all()
        return True

    def action_back(self) -> None:
        self.leave(self.app.pop_screen)

    @work(exclusive=True, group="save")
    async def leave(self, go: Callable[[], object]) -> None:
        """Call `go`; ask first if there are unsaved changes."""
        if self.has_changes:
            answer = await self.app.push_screen_wait(unsaved_question())
            if answer not in ("save", "leave") or (answer == "save" and not await self._save()):
                return
        go()
