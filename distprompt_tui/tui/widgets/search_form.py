"""The search form: method, length, steps and seed in one line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Label

from distprompt_tui.core.config.methods import METHODS, Method
from distprompt_tui.tui.widgets.choice_field import ChoiceField
from distprompt_tui.tui.widgets.line_widget import label_border
from distprompt_tui.tui.widgets.visible_input import Field

LENGTHS = (1, 2, 3, 5, 8, 10, 15, 20, 30, 50, 100)
STEPS = (20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
"""Values that the keys step through; the fields accept any number."""


@dataclass(frozen=True)
class SearchChoice:
    """Values of the fields; None for an empty field."""

    method: Method = "soft"
    length: int | None = 10
    steps: int | None = 1000
    seed: int | None = 0


class SearchForm(Horizontal):
    BORDER_TITLE = "Search"

    class Changed(Message):
        """A value changed."""

    def __init__(self, *, id: str, classes: str) -> None:
        super().__init__(id=id, classes=classes)
        self._method = ChoiceField(METHODS, METHODS[0], id="method")
        self._length_before = ""
        self._inputs = {name: Field(type="integer", id=name, max_length=6, compact=True) for name in _NUMBERS}

    def compose(self) -> ComposeResult:
        yield Label("method ", classes="label roomy")
        yield self._method
        for name, field in self._inputs.items():
            field.set_class(name == "seed", "roomy")
            yield Label(f"{name} ", classes="label roomy" if name == "seed" else "label")
            yield field

    @property
    def choice(self) -> SearchChoice:
        numbers = {name: int(field.value) if field.value.isdecimal() else None for name, field in self._inputs.items()}
        return SearchChoice(cast("Method", self._method.value), numbers["length"], numbers["steps"], numbers["seed"])

    def show(self, choice: SearchChoice) -> None:
        self._method.select(choice.method)
        for name, value in (("length", choice.length), ("steps", choice.steps), ("seed", choice.seed)):
            self._inputs[name].value = "" if value is None else str(value)

    def next_method(self) -> None:
        self._method.action_change(1)

    def change(self, name: str, by: int) -> None:
        usual = LENGTHS if name == "length" else STEPS
        field = self._inputs[name]
        now = int(field.value) if field.value.isdecimal() else usual[0]
        field.value = str(next_value(usual, now, by))

    def say(self, text: str) -> None:
        """Show the estimated time or an error on the border."""
        label_border(self, subtitle=[(text, "border")])

    def on_choice_field_changed(self, event: ChoiceField.Changed) -> None:
        event.stop()
        self._fit_length()
        self.post_message(self.Changed())

    def _fit_length(self) -> None:
        """Set the length that "exhaustive" can search completely; restore the previous one with the next method."""
        field = self._inputs["length"]
        if self._method.value == "exhaustive":
            self._length_before, field.value = field.value, "1"
        elif self._length_before:
            field.value = self._length_before if field.value == "1" else field.value
            self._length_before = ""

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Changed())


_NUMBERS = ("length", "steps", "seed")


def next_value(usual: tuple[int, ...], now: int, by: int) -> int:
    """Return the next larger or smaller of the usual values, clamped at the ends."""
    if by > 0:
        return next((value for value in usual if value > now), max(now, usual[-1]))
    return next((value for value in reversed(usual) if value < now), min(now, usual[0]))
