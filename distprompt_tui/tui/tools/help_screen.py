"""The help: all keys, from the table of the bindings, and the terms and bars. It can be searched and runs a key."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from distprompt_tui.core.text.formatting import Line
from distprompt_tui.tui.context import with_ascii_bars
from distprompt_tui.tui.drawing.styled_text import content, width_of, wrapped
from distprompt_tui.tui.keymap import Key, grouped
from distprompt_tui.tui.widgets.search_bar import SearchBar

_WIDTH = 75
_KEY_CELLS = 12
_TERM_CELLS = 19
_FRAME_LINES = 3  # the border, and the line of the search field

BARS: tuple[tuple[Line, str], ...] = (
    ([("  ██████", "agreed"), ("▀▀▀▀  ", "target")], "the target's probability is higher than the achieved one"),
    ([("  ██████", "agreed"), ("▄▄▄▄  ", "achieved")], "the achieved probability is higher than the target's"),
    ([("  ██████      ", "agreed")], "both probabilities are equal"),
    ([("  ▏           ", "target")], "above 0, but less than one cell"),
    (
        [("  ████", "agreed"), ("╱╱", "quiet"), ("██    ", "agreed")],
        "the axis is broken: over 20 times as long",
    ),
)

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


@dataclass(frozen=True)
class HelpEntry:
    """An entry of the help.

    Attributes:
        heading: the group.
        lines: the text, with a hanging indent.
        key: the key that it describes; None for terms and bars.
    """

    heading: str
    lines: tuple[Line, ...]
    key: Key | None = None

    def contains(self, words: Sequence[str]) -> bool:
        """Whether heading, text and key bar label together contain all words, in any case."""
        text = " ".join(span for line in self.lines for span, _ in line)
        whole = f"{self.heading} {text} {self.key.label if self.key else ''}".casefold()
        return all(word.casefold() in whole for word in words)


class HelpScreen(ModalScreen[Key | None]):
    """Returns the key whose action the user chose, one of the `available` keys."""

    AUTO_FOCUS = "#entries"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Close", show=False),
        Binding("question_mark,f1,q", "dismiss(None)", "Close", show=False),
        Binding("slash", "find", "Search", show=False),
        Binding("j", "move('cursor_down')", "Down", show=False),
        Binding("k", "move('cursor_up')", "Up", show=False),
    ]

    def __init__(self, keys: Sequence[Key], available: Set[Key]) -> None:
        super().__init__()
        self._keys = keys
        self._available = available
        self._find = ""
        self._shown: list[HelpEntry | None] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = "Help"
            box.border_subtitle = "/ search   enter run   esc close"
            box.styles.height = len(help_lines(self._keys, _WIDTH)) + _FRAME_LINES
            entries = OptionList(id="entries", markup=False)
            yield entries
            yield SearchBar("words of a key or a term", entries)

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self._show)

    def on_search_bar_changed(self, event: SearchBar.Changed) -> None:
        self._find = event.find
        self._show()

    def action_find(self) -> None:
        self.query_one(SearchBar).open()

    def action_back(self) -> None:
        if not self.query_one(SearchBar).close():
            self.dismiss(None)

    def action_move(self, action: str) -> None:
        getattr(self.query_one(OptionList), f"action_{action}")()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        entry = self._shown[event.option_index]
        if entry is not None and entry.key in self._available:
            self.dismiss(entry.key)
        elif entry is not None and entry.key is not None:
            self.notify("This key works in its panel only." if not entry.key.action else "Not available now.")

    def _show(self) -> None:
        options = self.query_one(OptionList)
        width = min(self.query_one(".dialog").content_size.width - 1, _WIDTH)  # a cell for the scroll bar
        words = self._find.split()
        entries = [
            entry for entry in help_entries(self._keys, width, partial(with_ascii_bars, self)) if entry.contains(words)
        ]
        self._shown = []
        drawn: list[Option] = []
        for number, entry in enumerate(entries):
            if not number or entries[number - 1].heading != entry.heading:
                self._shown.append(None)
                space: list[Line] = [[]] if number else []
                drawn.append(Option(content([*space, [(entry.heading, "heading")]]), disabled=True))
            self._shown.append(entry)
            drawn.append(Option(content(entry.lines)))
        if not entries:
            drawn = [Option(content(wrapped("Nothing contains these words. Press esc to show all.", width, "quiet")))]
            self._shown = [None]
        options.set_options(drawn)
        options.action_first()
        options.scroll_home(animate=False)


def help_entries(keys: Sequence[Key], width: int, spell: Callable[[str], str] = str) -> list[HelpEntry]:
    """Return keys by group, then bars and terms, wrapped to a width in cells; `spell` writes the terms' meanings."""
    entries = [
        HelpEntry(group, _hanging([(f"  {key.display:<{_KEY_CELLS - 3}} ", "key")], key.help, width), key)
        for group, members in grouped(keys).items()
        for key in members
    ]
    entries += [HelpEntry("One bar, two distributions", _hanging(bar, text, width)) for bar, text in BARS]
    for word, text in WORDS:
        head: Line = [(f"  {word:<{_TERM_CELLS - 3}} ", "strong")]
        entries.append(HelpEntry("Terms", _hanging(head, spell(text), width)))
    return entries


def help_lines(keys: Sequence[Key], width: int) -> list[Line]:
    """Return the whole help, with an empty line before each heading but the first."""
    lines: list[Line] = []
    heading = ""
    for entry in help_entries(keys, width):
        if entry.heading != heading:
            heading = entry.heading
            lines += [[], [(heading, "heading")]]
        lines += entry.lines
    return lines[1:]


def _hanging(head: Line, text: str, width: int) -> tuple[Line, ...]:
    """Wrap a text beside its head; further lines are indented by the width of the head."""
    indent = width_of(head)
    first, *others = wrapped(text, width - indent)
    return ([*head, *first], *([(" " * indent, ""), *line] for line in others))
