"""Base of the full screens: key bar, available actions, breakpoints, and a message if the terminal is too small."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.screen import ModalScreen, Screen
from textual.widget import Widget

from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.tui.context import AppContext
from distprompt_tui.tui.keymap import ANYWHERE, APP_KEYS, SECTIONS_WITH_FIELDS, Key, bindings
from distprompt_tui.tui.platform.poller import Poller
from distprompt_tui.tui.widgets.key_bar import KeyBar

MIN_COLUMNS, MIN_ROWS = 60, 16


class TooSmall(Widget):
    def render(self) -> str:
        size = self.app.size
        return f"This terminal is {size.width} x {size.height}.\ndistprompt needs {MIN_COLUMNS} x {MIN_ROWS}."


class AppScreen(Screen[None]):
    """A full screen of the app.

    Attributes:
        keys: the screen's keys with their defaults, for its bindings.
        key_section: the section of `keys.toml` that changes them.
        app_keys: the app's keys that are enabled on it.
        flat_below: height in rows below which the screen has the class `-flat`.
        poller: reads and shows the screen's data, on screens that `tick`.
    """

    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012
        (0, "-no-columns"),
        (MIN_COLUMNS, "-narrow"),
        (100, "-wide"),
        (170, "-huge"),
    ]
    VERTICAL_BREAKPOINTS = [(0, "-no-rows"), (MIN_ROWS, "-low"), (32, "-high")]  # noqa: RUF012

    keys: ClassVar[tuple[Key, ...]] = ()
    key_section: ClassVar[str] = ""
    app_keys: ClassVar[tuple[Key, ...]] = APP_KEYS
    flat_below: ClassVar[int] = 0

    poller: Poller[Any]

    _composed = 1

    def __init_subclass__(cls, **kwargs: Any) -> None:
        cls.BINDINGS = [*bindings(cls.key_section, cls.keys)]
        super().__init_subclass__(**kwargs)

    def compose(self) -> ComposeResult:
        yield from self.compose_body()
        yield KeyBar(self.keys_in_force)
        yield TooSmall()

    def compose_body(self) -> ComposeResult:
        raise NotImplementedError

    def on_mount(self) -> None:
        self._composed = len(self.children)

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.height < self.flat_below, "-flat")

    @property
    def is_composed(self) -> bool:
        """Whether the widgets exist; on exit they are removed before the screen."""
        return self.is_attached and len(self.children) >= self._composed

    @property
    def is_foreground(self) -> bool:
        """Whether it is the top screen apart from dialogs. Textual's `is_current` is also true for lower screens."""
        above = self.app.screen_stack[::-1]
        return self in above and all(isinstance(screen, ModalScreen) for screen in above[: above.index(self)])

    def tick(self) -> None:
        if self.is_foreground:
            self.run_worker(self.poller.poll())

    @property
    def context(self) -> AppContext:
        return cast("AppContext", self.app)

    @property
    def keys_in_force(self) -> tuple[Key, ...]:
        """The screen's and the app's keys, with the user's own instead of the defaults."""
        key_map, typing = self.context.key_map, self.key_section in SECTIONS_WITH_FIELDS
        return (*key_map.table(self.key_section, self.keys), *key_map.table(ANYWHERE, self.app_keys, typing=typing))

    def show_error(self, error: Exception, *, timeout: float | None = None) -> None:
        self.notify(sanitize(str(error)), severity="error", timeout=timeout, markup=False)

    def availability(self) -> Mapping[str, bool | None]:
        """Return which actions are available, by name without arguments; missing actions are available.

        False disables the key. None hides it from the key bar; the action then explains why it has no effect.
        """
        return {}

    def key_words(self) -> Mapping[str, str]:
        """Return labels of the key bar that depend on the state, by action name."""
        return {}

    def show_keys(self) -> None:
        hidden = frozenset(action for action, is_available in self.availability().items() if not is_available)
        self.query_one(KeyBar).show(self.key_words(), hidden)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self.availability().get(action, True) is not False

    def action_back(self) -> None:
        self.app.pop_screen()


async def run_key_action(screen: Screen[Any], action: str) -> None:
    """Run the action of a key on its screen, or on the app if it is one of the app's."""
    owner = screen if hasattr(screen, f"action_{action.partition('(')[0]}") else screen.app
    await screen.app.run_action(action, owner)
