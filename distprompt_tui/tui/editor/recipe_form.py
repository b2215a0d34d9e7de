"""The form of a recipe: a line for each field of the target's family, made from the spec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Label

from distprompt_tui.core.text.formatting import Line
from distprompt_tui.tui.drawing.styled_text import content, width_of
from distprompt_tui.tui.editor.recipe import (
    FormLine,
    Path,
    Recipe,
    lines_of,
    value_at,
    with_family,
    with_part,
    with_value,
    without_item,
)
from distprompt_tui.tui.editor.target_draft import RowValidation
from distprompt_tui.tui.editor.target_rows import RowNote
from distprompt_tui.tui.widgets.choice_field import ChoiceField
from distprompt_tui.tui.widgets.line_widget import LineWidget
from distprompt_tui.tui.widgets.visible_input import VisibleInput

_LONG = ("text", "token", "entry")  # kinds whose field takes the whole line


class FieldNote(LineWidget[Line]):
    """Text beside a field; hidden if there is no space for all of it."""

    def lines(self, width: int, height: int) -> list[Line]:
        return [self.data if width_of(self.data) <= width else []]


class AddPart(Widget, can_focus=True):
    """Enter, space or a click adds a part."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,space", "add", "Add", show=False)]

    class Pressed(Message):
        """A part was asked for."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words = words

    def render(self) -> Content:
        return content([[("+ ", "key"), (self._words, "")]])

    def action_add(self) -> None:
        self.post_message(self.Pressed())

    def on_click(self, event: events.Click) -> None:
        self.action_add()


class FieldLine(Vertical):
    """A line of the form: label, field and description, with the error below."""

    def __init__(self, line: FormLine, text: str) -> None:
        super().__init__()
        self.line = line
        self.note = FieldNote([(line.description, "faint")], classes="note")
        self.error = RowNote(RowValidation(), classes="error")
        self.meaning = RowValidation()
        self.field = self._field(text)
        self.label = Label(line.label, markup=False)
        self.add_class(f"-{line.kind}")

    def _field(self, text: str) -> Widget:
        line = self.line
        if line.kind == "add":
            return AddPart(line.description)
        if line.choices:
            return ChoiceField(line.choices, text)
        placeholder = line.placeholder or (line.description if line.kind in _LONG else "")
        return VisibleInput(text, all_spaces=line.kind in ("token", "entry"), placeholder=placeholder)

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield self.label
            yield self.field
            if self.line.kind not in (*_LONG, "add", "family"):
                yield self.note
        yield self.error

    @property
    def text(self) -> str:
        return self.field.value if isinstance(self.field, Input | ChoiceField) else ""

    def write(self, text: str) -> None:
        if isinstance(self.field, Input):
            if self.field.value != text:
                self.field.value = text
        elif isinstance(self.field, ChoiceField):
            self.field.select(text)

    def report(self, meaning: RowValidation) -> None:
        self.meaning = meaning
        self.set_class(meaning.is_wrong, "-wrong")
        self.error.show(meaning)

    @property
    def sentence(self) -> str:
        """The meaning of the line for the user who is editing it."""
        if self.meaning.sentence:
            return self.meaning.sentence
        if self.line.kind == "family":
            return "family: ← and → select another, F2 lists them"
        return f"{self.line.name}: {self.line.description}"


class RecipeForm(VerticalScroll, can_focus=False):
    """Fields of a recipe; posts `Changed` when one changes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "The field above", show=False),
        Binding("down", "move(1)", "The field below", show=False),
    ]

    class Changed(Message):
        """A field has another value."""

    def __init__(self, recipe: Recipe, *, id: str) -> None:
        super().__init__(id=id)
        self._recipe = recipe
        self._lines: list[FieldLine] = []

    @property
    def value(self) -> Recipe:
        return self._recipe

    @property
    def current(self) -> FieldLine | None:
        return next((line for line in self._lines if line.has_focus_within), None)

    @property
    def family_path(self) -> Path:
        """Path of the family of the focused field."""
        focused = line.line.path if (line := self.current) is not None else ()
        paths = [line.line.path for line in self._lines if line.line.kind == "family"]
        return max((path for path in paths if focused[: len(path) - 1] == path[:-1]), key=len, default=("family",))

    def write(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._arrange()
        self.post_message(self.Changed())

    def report(self, fields: Mapping[Path, RowValidation]) -> None:
        for line in self._lines:
            line.report(fields.get(line.line.path, RowValidation()))

    def set_family(self, path: Path, family: str) -> None:
        self.write(with_family(self._recipe, path, family))

    def drop_current(self) -> None:
        """Delete the focused item or part; the focus goes to the line that takes its place."""
        if (line := self.current) is not None:
            index = self._lines.index(line)
            self.write(without_item(self._recipe, line.line.path))
            self._focus(min(index, len(self._lines) - 1))

    def focus_first(self) -> None:
        """Focus the first field after the family."""
        self._focus(min(1, len(self._lines) - 1))

    def action_move(self, by: int) -> None:
        if (line := self.current) is not None:
            self._focus(min(max(self._lines.index(line) + by, 0), len(self._lines) - 1))

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._take(event.input)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """On Enter, replace several tokens by the first; then move on."""
        event.stop()
        line = self._line_of(event.input)
        if line is not None and line.line.kind == "token" and line.meaning.first_piece is not None:
            event.input.value = line.meaning.first_piece
            event.input.cursor_position = len(event.input.value)
        else:
            self.action_move(1)

    def on_choice_field_changed(self, event: ChoiceField.Changed) -> None:
        event.stop()
        line = self._line_of(event.field)
        if line is not None and line.line.kind == "family":
            self.set_family(line.line.path, event.field.value)
        else:
            self._take(event.field)

    def on_add_part_pressed(self, event: AddPart.Pressed) -> None:
        event.stop()
        if (line := self.current) is not None:
            index = self._lines.index(line)
            self.write(with_part(self._recipe, line.line.path))
            self._focus(index)

    def _take(self, field: Widget) -> None:
        line = self._line_of(field)
        if line is None or line.text == value_at(self._recipe, line.line.path):
            return
        self._recipe = with_value(self._recipe, line.line.path, line.text)
        if line.line.item:
            self._arrange()
        self.post_message(self.Changed())

    def _line_of(self, field: Widget) -> FieldLine | None:
        return next((line for line in self._lines if line.field is field), None)

    def _focus(self, index: int) -> None:
        line = self._lines[index]
        if line.field.is_attached:
            line.field.focus()
        else:
            line.call_after_refresh(line.field.focus)

    def _arrange(self) -> None:
        """Show the lines of the recipe. Lines that remain keep their widgets, and with them the focus."""
        if not self.is_attached:
            return
        known = {line.line: line for line in self._lines}
        shown: list[FieldLine] = []
        for wanted in lines_of(self._recipe):
            text = value_at(self._recipe, wanted.path)
            line = known.pop(wanted, None)
            if line is None:
                line = FieldLine(wanted, text)
                self.mount(line, **({"after": shown[-1]} if shown else {"before": 0} if self.children else {}))
            else:
                line.write(text)
            shown.append(line)
        cells = max(len(line.line.label) for line in shown) + 1
        for line in shown:
            line.label.styles.width = cells
        for surplus in known.values():
            surplus.remove()
        self._lines = shown

    def on_mount(self) -> None:
        self._arrange()
