"""Starts a new search from an old one with one setting changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static

from distprompt_tui.core.config.methods import METHODS
from distprompt_tui.core.errors import UsageError
from distprompt_tui.core.text.formatting import Line
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.tui.drawing.styled_text import content, wrapped
from distprompt_tui.tui.widgets.visible_input import Field

if TYPE_CHECKING:
    from distprompt_tui.core.config.spec import RunSpec

_WIDTH = 68
_INSTRUCTION = "Change one value; the others stay the same."


class ForkDialog(ModalScreen["RunSpec | None"]):
    """Returns the new spec, or None if the user cancels.

    `note` says what is already different in `spec`; then no further setting has to be changed.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Back", show=False),
        Binding("up", "app.focus_previous", "Previous field", show=False),
        Binding("down", "app.focus_next", "Next field", show=False),
    ]

    def __init__(self, spec: RunSpec, note: str = "") -> None:
        super().__init__()
        self._note = note
        self._spec = spec
        self._values = settings(spec)
        self._fields = {name: Field(value, id=name, compact=True) for name, value in self._values.items()}
        self._message = Static(markup=False)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = "A new search from this one"
            box.border_subtitle = "enter: start, esc: cancel"
            for name, field in self._fields.items():
                with Horizontal(classes="field"):
                    yield Label(name)
                    yield field
                    yield Static(content([[(_hint(self._spec, name), "quiet")]]), classes="hint", markup=False)
            yield self._message

    def on_mount(self) -> None:
        text = f"{self._note}. One more value may be changed." if self._note else _INSTRUCTION
        self._show_message(wrapped(text, _WIDTH, "quiet"))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        changed = {name: field.value.strip() for name, field in self._fields.items()}
        try:
            is_changed = bool(self._note) and changed == self._values
            self.dismiss(self._spec if is_changed else forked(self._spec, changed))
        except UsageError as error:
            self._show_message(wrapped(sanitize(str(error)), _WIDTH, "error", max_lines=3))

    def _show_message(self, lines: list[Line]) -> None:
        self._message.update(content(lines))


SHOWN = ("method", "length", "init", "lr", "width")  # settings of the search to show, if its method has them


def settings(spec: RunSpec) -> dict[str, str]:
    search: dict[str, object] = {**spec.search.model_dump()}
    values = {name: search[name] for name in SHOWN if name in search}
    return {name: str(value) for name, value in {**values, "steps": spec.budget.steps, "seed": spec.seed}.items()}


def _hint(spec: RunSpec, name: str) -> str:
    if name == "method":
        return ", ".join(METHODS)
    fields = {**type(spec).model_fields, **type(spec.budget).model_fields, **type(spec.search).model_fields}
    return fields[name].description or ""


def forked(spec: RunSpec, values: dict[str, str]) -> RunSpec:
    """Return the spec with one setting changed.

    Args:
        spec: of the old search.
        values: all of `settings`, one of them changed.

    Raises:
        UsageError: not exactly one setting is changed, or its value is invalid; the message explains it.
    """
    from distprompt_tui.core.config.presets import override, with_method

    changed = [name for name, value in settings(spec).items() if values[name] != value]
    if not changed:
        raise UsageError("change one value first")
    if len(changed) > 1:
        raise UsageError(f"change one setting at a time, to see its effect: {' and '.join(changed)} are changed")
    (name,) = changed
    if name == "method":
        return with_method(spec, values[name])
    path = {"steps": "budget.steps", "seed": "seed"}.get(name, f"search.{name}")
    return override(spec, [f"{path}={values[name]}"])
