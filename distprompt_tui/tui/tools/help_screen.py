"""The help: every key from the same table as the bindings, and what words and bars mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from distprompt_tui.text.formatting import Line
from distprompt_tui.tui.drawing.styled_text import content, wrapped
from distprompt_tui.tui.keymap import Key, grouped

_WIDTH = 72
_KEY_CELLS = 10

BARS: list[Line] = [
    [("  ██████", "agreed"), ("▀▀▀▀", "target"), ("  the target puts more on this token than the prompt achieves", "")],
    [("  ██████", "agreed"), ("▄▄▄▄", "achieved"), ("  the prompt puts more on this token than the target asks", "")],
    [("  ██████", "agreed"), ("      both put as much", "")],
    [("  ▏", "target"), ("           more than nothing, less than a cell", "")],
]

WORDS = (
    ("target, p", "the next-token distribution that is asked for"),
    ("achieved, q", "what the model gives after the prompt"),
    ("divergence", "KL(p‖q) in nats: what the search makes small; 0 would be a perfect match"),
    ("uniform", "the baseline: the divergence of the uniform distribution"),
    ("floor", "a proven bound: no prompt of any kind or length comes below it on this model"),
    ("head optimum", "the lowest divergence found over all inputs of the output layer; measured, not proven"),
    ("excess", "divergence minus head optimum: what a better prompt could still gain"),
    ("gap closed", "the share of the way from the first prompt to the head optimum that is done"),
    ("gap", "achieved minus target, for one token"),
    ("KL contribution", "a token's part of the divergence, p·log(p/q) − p + q: never negative, and they sum to it"),
    ("cosine, × norm", "soft prompts: how near a vector is to a token, and its length against the vocabulary's mean"),
)


class HelpScreen(ModalScreen[None]):
    """Scrolls; any of its keys closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,f1,q,enter", "dismiss", "Close", show=False)]

    def __init__(self, keys: Sequence[Key]) -> None:
        super().__init__()
        self._keys = keys

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog") as box:
            box.border_title = "Help"
            box.border_subtitle = "esc closes"
            yield Static(content(help_lines(self._keys, _WIDTH)), markup=False)


def help_lines(keys: Sequence[Key], width: int) -> list[Line]:
    lines: list[Line] = []
    for group, members in grouped(keys).items():
        lines += [[], [(group, "heading")]]
        lines += [[(f"  {key.display:<{_KEY_CELLS}}", "key"), (key.help, "")] for key in members]
    lines += [[], [("One bar, two distributions", "heading")], *BARS, [], [("Words", "heading")]]
    for word, meaning in WORDS:
        first, *others = wrapped(meaning, width - 18)
        lines.append([(f"  {word:<16}", "strong"), *first])
        lines += [[(" " * 18, ""), *other] for other in others]
    return lines[1:]
