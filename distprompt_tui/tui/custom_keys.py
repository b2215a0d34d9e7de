"""The user's own keys: `keys.toml` in the settings folder, checked against the tables of `keymap`.

[start]
edit = "f2"
"length(1)" = [">", "ctrl+right"]
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from textual.keys import Keys, _character_to_key, format_key, key_to_character

from distprompt_tui.core.config.toml_files import read_toml
from distprompt_tui.core.errors import UsageError, near_matches
from distprompt_tui.tui.keymap import ANYWHERE, SECTIONS_WITH_FIELDS, TABLES, Key, binding_id

_MODIFIERS = ("ctrl", "alt", "shift", "super")
_NAMES = {key.value for key in Keys if "+" not in key.value and not key.value.startswith("<")} | {
    _character_to_key(chr(code)) for code in range(0x20, 0x7F) if not chr(code).isalnum()
}
_ALIASES = {"esc": "escape", "pgup": "pageup", "pgdn": "pagedown", "del": "delete", "return": "enter"}

_ALWAYS = {f"{ANYWHERE}.quit": ("ctrl+q", "ctrl+c"), f"{ANYWHERE}.help": ("f1",)}
"""Keys that an action keeps, because every terminal sends them and they work in text fields."""


@dataclass(frozen=True)
class Entry:
    """An action that `keys.toml` can give other keys, and its keys in force."""

    section: str
    key: Key
    default: Key

    @property
    def is_own(self) -> bool:
        return self.key.keys != self.default.keys

    @property
    def symbols(self) -> list[str]:
        return [symbol_of(name) for name in self.key.keys.split(",")]


@dataclass(frozen=True)
class KeyMap:
    """The keys in force.

    Attributes:
        overrides: the user's keys, separated by commas, by binding id, as Textual's `set_keymap` takes them.
        problems: a line for each wrong entry of the file, for which the default key stays.
    """

    overrides: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def table(self, section: str, keys: Sequence[Key], *, typing: bool = False) -> tuple[Key, ...]:
        """Return a table with the user's keys instead of the defaults.

        Args:
            section: the table's name in `TABLES`.
            keys: the table, or a part of it.
            typing: show a key that works in a text field, where there is one.
        """
        changed = [self._own(section, key, typing) for key in keys]
        return tuple(
            replace(key, pair=_pair(key, changed)) if old.pair and changed != list(keys) else key
            for old, key in zip(keys, changed, strict=True)
        )

    def entries(self) -> list[Entry]:
        """Return all actions by section."""
        return [
            Entry(section, key, default)
            for section, table in TABLES.items()
            for key, default in zip(self.table(section, table), table, strict=True)
            if key.action
        ]

    def as_dicts(self) -> list[dict[str, Any]]:
        return [
            {
                "section": entry.section,
                "action": entry.key.action,
                "keys": entry.key.keys.split(","),
                "default": entry.default.keys.split(","),
                "help": entry.key.help,
            }
            for entry in self.entries()
        ]

    def _own(self, section: str, key: Key, typing: bool) -> Key:
        own = self.overrides.get(binding_id(section, key)) if key.action else None
        if own is None:
            return key
        names = own.split(",")
        shown = next((name for name in names if not (typing and _is_character(name))), names[0])
        return replace(key, keys=own, symbol=symbol_of(shown))


def read_key_map(path: Path) -> KeyMap:
    """Read the user's keys. Each mistake becomes a problem of the result; without a file, all keys are the defaults."""
    if not path.exists():
        return KeyMap()
    try:
        sections, _ = read_toml(path)
    except UsageError as error:
        return KeyMap(problems=(str(error),))
    wanted: dict[str, str] = {}
    problems: list[str] = []
    for section, entries in sections.items():
        for name, value in _entries(section, entries, problems):
            own = _checked(section, name, value, problems)
            if own is not None:
                entry = f"{section}.{name}"
                wanted[entry] = ",".join(dict.fromkeys([*own, *_ALWAYS.get(entry, ())]))
    while (conflict := _first_conflict(wanted)) is not None:
        entry, problem = conflict
        del wanted[entry]
        problems.append(problem)
    return KeyMap(wanted, tuple(f"{path.name}: {problem}" for problem in problems))


def symbol_of(name: str) -> str:
    """Return the displayed form of Textual's name of a key: `^g`, `[`, `esc`, `F5`, `alt+x`."""
    *modifiers, key = name.split("+")
    shown = key.upper() if key[0] == "f" and key[1:].isdecimal() else format_key(key)
    shown = key if key in ("enter", "backspace") else shown
    return f"^{shown}" if modifiers == ["ctrl"] else "+".join([*modifiers, shown])


def key_name(text: str) -> str | None:
    """Return Textual's name of a key that a user wrote: a name, a character or the symbol of the key bar.

    Returns:
        A name such as "f2", "ctrl+g" or "left_square_bracket"; None for an unknown key.
    """
    if len(text) == 1:
        return _character_to_key(text) if text.isprintable() else None
    if text.startswith("^"):
        text = f"ctrl+{text[1:]}"
    *modifiers, key = text.lower().split("+") if not text.endswith("++") else [*text[:-2].lower().split("+"), "plus"]
    key = _ALIASES.get(key, key)
    if len(key) == 1 and key.isprintable() and key != " ":
        key = _character_to_key(key)
    elif key not in _NAMES:
        return None
    known = len(set(modifiers)) == len(modifiers) and set(modifiers) <= set(_MODIFIERS)
    return "+".join([*sorted(modifiers, key=_MODIFIERS.index), key]) if known else None


def _entries(section: str, entries: Any, problems: list[str]) -> Iterator[tuple[str, Any]]:
    """Yield the entries of a known section; report an unknown one, or a value that is not a table."""
    if section not in TABLES:
        problems.append(f"[{section}] is not a screen; {near_matches(section, TABLES)}")
    elif not isinstance(entries, dict):
        problems.append(f'{section} is not a table of actions, such as [start] and below it: edit = "f2"')
    else:
        yield from entries.items()


def _checked(section: str, name: str, value: Any, problems: list[str]) -> list[str] | None:
    """Return the names of an action's keys, or None after a report of the mistake."""
    actions = [key.action for key in TABLES[section] if key.action]
    if name not in actions:
        problems.append(f"{section}.{name} is not an action; {near_matches(name, actions)}")
        return None
    texts = value if isinstance(value, list) else [value]
    if not texts or not all(isinstance(text, str) and text for text in texts):
        problems.append(f'{section}.{name}: a key is a text, such as "f2", or a list of texts')
        return None
    names = [key_name(text) for text in texts]
    for text, known in zip(texts, names, strict=True):
        if known is None:
            problems.append(f"{section}.{name}: unknown key {text!r}{_near_key(text)}")
        elif section in SECTIONS_WITH_FIELDS and _is_character(known):
            problems.append(f"{section}.{name}: {text!r} is typed into the fields; use a function key or ctrl")
        else:
            continue
        return None
    return [known for known in names if known is not None]


def _first_conflict(wanted: dict[str, str]) -> tuple[str, str] | None:
    """Return the last entry one of whose keys has another meaning on the same screen, and the line that says so."""
    for entry in reversed(wanted):
        section = entry.partition(".")[0]
        for screen in TABLES if section == ANYWHERE else (section, ANYWHERE):
            for key in TABLES[screen]:
                other = binding_id(screen, key)
                if other == entry and key.action:
                    continue
                shared = set(wanted[entry].split(",")) & set(wanted.get(other, key.keys).split(","))
                for name in sorted(shared - set(_ALWAYS.get(entry, ()))):
                    where = "on every screen" if screen == ANYWHERE else f"on the screen '{screen}'"
                    problem = f"{symbol_of(name)} is already the key of '{key.label or key.help}' {where}"
                    return entry, f"{entry}: {problem}"
    return None


def _pair(key: Key, table: Sequence[Key]) -> str:
    """Return the symbols of a key and its opposite, the other key of the same method."""
    opposite = next((other for other in table if other.method == key.method and other.action != key.action), key)
    return f"{opposite.display} {key.display}"


def _is_character(name: str) -> bool:
    character = key_to_character(name)
    return character is not None and character.isprintable()


def _near_key(text: str) -> str:
    close = difflib.get_close_matches(text.lower(), _NAMES, n=1)
    return f"; did you mean {close[0]!r}?" if close else "; keys are named like 'f2', 'ctrl+g', 'home' or 'x'"
