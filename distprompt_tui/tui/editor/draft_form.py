"""The editor's form: rows and how to spread the rest, or a recipe instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Input, Label

from distprompt_tui.core.config.target_fields import family_summary
from distprompt_tui.core.text.formatting import Line
from distprompt_tui.tui.drawing.styled_text import wrapped
from distprompt_tui.tui.editor.lines import RestChoice, RestData
from distprompt_tui.tui.editor.recipe import Path, value_at
from distprompt_tui.tui.editor.recipe_form import RecipeForm
from distprompt_tui.tui.editor.target_draft import Draft, DraftValidation
from distprompt_tui.tui.editor.target_rows import TargetRows
from distprompt_tui.tui.widgets.line_widget import LineWidget, label_border
from distprompt_tui.tui.widgets.visible_input import VisibleInput

if TYPE_CHECKING:
    from distprompt_tui.core.config.target_specs import Rest


class FamilySummary(LineWidget[str]):
    def lines(self, width: int, height: int) -> list[Line]:
        return wrapped(self.data, width, "quiet", max_lines=height)


class DraftForm(Vertical):
    """Posts `Changed` when the draft may have changed."""

    class Changed(Message):
        """A field has another value."""

    def __init__(self, *, id: str, classes: str) -> None:
        super().__init__(id=id, classes=classes)
        self.rows = TargetRows(id="rows")
        self.recipe = RecipeForm(Draft().recipe, id="recipe")
        self._choice = RestChoice(RestData(), id="rest")
        self._text = VisibleInput(all_spaces=False, placeholder="a text; empty: a newline", id="text")
        self._summary = FamilySummary("", id="summary")
        self._rest: Rest = "uniform"
        self._by_recipe = False

    def compose(self) -> ComposeResult:
        yield self.rows
        yield self._choice
        with Horizontal(id="text-line"):
            yield Label("after ")
            yield self._text
        yield self.recipe
        yield self._summary

    def on_mount(self) -> None:
        self._arrange()

    @property
    def draft(self) -> Draft:
        return Draft(self.rows.value, self._rest, self._text.value, self._by_recipe, self.recipe.value)

    def write(self, draft: Draft) -> None:
        switched = draft.by_recipe != self._by_recipe
        self._rest, self._by_recipe = draft.rest, draft.by_recipe
        self._text.value = draft.text
        self.rows.write(draft.rows)
        self.recipe.write(draft.recipe)
        self._arrange()
        if switched:
            self.focus_first()

    def report(self, report: DraftValidation) -> None:
        if self._by_recipe:
            self.recipe.report(report.fields)
            self._summary.show(family_summary(value_at(self.recipe.value, self.recipe.family_path)))
        else:
            self.rows.report(report.rows)
            self._choice.show(RestData(report.total, self._rest))

    def focus_first(self) -> None:
        if self._by_recipe:
            self.recipe.focus_first()
        else:
            self.rows.focus_token()

    @property
    def sentence(self) -> str:
        """The meaning of the focused row or field; empty if none has the focus."""
        if self._by_recipe:
            return line.sentence if (line := self.recipe.current) is not None else ""
        return self.rows.sentence

    def toggle_rest(self) -> None:
        """Switch how the rest is spread; focus the text if it is needed."""
        self._rest = "model" if self._rest == "uniform" else "uniform"
        self._arrange()
        if self._rest == "model":
            self._text.focus()
        elif self._text.has_focus:
            self.rows.focus_token()

    def toggle_recipe(self) -> None:
        self._by_recipe = not self._by_recipe
        self._arrange()
        self.focus_first()

    @property
    def family_path(self) -> Path:
        """Path of the family of the focused field; that of the whole target if rows are shown."""
        return self.recipe.family_path if self._by_recipe else ("family",)

    def choose_family(self, path: Path, family: str) -> None:
        """Show the recipe with another family. A whole target of the family `explicit` is shown as rows."""
        is_whole = path == ("family",)
        self._by_recipe = not is_whole or family != "explicit"
        if self._by_recipe:
            self.recipe.set_family(path, family)
        self._arrange()
        if is_whole:
            self.focus_first()

    def drop_current(self) -> None:
        if self._by_recipe:
            self.recipe.drop_current()
        else:
            self.rows.drop_current()

    def on_target_rows_changed(self, event: TargetRows.Changed) -> None:
        event.stop()
        self.post_message(self.Changed())

    def on_recipe_form_changed(self, event: RecipeForm.Changed) -> None:
        event.stop()
        self.post_message(self.Changed())

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Changed())

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.screen.focus_next()

    def on_rest_choice_clicked(self) -> None:
        self.toggle_rest()

    def _arrange(self) -> None:
        self.set_class(self._by_recipe, "-by-recipe")
        self.set_class(self._rest == "model", "-with-text")
        label_border(self, title=[("Recipe" if self._by_recipe else "Token, probability", "border")])
        self.post_message(self.Changed())
