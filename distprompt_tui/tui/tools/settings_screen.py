"""The settings screen. Changes are applied and saved at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import Vertical

from distprompt_tui.core.config import paths
from distprompt_tui.core.text.formatting import Line
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.tui.drawing.styled_text import truncate, width_of, wrapped
from distprompt_tui.tui.keymap import SETTINGS_KEYS
from distprompt_tui.tui.settings import ORDERS, SCALES, SWITCHES, Settings
from distprompt_tui.tui.widgets.app_screen import AppScreen
from distprompt_tui.tui.widgets.line_widget import LineWidget
from distprompt_tui.tui.widgets.one_line import OneLine
from distprompt_tui.tui.widgets.pick_list import PickList, Row

SPEEDS = (0.5, 1.0, 2.0, 3.0, 5.0)  # values that the keys step through; the file accepts any number between the limits

_VALUE_CELLS, _NAME_CELLS = 22, 20
_ALL_FROM_LINES = 22  # height from which all settings are described


@dataclass(frozen=True)
class Choice:
    """One setting: its field in `Settings`, label, description and values (empty: the app's themes)."""

    field: str
    words: str
    help: str
    values: Sequence[str | float] = ()


CHOICES = (
    Choice("theme", "Theme", "The app's colours. NO_COLOR and 16-colour terminals have their own default."),
    Choice(
        "updates_per_second",
        "Refresh rate (Hz)",
        "Updates a second of a run's screen. Lower rates suit a slow line; the speed of the search does not change. "
        "Applies to the next run that you open.",
        SPEEDS,
    ),
    Choice("token_order", "Tokens sorted by", "Initial order on a run's screen; o changes it there.", ORDERS),
    Choice("divergence_scale", "Divergence", "Initial scale of the plot; l changes it there.", SCALES),
    Choice("bar_scale", "Bars", "Initial scale of the tokens' bars; b changes it there.", SCALES),
    Choice("bell", "Bell", "Ring when a search on the screen ends.", SWITCHES),
)


@dataclass(frozen=True)
class AboutData:
    """The selected setting, and the app's files and folders by name."""

    chosen: Choice = CHOICES[0]
    places: tuple[tuple[str, str], ...] = ()


class About(LineWidget[AboutData]):
    """Describes the selected setting; on a high terminal all settings, and where the app keeps its files."""

    def lines(self, width: int, height: int) -> list[Line]:
        if height < _ALL_FROM_LINES:
            return wrapped(self.data.chosen.help, width, "quiet", max_lines=height)
        lines: list[Line] = []
        room = width - _NAME_CELLS
        for choice in CHOICES:
            values = ", ".join(_shown(value) for value in choice.values) or "all themes of the app; ^p shows a list"
            text = wrapped(choice.help, room) + wrapped(f"Values: {values}", room, "quiet")
            role = "key" if choice == self.data.chosen else "strong"
            lines += [*_beside([(f"{choice.words:<{_NAME_CELLS}}", role)], text), []]
        for name, path in self.data.places:
            lines += _beside([(f"{name:<{_NAME_CELLS}}", "strong")], _broken(sanitize(path), room))
        return [truncate(line, width) for line in lines]


class SettingsScreen(AppScreen):
    AUTO_FOCUS = "#settings"
    keys = SETTINGS_KEYS
    key_section = "settings"

    def compose_body(self) -> ComposeResult:
        yield OneLine([("Settings  ", "heading"), ("Changes are applied and saved at once.", "quiet")], id="header")
        with Vertical(id="body"):
            yield PickList("", id="settings", classes="panel")
            yield About(AboutData(), id="about", classes="panel")
            yield OneLine(self._place(), id="place")

    def on_mount(self) -> None:
        self.query_one("#settings").border_title = "Settings"
        self.query_one("#about").border_title = "Description"
        self._show_about()
        self.show_keys()
        self._show()

    def availability(self) -> Mapping[str, bool | None]:
        return {"settings": None}

    def _show(self) -> None:
        rows = [setting_row(choice, self._value(choice)) for choice in CHOICES]
        self.query_one(PickList).show(rows)
        self.query_one("#place", OneLine).show(self._place())

    def _place(self) -> Line:
        if self.context.settings_problem:
            return [("! ", "error"), (sanitize(self.context.settings_problem), "error")]
        if self.context.settings_file is None:
            return []
        return [("Saved in ", "faint"), (sanitize(str(self.context.settings_file)), "quiet")]

    def _value(self, choice: Choice) -> str | float:
        value: str | float = getattr(self.context.settings, choice.field)
        return self.app.theme if choice.field == "theme" else value

    def on_option_list_option_highlighted(self, event: PickList.OptionHighlighted) -> None:
        self._show_about()

    def _show_about(self) -> None:
        files = {"Keys": paths.keys_file(), "Runs": self.context.runs_dir, "Sweeps": paths.sweeps_dir()}
        files |= {"Models": paths.models_dir(), "Your presets": paths.user_presets_dir()}
        places = tuple((name, str(path)) for name, path in files.items())
        self.query_one(About).show(AboutData(self._chosen(), places))

    def on_pick_list_picked(self, event: PickList.Picked) -> None:
        self.action_change(1)

    def action_change(self, by: int) -> None:
        choice = self._chosen()
        values = choice.values or sorted(self.app.available_themes)
        value = next_of(values, self._value(choice), by)
        if choice.field == "theme":
            self.app.theme = str(value)
        self.context.change_settings(**{choice.field: value})
        self._show()

    def _chosen(self) -> Choice:
        value = self.query_one(PickList).value
        return next((choice for choice in CHOICES if choice.field == value), CHOICES[0])


def setting_row(choice: Choice, value: str | float) -> Row:
    shown = _shown(value)
    role = "quiet" if value == getattr(Settings, choice.field) else "strong"
    text = truncate([(sanitize(shown), role)], _VALUE_CELLS)
    return Row(choice.field, [(f"{choice.words:<{_NAME_CELLS}}", "strong"), ("‹ ", "faint"), *text, (" ›", "faint")])


def _shown(value: str | float) -> str:
    return f"{value:g}" if isinstance(value, float) else value


def _broken(path: str, width: int) -> list[Line]:
    """Break a path into lines: whole, it can be copied."""
    return [[(path[start : start + width], "quiet")] for start in range(0, len(path), width)]


def _beside(name: Line, text: Sequence[Line]) -> list[Line]:
    """Put a name before the first line of a text, and indent the others."""
    indent: Line = [(" " * width_of(name), "")]
    return [[*(indent if number else name), *line] for number, line in enumerate(text)]


def next_of(values: Sequence[str | float], now: str | float, by: int) -> str | float:
    """Return the previous or next value, cyclically; the first value if `now` is not among them."""
    index = values.index(now) if now in values else -min(by, 0) - 1
    return values[(index + by) % len(values)]
