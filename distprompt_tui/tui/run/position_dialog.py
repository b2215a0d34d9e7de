"""One prompt position: its tried candidates, and manual replacement of its token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from distprompt_tui.core.text import formatting
from distprompt_tui.core.text.escapes import unescape
from distprompt_tui.core.text.formatting import Line
from distprompt_tui.core.text.terminal_text import fit, fit_to, visible_token
from distprompt_tui.runs.schema import PositionCandidates, PromptToken, Snapshot
from distprompt_tui.tui.context import is_ascii_only
from distprompt_tui.tui.drawing.styled_text import content, wrapped
from distprompt_tui.tui.run.prompt_view import position_words
from distprompt_tui.tui.widgets.dialogs import Answer, Question
from distprompt_tui.tui.widgets.visible_input import VisibleInput

_WIDTH = 58
_TOKEN_CELLS = 24
_MOST = 8  # maximum number of completions, equal to that of tried candidates

Complete = Callable[[str, int], Awaitable[list[tuple[int, str]]]]


@dataclass(frozen=True)
class PositionData:
    """A position, counted from 0. `tried`: candidates, if recorded; `why_not`: why its token cannot be replaced, or
    empty.
    """

    position: int
    token: PromptToken
    tried: PositionCandidates | None
    why_not: str

    @classmethod
    def of(cls, snapshot: Snapshot, position: int, why_not: str) -> PositionData:
        tried = snapshot.candidates[position] if position < len(snapshot.candidates) else None
        return cls(position, snapshot.prompt[position], tried, why_not)


class PositionDialog(ModalScreen["int | None"]):
    """Returns the selected token, or None. `complete` finds tokens for a typed prefix."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Back", show=False),
        Binding("down", "app.focus_next", "The list", show=False),
    ]

    def __init__(self, data: PositionData, complete: Complete) -> None:
        super().__init__()
        self._data = data
        self._complete = complete
        self._offered: list[int] = []
        self._field = VisibleInput(placeholder="start of another token, or id:5231", id="token")
        self._list = OptionList(id="candidates")
        self._message = Static(markup=False)

    def compose(self) -> ComposeResult:
        data = self._data
        text = fit_to(visible_token(data.token.text, ascii_only=is_ascii_only(self)), _TOKEN_CELLS)
        with Vertical(classes="dialog") as box:
            box.border_title = content([[(f"Position {data.position + 1}: {text}", "")]])
            box.border_subtitle = "esc: close" if data.why_not else "enter: replace the token, esc: cancel"
            yield Static(content([[(_sentence(data.token), "quiet")]]), markup=False)
            if not data.why_not:
                yield self._field
            yield self._message
            yield self._list

    def on_mount(self) -> None:
        self._offer_tried()

    def on_input_changed(self, event: Input.Changed) -> None:
        prefix = unescape(event.value)
        if prefix:
            self._offer_completions(prefix)
        else:
            self.workers.cancel_group(self, "complete")
            self._offer_tried()

    @work(exclusive=True, group="complete")
    async def _offer_completions(self, prefix: str) -> None:
        found = await self._complete(prefix, _MOST)
        self._show_message(f"Tokens with this prefix, shortest first{'' if found else ': none'}")
        self._offer(found)

    def on_input_submitted(self) -> None:
        self._choose(self._list.highlighted or 0)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self._choose(event.option_index)

    def _choose(self, index: int) -> None:
        if not self._data.why_not and index < len(self._offered):
            self.dismiss(self._offered[index])

    def _offer_tried(self) -> None:
        tried = self._data.tried
        if tried is None:
            self._show_message("No candidates tried here yet.")
            self._offer([])
            return
        self._show_message(f"Best candidates up to step {tried.step:,}: nats, change from {formatting.nats(tried.kl)}")
        self._offer([(token.id, token.text) for token in tried.tokens])

    def _show_message(self, text: str) -> None:
        lines = wrapped(text, _WIDTH, "quiet")
        self._message.update(
            content([*lines, *wrapped(self._data.why_not, _WIDTH, "warning")] if self._data.why_not else lines)
        )

    def _offer(self, tokens: Sequence[tuple[int, str]]) -> None:
        self._offered = [token for token, _ in tokens]
        self._list.clear_options()
        self._list.add_options([Option(content([self._line(token, text)])) for token, text in tokens])
        self._list.highlighted = 0 if tokens else None

    def _line(self, token: int, text: str) -> Line:
        data = self._data
        shown = fit(visible_token(text, ascii_only=is_ascii_only(self)) or "(nothing)", _TOKEN_CELLS)
        line: Line = [("› " if token == data.token.id else "  ", "key"), (shown, "strong"), (f" {token:>7}", "faint")]
        found = {} if data.tried is None else {candidate.id: candidate for candidate in data.tried.tokens}
        if data.tried is not None and token in found:
            score, about = found[token].kl, "≈" if found[token].draft_only else ""
            change = score - data.tried.kl
            role = "good" if change < 0 else "quiet"
            line += [(f" {about + formatting.nats(score):>9}", ""), (f" {formatting.signed(change):>8}", role)]
        return line


def vector_note(position: int, token: PromptToken, *, ascii_only: bool) -> Question:
    """Return a dialog that describes the vector at a position, from 0, by its nearest token and its norm."""
    text = fit_to(visible_token(token.text, ascii_only=ascii_only) or "(nothing)", _TOKEN_CELLS)

    def number(value: float | None) -> str:
        return "not recorded" if value is None else f"{value:.3f}".replace("-", "−")

    words = (
        f"The token nearest by cosine is {text} (id {token.id}): cosine {number(token.cosine)}, "
        f"distance {number(token.distance)}. The norm of the vector is {number(token.norm)}. "
        "Distance and norm are in mean norms of the token embeddings: a vector at a token has cosine 1 and distance 0. "
        "Vectors cannot be replaced or locked."
    )
    return Question(f"Position {position + 1}: a vector", words, [Answer("close", "x", "Close")])


def _sentence(token: PromptToken) -> str:
    words = position_words(token)
    return f"{words[:1].upper()}{words[1:]}."
