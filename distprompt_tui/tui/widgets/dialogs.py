"""Small questions over a screen: a sentence, a few answers, each with its key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from distprompt_tui.tui.drawing.styled_text import content, wrapped

_WIDTH = 60


@dataclass(frozen=True, slots=True)
class Answer:
    """A choice: the value that the dialog ends with, the key that chooses it, and its words."""

    value: str
    key: str
    words: str


class Question(ModalScreen[str | None]):
    """Asks; ends with an answer's value, or None where the person turns away."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Back", show=False)]

    def __init__(self, title: str, text: str, answers: list[Answer]) -> None:
        super().__init__()
        self._heading = title
        self._text = text
        self._answers = answers

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = content([[(self._heading, "")]])
            yield Static(content(wrapped(self._text, _WIDTH - 2, "")), markup=False)
            yield OptionList(*(Option(content([self._line(answer)]), id=answer.value) for answer in self._answers))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_id)

    def on_key(self, event: events.Key) -> None:
        for answer in self._answers:
            if event.key == answer.key:
                event.stop()
                self.dismiss(answer.value)

    @staticmethod
    def _line(answer: Answer) -> list[tuple[str, str]]:
        return [(f" {answer.key} ", "key"), (answer.words, "")]


def quit_question() -> Question:
    return Question(
        "Leave",
        "The search is running in a process of its own.",
        [
            Answer("detach", "d", "Detach: leave, the search goes on"),
            Answer("stop", "s", "Stop: end the search, then leave"),
            Answer("stay", "x", "Stay here"),
        ],
    )


def stop_question() -> Question:
    return Question(
        "Stop the search",
        "It ends after this step. The best prompt so far is kept.",
        [Answer("stop", "s", "Stop it"), Answer("stay", "x", "Let it go on")],
    )


def kill_question() -> Question:
    return Question(
        "Kill the search",
        "It has been asked to stop and ends after the step that it is in. Killed now, it loses that step and the last "
        "seconds before it.",
        [Answer("kill", "k", "Kill it now"), Answer("stay", "x", "Wait for the step")],
    )


def stop_sweep_question(name: str) -> Question:
    """Whether to end the process that carries a sweep out."""
    return Question(
        "Stop the sweep",
        f"{name}: the searches at work are given up, all that have ended are kept. It can go on from there.",
        [Answer("stop", "s", "Stop it"), Answer("stay", "x", "Let it go on")],
    )


def delete_question(name: str) -> Question:
    return Question(
        "Delete a run",
        f"{name}: its events, its best prompt and its checkpoint are deleted for good.",
        [Answer("delete", "d", "Delete it"), Answer("keep", "x", "Keep it")],
    )


def export_question(method: str) -> Question:
    """What to write of a run."""
    vectors = [
        Answer("peft", "p", "the vectors as an adapter for peft"),
        Answer("safetensors", "s", "the vectors alone, .safetensors"),
    ]
    return Question(
        "Export",
        "Into the run's folder; 'distprompt-tui runs export' writes elsewhere.",
        [
            *(vectors if method == "soft" else []),
            Answer("json", "j", "spec, result and prompt, JSON"),
            Answer("csv", "c", "the steps as a table, CSV"),
        ],
    )


def copy_question() -> Question:
    return Question(
        "Copy",
        "To the clipboard of this terminal (OSC 52), and into last-copy.txt of the run.",
        [
            Answer("text", "t", "the prompt as text (soft: its nearest tokens)"),
            Answer("ids", "i", "the prompt as token ids"),
            Answer("result", "j", "the best result as JSON"),
            Answer("command", "c", "the command that repeats this run without the app"),
            Answer("attach", "a", "the command that watches this run"),
            Answer("path", "p", "the path of the run"),
        ],
    )
