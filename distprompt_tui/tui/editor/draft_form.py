"""The editor's form: rows and how to spread the rest, or a text instead."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Input, Label

from distprompt_tui.tui.editor.lines import RestChoice, RestData
from distprompt_tui.tui.editor.target_draft import Draft, DraftValidation, Rest
from distprompt_tui.tui.editor.target_rows import TargetRows
from distprompt_tui.tui.widgets.line_widget import label_border
from distprompt_tui.tui.widgets.visible_input import VisibleInput


class DraftForm(Vertical):
    """Posts `Changed` when the draft may have changed."""

    class Changed(Message):
        """A field has another value."""

    def __init__(self, *, id: str, classes: str) -> None:
        super().__init__(id=id, classes=classes)
        self.rows = TargetRows(id="rows")
        self._choice = RestChoice(RestData(), id="rest")
        self._text = VisibleInput(all_spaces=False, id="text")
        self._entropy = VisibleInput(placeholder="nats; empty: unchanged", id="entropy")
        self._rest: Rest = "uniform"
        self._by_text = False

    def compose(self) -> ComposeResult:
        yield self.rows
        yield self._choice
        with Horizontal(id="text-line"):
            yield Label("after ")
            yield self._text
        with Horizontal(id="entropy-line"):
            yield Label("entropy ")
            yield self._entropy

    def on_mount(self) -> None:
        self._arrange()

    @property
    def draft(self) -> Draft:
        return Draft(self.rows.value, self._rest, self._by_text, self._text.value, self._entropy.value)

    def write(self, draft: Draft) -> None:
        self._rest, self._by_text = draft.rest, draft.by_text
        self._text.value, self._entropy.value = draft.text, draft.entropy
        self.rows.write(draft.rows)
        self._arrange()

    def report(self, report: DraftValidation) -> None:
        self.rows.report(report.rows)
        self._choice.show(RestData(report.total, self._rest))

    def toggle_rest(self) -> None:
        """Switch how the rest is spread; focus the text if it is needed."""
        self._rest = "model" if self._rest == "uniform" else "uniform"
        self._arrange()
        if self._rest == "model":
            self._text.focus()
        elif self._text.has_focus:
            self.rows.focus_token()

    def toggle_by_text(self) -> None:
        self._by_text = not self._by_text
        self._arrange()
        if self._by_text:
            self._text.focus()
        else:
            self.rows.focus_token()

    def on_target_rows_changed(self, event: TargetRows.Changed) -> None:
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
        self.set_class(self._by_text, "-by-text")
        self.set_class(self._by_text or self._rest == "model", "-with-text")
        self._text.placeholder = "a text" if self._by_text else "a text; empty: a newline"
        label_border(self, title=[("Distribution after a text" if self._by_text else "Token, probability", "border")])
        self.post_message(self.Changed())
