"""Dialogs that ask a question with a few answers, each with a key."""

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
    value: str
    key: str
    words: str


class Question(ModalScreen[str | None]):
    """A question. The result is an answer's value, or None if the user cancels."""

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
        "The search runs in a separate process.",
        [
            Answer("detach", "d", "Detach: quit, the search continues"),
            Answer("stop", "s", "Stop: stop the search, then quit"),
            Answer("stay", "x", "Stay here"),
        ],
    )


def stop_question() -> Question:
    return Question(
        "Stop the search",
        "It stops after this step. The best prompt so far is kept.",
        [Answer("stop", "s", "Stop"), Answer("stay", "x", "Cancel")],
    )


def kill_question() -> Question:
    return Question(
        "Kill the search",
        "The search will stop after the current step. If you kill it now, that step and the last seconds before it are "
        "lost.",
        [Answer("kill", "k", "Kill now"), Answer("stay", "x", "Wait for the step")],
    )


def stop_sweep_question(name: str) -> Question:
    return Question(
        "Stop the sweep",
        f"{name}: running searches are discarded, finished ones are kept. The sweep can be resumed.",
        [Answer("stop", "s", "Stop"), Answer("stay", "x", "Cancel")],
    )


def delete_question(name: str) -> Question:
    return Question(
        "Delete a run",
        f"{name}: this permanently deletes its events, best prompt and checkpoint.",
        [Answer("delete", "d", "Delete"), Answer("keep", "x", "Keep")],
    )


def path_question(*, has_text: bool, has_path: bool, is_stable: bool) -> Question:
    """Ask how a new search uses a continued prompt.

    Args:
        has_text: whether the prompt is a text; vectors are none.
        has_path: whether tokens were appended.
        is_stable: whether the text is tokenised to the same ids.
    """
    answers = [
        *([Answer("prefix", "p", "Prefix: search a prompt that follows this text")] if has_text else []),
        *([Answer("suffix", "s", "Suffix: search a prompt before the path's tokens")] if has_path else []),
        *([Answer("target", "t", "Target: search a prompt for this distribution")] if has_text else []),
    ]
    text = "The target stays the same, except with t; the settings can be changed before the start."
    if not has_text:
        text = "Vectors are no text, so they cannot be a prefix or an lm target."
    if not is_stable:
        text += " This text is tokenised to other ids than the path: the new search uses the text."
    return Question("New search from here", text, answers)


def export_question(method: str) -> Question:
    vectors = [
        Answer("peft", "p", "the vectors as an adapter for peft"),
        Answer("safetensors", "s", "the vectors alone, .safetensors"),
    ]
    return Question(
        "Export",
        "Written to the run's folder; for other folders use 'distprompt-tui runs export'.",
        [
            *(vectors if method == "soft" else []),
            Answer("json", "j", "spec, result and prompt, JSON"),
            Answer("csv", "c", "the steps as a table, CSV"),
        ],
    )


def copy_question() -> Question:
    return Question(
        "Copy",
        "Copies to the terminal's clipboard (OSC 52) and to last-copy.txt in the run.",
        [
            Answer("text", "t", "the prompt as text (soft: its nearest tokens)"),
            Answer("ids", "i", "the prompt as token ids"),
            Answer("result", "j", "the best result (so far) as JSON"),
            Answer("command", "c", "the command that repeats this run headless"),
            Answer("attach", "a", "the command that watches this run"),
            Answer("path", "p", "the path of the run"),
        ],
    )
