"""The help: all keys, from the table of the bindings, and the terms and bars."""

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
    [("  ██████", "agreed"), ("▀▀▀▀", "target"), ("  the target's probability is higher than the achieved one", "")],
    [("  ██████", "agreed"), ("▄▄▄▄", "achieved"), ("  the achieved probability is higher than the target's", "")],
    [("  ██████", "agreed"), ("      both probabilities are equal", "")],
    [("  ▏", "target"), ("           above 0, but less than one cell", "")],
    [("  ████", "agreed"), ("╱╱", "quiet"), ("██", "agreed"), ("    the axis is broken: over 20 times as long", "")],
]

WORDS = (
    ("target, p", "the requested next-token distribution"),
    ("achieved, q", "the model's next-token distribution after the prompt"),
    ("divergence", "KL(p‖q) in nats, which the search minimises; 0 is a perfect match"),
    ("uniform", "baseline: the divergence of the uniform distribution"),
    ("floor", "certified lower bound on the divergence of any prompt on this model"),
    ("head optimum", "lowest divergence found over all inputs of the output layer; not a proven bound"),
    ("excess", "divergence minus head optimum: possible gain of a better prompt"),
    ("gap closed", "fraction of the gap from the initial prompt to the head optimum that is closed"),
    ("gap", "achieved minus target, for one token"),
    ("KL contribution", "a token's part of the divergence: p·log(p/q) − p + q ≥ 0; they sum to it"),
    ("cosine, × norm", "soft prompts: similarity to the token, and norm relative to the vocabulary's mean"),
)


class HelpScreen(ModalScreen[None]):
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
    lines += [[], [("One bar, two distributions", "heading")], *BARS, [], [("Terms", "heading")]]
    for word, meaning in WORDS:
        first, *others = wrapped(meaning, width - 18)
        lines.append([(f"  {word:<16}", "strong"), *first])
        lines += [[(" " * 18, ""), *other] for other in others]
    return lines[1:]
