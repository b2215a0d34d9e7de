"""The command palette: actions of the screen below it, and models, presets and runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.runs.summary import RunSummary, sorted_runs
from distprompt_tui.tui.context import AppContext
from distprompt_tui.tui.drawing.styled_text import ROLES, plain_text
from distprompt_tui.tui.keymap import ANYWHERE, APP_KEYS, Key
from distprompt_tui.tui.run.screen import RunScreen
from distprompt_tui.tui.run.status import title_line
from distprompt_tui.tui.start.screen import StartScreen
from distprompt_tui.tui.widgets.app_screen import AppScreen, run_key_action

MAX_RUNS = 60  # limits the length of the palette; the runs screen lists all runs


@dataclass(frozen=True)
class Command:
    name: str
    about: str
    run: Callable[[], Any]

    def prompt(self, name: Content) -> Content:
        """Return the name and the description below it. Textual's own `help` is parsed as markup."""
        return Content.assemble(name, "\n", (self.about, ROLES["quiet"]))


class AppCommands(Provider):
    async def startup(self) -> None:
        self._runs = sorted_runs(await self._context.read_runs(), "newest")[:MAX_RUNS]

    async def discover(self) -> Hits:
        for command in self._commands():
            yield DiscoveryHit(command.prompt(Content(command.name)), command.run, text=command.name)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for command in self._commands():
            if (score := matcher.match(command.name)) > 0:
                prompt = command.prompt(matcher.highlight(command.name))
                yield Hit(score, prompt, command.run, text=command.name)

    @property
    def _context(self) -> AppContext:
        return cast("AppContext", self.app)

    def _commands(self) -> Iterator[Command]:
        for key in self._keys():
            if key.action and self.screen.check_action(key.method, ()):
                yield Command(key.help, f"key {key.display}", partial(run_key_action, self.screen, key.action))
        if isinstance(self.screen, StartScreen):
            for entry in self.screen.models:
                choose = partial(self.screen.choose, "models", entry.name)
                yield Command(f"Model: {sanitize(entry.name)}", sanitize(entry.label), choose)
            for preset in self.screen.presets:
                choose = partial(self.screen.choose, "presets", preset.name)
                yield Command(f"Target: {sanitize(preset.name)}", sanitize(preset.spec.title), choose)
        for summary in self._runs:
            yield Command(
                f"Watch: {plain_text(title_line(summary.title))}", _about(summary), partial(self._watch, summary)
            )

    def _keys(self) -> Sequence[Key]:
        if isinstance(self.screen, AppScreen):
            return self.screen.keys_in_force
        return self._context.key_map.table(ANYWHERE, APP_KEYS)

    def _watch(self, summary: RunSummary) -> None:
        self._context.watch_run(summary.run, replace=isinstance(self.screen, RunScreen))


def _about(summary: RunSummary) -> str:
    return f"{sanitize(summary.run.name)}, {sanitize(summary.state)}"
