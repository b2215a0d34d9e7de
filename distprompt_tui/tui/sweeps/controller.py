"""Starts and stops a sweep, for the list of sweeps and a sweep's screen."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.core.storage.safe_io import is_owned_by_user
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.tui.platform.threads import in_thread
from distprompt_tui.tui.widgets.dialogs import stop_sweep_question

if TYPE_CHECKING:
    from distprompt_tui.sweeps.directory import SweepDirectory
    from distprompt_tui.sweeps.sweep_spec import Sweep
    from distprompt_tui.tui.widgets.app_screen import AppScreen

_STARTABLE = ("not begun", "stopped", "failed")
_GROUP = "sweep"

FOREIGN = "This sweep belongs to another user: it cannot be started or stopped."


class SweepController:
    """Actions on one sweep. Other users' sweeps, and all sweeps in a read-only app, cannot be changed."""

    def __init__(self, screen: AppScreen, directory: SweepDirectory) -> None:
        self._screen = screen
        self._directory = directory

    def availability(self, state: str) -> dict[str, bool | None]:
        """Return which actions are available in a state of the sweep; see `AppScreen.availability`."""
        if self._screen.context.read_only:
            return {"run": False, "stop": False}
        is_own = is_owned_by_user(self._directory.path)
        return {"run": (is_own and state in _STARTABLE) or None, "stop": (is_own and state == "running") or None}

    def start(self, sweep: Sweep | None, state: str, then: Callable[[], object]) -> None:
        """Start or resume the sweep; call `then` when it runs."""
        from distprompt_tui.sweeps.process import start_sweep

        if (why_not := self._why_not()) is not None:
            self._warn(why_not)
        elif sweep is None or state not in _STARTABLE:
            self._warn("The sweep is already running." if state == "running" else "The sweep is already complete.")
        else:
            self._screen.notify("Starting the sweep…", timeout=3)
            message = "The sweep runs in a separate process and continues after you quit."
            self._run(partial(start_sweep, sweep, self._directory), message, then)

    def stop(self, state: str, then: Callable[[], object]) -> None:
        """Stop the sweep after a question; call `then` when it has ended."""
        if (why_not := self._why_not()) is not None:
            self._warn(why_not)
        elif state != "running":
            self._warn("The sweep is not running.")
        else:
            question = stop_sweep_question(sanitize(self._directory.name))
            self._screen.app.push_screen(question, lambda answer: self._stop(answer, then))

    def _stop(self, answer: str | None, then: Callable[[], object]) -> None:
        from distprompt_tui.sweeps.process import stop_sweep

        if answer == "stop":
            self._screen.notify("Stopping…", timeout=3)
            self._run(partial(stop_sweep, self._directory), "The sweep was stopped. Press r to resume it.", then)

    def _why_not(self) -> str | None:
        if not is_owned_by_user(self._directory.path):
            return FOREIGN
        is_busy = any(worker.group == _GROUP and not worker.is_finished for worker in self._screen.workers)
        return "A sweep is starting or stopping. Please wait." if is_busy else None

    def _run(self, change: Callable[[], object], message: str, then: Callable[[], object]) -> None:
        self._screen.run_worker(self._change(change, message, then), group=_GROUP)

    async def _change(self, change: Callable[[], object], message: str, then: Callable[[], object]) -> None:
        try:
            await in_thread(change)
        except (DistPromptError, OSError) as error:
            self._screen.show_error(error, timeout=10)
        else:
            self._screen.notify(message)
        then()

    def _warn(self, text: str) -> None:
        self._screen.notify(text, severity="warning")
