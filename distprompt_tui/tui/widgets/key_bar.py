"""The bottom line with the available keys, by priority if space is short. Keys can be clicked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual.content import Content
from textual.widget import Widget

from distprompt_tui.tui.drawing.styled_text import ROLES
from distprompt_tui.tui.keymap import APP_KEYS, Key

_GAP = 2


class KeyBar(Widget):
    """Labels may depend on the state of a screen (pause, resume)."""

    def __init__(self, keys: Sequence[Key]) -> None:
        super().__init__()
        self.auto_links = False
        self._keys = [key for key in keys if key.footer_rank is not None]
        self._words: Mapping[str, str] = {}
        self._hidden: frozenset[str] = frozenset()

    def show(self, words: Mapping[str, str], hidden: frozenset[str]) -> None:
        if (words, hidden) != (self._words, self._hidden):
            self._words, self._hidden = words, hidden
            self.refresh()

    def render(self) -> Content:
        useful = [key for key in self._keys if key.method not in self._hidden]
        chosen = fitting_keys(useful, self._words, self.size.width)
        parts: list[Content | tuple[str, str]] = []
        for key in chosen:
            click = f"@click={_namespaced(key)}" if key.action else ""
            parts.append((f"{key.pair or key.display} ", f"{ROLES['key']} {click}".strip()))
            parts.append((f"{self._words.get(key.method, key.label)}{' ' * _GAP}", f"{ROLES['quiet']} {click}".strip()))
        return Content.assemble(*parts)


def fitting_keys(keys: Sequence[Key], words: Mapping[str, str], width: int) -> list[Key]:
    """Return the keys with the highest priority that fit, in table order, the app's own keys last."""
    chosen: list[Key] = []
    left = width + _GAP
    for key in sorted(keys, key=lambda key: key.footer_rank or 0):
        left -= len(key.pair or key.display) + 1 + len(words.get(key.method, key.label)) + _GAP
        if left < 0:
            break
        chosen.append(key)
    return [key for key in keys if key in chosen]


def _namespaced(key: Key) -> str:
    owner = "app" if key.action in {own.action for own in APP_KEYS} else "screen"
    name, bracket, rest = key.action.partition("(")
    return f"{owner}.{name}{bracket}{rest}" if bracket else f"{owner}.{name}"
