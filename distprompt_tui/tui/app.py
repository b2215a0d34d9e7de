"""The terminal app: themes, screens, quitting, and loss of the terminal. The entry point is `run_app`."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.app import App, SystemCommand, get_system_commands_provider
from textual.binding import BindingType
from textual.filter import LineFilter
from textual.message import Message
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.theme import Theme

from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.core.storage.safe_io import is_owned_by_user
from distprompt_tui.core.text.encoding import locale_is_utf8
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.runs.summary import RunSummary, read_runs
from distprompt_tui.tui.custom_keys import KeyMap, read_key_map
from distprompt_tui.tui.keymap import ANYWHERE, APP_KEYS, READ_ONLY, Key, bindings
from distprompt_tui.tui.platform.ascii_filter import AsciiFilter
from distprompt_tui.tui.platform.key_queue import KeyQueue
from distprompt_tui.tui.platform.model_client import shared_server
from distprompt_tui.tui.platform.terminal_signals import watch_terminal
from distprompt_tui.tui.platform.threads import in_thread
from distprompt_tui.tui.settings import Settings, read_settings, write_settings
from distprompt_tui.tui.themes import SIXTEEN_COLORS, THEMES, semantic_variables

if TYPE_CHECKING:
    from pathlib import Path

    from textual.command import Provider

    from distprompt_tui.core.config.spec import RunSpec
    from distprompt_tui.runs.directory import RunDirectory
    from distprompt_tui.tui.context import FirstSearch
    from distprompt_tui.tui.run.screen import RunScreen
    from distprompt_tui.tui.start.opening import Opening


_MAX_SHOWN_PROBLEMS = 3  # of the user's keys, in a notice


def palette_commands() -> type[Provider]:
    from distprompt_tui.tui.palette import AppCommands

    return AppCommands


class DistPromptApp(App[int]):
    TITLE = "distprompt"
    CSS_PATH: ClassVar = [
        "app.tcss",
        "start/start.tcss",
        "run/run.tcss",
        "run/stepping.tcss",
        "editor/editor.tcss",
        "tools/settings.tcss",
        "runs/runs.tcss",
        "runs/compare.tcss",
        "sweeps/sweeps.tcss",
        "tools/doctor.tcss",
    ]
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(ANYWHERE, APP_KEYS)]
    COMMANDS: ClassVar = {get_system_commands_provider, palette_commands}

    def __init__(
        self,
        *,
        runs_dir: Path,
        first_search: FirstSearch | None = None,
        attach: RunDirectory | None = None,
        ascii_only: bool = False,
        read_only: bool = False,
        updates_per_second: float | None = None,
        settings_file: Path | None = None,
        keys_file: Path | None = None,
    ) -> None:
        self._ascii_filter = AsciiFilter() if ascii_only else None
        super().__init__(ansi_color=True if os.environ.get("NO_COLOR") else None)
        self.ascii_only = ascii_only
        self.read_only = read_only
        self.runs_dir = runs_dir
        self._first_search = first_search
        self.first_error: DistPromptError | None = None
        self._first_run = attach
        self.animation_level = "none"
        for theme in THEMES:
            self.register_theme(theme)
        self.settings_file = settings_file
        self.settings_problem = ""
        self.settings = self._read_settings()
        self.key_map = KeyMap() if keys_file is None else read_key_map(keys_file)
        self.set_keymap(dict(self.key_map.overrides))
        self.updates_per_second = updates_per_second or self.settings.updates_per_second
        self._runs: list[RunSummary] = []
        self._keeping_settings = asyncio.Lock()
        self._key_queue = KeyQueue(self, super().post_message)
        self.theme = self._first_theme = self._theme_to_start_with()

    def post_message(self, message: Message) -> bool:
        """Queue keys of the terminal. Headless keys pass at once: a test's pilot waits between its keys."""
        if isinstance(message, events.Key) and not message.is_forwarded and not self.is_headless:
            self._key_queue.enqueue(message)
            return True
        return super().post_message(message)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return semantic_variables(self.current_theme)

    def get_line_filters(self) -> Sequence[LineFilter]:
        filters = super().get_line_filters()
        return [*filters, self._ascii_filter] if self._ascii_filter else filters

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        yield SystemCommand("Theme", "Change the colours; light themes too", self.action_change_theme)
        yield SystemCommand("Save a screenshot", "This screen as an SVG file", self.deliver_screenshot)

    def on_mount(self) -> None:
        if not self.is_headless:
            watch_terminal(self)
        self.theme_changed_signal.subscribe(self, self._remember_theme)
        if self.settings_problem:
            message = f"{sanitize(self.settings_problem)}. The default settings are used."
            self.notify(message, severity="error", timeout=12, markup=False)
        if self.key_map.problems:
            self.notify(_key_problems(self.key_map), severity="error", timeout=12, markup=False)
        if self._first_search is not None:
            from distprompt_tui.tui.tools.launch_screen import LaunchScreen

            self.push_screen(LaunchScreen(self._first_search, self._end_with))
        elif self._first_run is not None:
            self.watch_run(self._first_run)
        else:
            self.push_screen(self._start_screen())

    def _end_with(self, error: DistPromptError) -> None:
        self.first_error = error
        self.exit(return_code=error.exit_code)

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = True,
    ) -> None:
        """Show a notice instead of an equal one; one that is no warning also replaces those before it."""
        for shown in list(self._notifications):
            if shown.message == message or severity == shown.severity == "information":
                self._unnotify(shown, refresh=False)
        super().notify(message, title=title, severity=severity, timeout=timeout, markup=markup)

    async def on_unmount(self) -> None:
        await shared_server().close()

    def change_settings(self, **changes: Any) -> None:
        self.settings = dataclasses.replace(self.settings, **changes)
        self.updates_per_second = changes.get("updates_per_second", self.updates_per_second)
        if self.settings_file is not None:
            self.run_worker(self._keep_settings(self.settings_file))

    async def _keep_settings(self, path: Path) -> None:
        async with self._keeping_settings:
            try:
                aside = await in_thread(write_settings, path, self.settings)
            except DistPromptError as error:
                self.notify(sanitize(str(error)), severity="error", markup=False)
                return
        self.settings_problem = ""
        if aside is not None:
            self.notify(f"The damaged settings are now in {sanitize(aside.name)}.", timeout=10, markup=False)

    def _read_settings(self) -> Settings:
        if self.settings_file is None:
            return Settings()
        try:
            return read_settings(self.settings_file)
        except DistPromptError as error:
            self.settings_problem = str(error)
            return Settings()

    def _theme_to_start_with(self) -> str:
        """Return the configured theme, or one that mixes no colours for a terminal with 16 colours."""
        theme = self.available_themes.get(self.settings.theme)
        if theme is None:
            self.settings_problem = f"{self.settings_file}: there is no theme {self.settings.theme!r}"
            theme = self.available_themes[Settings.theme]
        few_colors = self.no_color or self.console.color_system == "standard"
        return SIXTEEN_COLORS if few_colors and not theme.ansi else theme.name

    def _remember_theme(self, theme: Theme) -> None:
        """Save a theme that the user chose. The initial theme is not a choice: it may depend on the terminal."""
        if theme.name not in (self._first_theme, self.settings.theme):
            self.change_settings(theme=theme.name)
        self._first_theme = ""

    def start_search(self, spec: RunSpec, *, replace: bool = False) -> None:
        """Start a search and show it. With `replace`, it replaces the current screen."""
        self.run_worker(self._start_search(spec, replace))

    async def _start_search(self, spec: RunSpec, replace: bool) -> None:
        from distprompt_tui.runs.process import start_run

        if self.read_only:
            self.notify(READ_ONLY, severity="warning")
            return
        await self.make_room_for(spec)
        try:
            run = await in_thread(start_run, spec, self.runs_dir)
        except (DistPromptError, OSError) as error:
            self.notify(
                f"The search could not be started: {sanitize(str(error))}", severity="error", timeout=10, markup=False
            )
            if replace:
                self.go_home()
            return
        self.watch_run(run, replace=replace)

    async def make_room_for(self, spec: RunSpec) -> None:
        """End the model server if a search needs its memory."""
        if shared_server().is_running:
            from distprompt_tui.runs.estimates import needed_memory

            await shared_server().release_memory(await in_thread(needed_memory, spec))

    def watch_run(self, run: RunDirectory, *, replace: bool = False) -> None:
        screen = self._run_screen(run)
        if replace:
            self.switch_screen(screen)
        else:
            self.push_screen(screen)

    async def read_runs(self) -> list[RunSummary]:
        """Read all runs, newest first. Unchanged runs come from the cache."""
        try:
            self._runs = await in_thread(read_runs, self.runs_dir, self._runs)
        except DistPromptError as error:
            self.notify(sanitize(str(error)), severity="error", markup=False)
            self._runs = []
        return self._runs

    def go_home(self) -> None:
        """Return to the screen that started the search. If the app began with a run, create the start screen."""
        from distprompt_tui.tui.widgets.app_screen import AppScreen

        if isinstance(self.screen_stack[-2], AppScreen):
            self.pop_screen()
        else:
            self.switch_screen(self._start_screen())

    def _run_screen(self, run: RunDirectory) -> RunScreen:
        from distprompt_tui.tui.run.screen import RunScreen

        read_only = self.read_only or not is_owned_by_user(run.path)
        return RunScreen(run, read_only=read_only)

    def _start_screen(self) -> Screen[None]:
        from distprompt_tui.tui.start.screen import StartScreen

        return StartScreen(self._open_editor)

    def _open_editor(self, opening: Opening, saved: Callable[[str], None]) -> None:
        from distprompt_tui.tui.editor.screen import EditorScreen

        self.push_screen(EditorScreen(opening, saved=saved))

    def _go_to(self, kind: type[Screen[None]], make: Callable[[], Screen[None]]) -> None:
        """Open a screen, or return to it if it is already below the current one."""
        below = next((screen for screen in self.screen_stack if type(screen) is kind), None)
        if below is None:
            self.push_screen(make())
        else:
            below.pop_until_active()

    def action_runs(self) -> None:
        from distprompt_tui.tui.runs.screen import RunsScreen

        self._go_to(RunsScreen, RunsScreen)

    def action_sweeps(self) -> None:
        from distprompt_tui.tui.sweeps.list_screen import SweepsScreen

        self._go_to(SweepsScreen, SweepsScreen)

    def action_settings(self) -> None:
        from distprompt_tui.tui.tools.settings_screen import SettingsScreen

        self._go_to(SettingsScreen, SettingsScreen)

    def action_help(self) -> None:
        from distprompt_tui.tui.tools.help_screen import HelpScreen
        from distprompt_tui.tui.widgets.app_screen import AppScreen, run_key_action

        async def run(key: Key | None) -> None:
            if key is not None:
                await run_key_action(screen, key.action)

        screen = self.screen
        if isinstance(screen, AppScreen) and screen.keys:
            available = {key for key in screen.keys_in_force if key.action and screen.check_action(key.method, ())}
            self.push_screen(HelpScreen(screen.keys_in_force, available), run)

    def action_doctor(self) -> None:
        from distprompt_tui.tui.tools.doctor_screen import DoctorScreen

        self._go_to(DoctorScreen, DoctorScreen)

    async def action_quit(self) -> None:
        """Quit. Ask first if a search is running or the target has unsaved changes."""
        from distprompt_tui.tui.widgets.dialogs import Question, quit_question

        unsaved = next((screen for screen in self.screen_stack if getattr(screen, "has_changes", False)), None)
        if isinstance(self.screen, Question):
            self.exit(0)
        elif (live := self._watched()) is not None:
            self.push_screen(quit_question(), lambda answer: self._quit(answer, live))
        elif unsaved is not None:
            unsaved.leave(partial(self.exit, 0))  # type: ignore[attr-defined]  # the editor, not imported for this
        else:
            self.exit(0)

    def _watched(self) -> RunScreen | None:
        from distprompt_tui.tui.run.screen import RunScreen

        for screen in self.screen_stack:
            if isinstance(screen, RunScreen) and screen.view.is_live and not screen.read_only:
                return screen
        return None

    def _quit(self, answer: str | None, live: RunScreen) -> None:
        if answer == "detach":
            self.exit(0)
        elif answer == "stop":
            self.run_worker(self._stop_and_quit(live))

    async def _stop_and_quit(self, live: RunScreen) -> None:
        await live.search.stop()
        self.exit(0)


def _key_problems(key_map: KeyMap) -> str:
    shown = [sanitize(problem) for problem in key_map.problems[:_MAX_SHOWN_PROBLEMS]]
    more = len(key_map.problems) - len(shown)
    all_of_them = f"All {len(key_map.problems)} mistakes" if more else "Keys"
    return "\n".join([*shown, f"The default keys stay. {all_of_them}: 'distprompt-tui keys'."])


def run_app(
    *,
    runs_dir: Path,
    first_search: FirstSearch | None = None,
    attach: RunDirectory | None = None,
    ascii_only: bool = False,
    read_only: bool = False,
    updates_per_second: float | None = None,
    mouse: bool = True,
) -> int:
    """Run the app until the user quits.

    Args:
        runs_dir: the folder of all runs.
        first_search: a search to start and watch; None opens the start screen.
        attach: a run to watch instead.
        ascii_only: draw with ASCII only; always on if the locale is not UTF-8.
        read_only: disable starting, pausing and stopping searches.
        updates_per_second: refresh rate of a running search; None uses the settings.
        mouse: enable the mouse; if disabled, the terminal selects text with it.

    Returns:
        The exit code.

    Raises:
        DistPromptError: the spec of the first search is invalid.
    """
    from distprompt_tui.core.config.paths import keys_file, settings_file

    app = DistPromptApp(
        runs_dir=runs_dir,
        settings_file=settings_file(),
        keys_file=keys_file(),
        first_search=first_search,
        attach=attach,
        ascii_only=ascii_only or not locale_is_utf8(),
        read_only=read_only,
        updates_per_second=updates_per_second,
    )
    app.run(mouse=mouse)
    if app.first_error is not None:
        raise app.first_error
    return app.return_code or 0
