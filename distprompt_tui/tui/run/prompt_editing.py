"""Manual edits of the prompt under search: lock or replace tokens, undo and redo this."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from distprompt_tui.tui.context import is_ascii_only

if TYPE_CHECKING:
    from distprompt_tui.runs.process import EditCommand
    from distprompt_tui.runs.schema import Snapshot
    from distprompt_tui.runs.state import RunState
    from distprompt_tui.tui.run.position_dialog import Complete
    from distprompt_tui.tui.widgets.app_screen import AppScreen


class SendChange(Protocol):
    """Sends a change of the prompt to the worker with the id `request`; `fields` belong to the command."""

    def __call__(self, command: EditCommand, request: str, **fields: int) -> None: ...


@dataclass(frozen=True)
class Change:
    """A change of the prompt by this viewer. `token`: the new token of an edit; `request`: the id of the request."""

    command: EditCommand
    position: int
    token: int | None
    request: str


class PromptEditing:
    """Edits one run's prompt. `why_not` returns why this is impossible now; empty if it is possible."""

    def __init__(self, screen: AppScreen, send: SendChange, complete: Complete, why_not: Callable[[], str]) -> None:
        self._screen = screen
        self._send = send
        self._complete = complete
        self._why_not = why_not
        self._done: list[Change] = []
        self._undone: list[Change] = []

    @property
    def can_undo(self) -> bool:
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        return bool(self._undone)

    def lock(self, position: int, *, locked: bool) -> None:
        self._change("lock" if locked else "unlock", position)

    async def open(self, snapshot: Snapshot | None, position: int) -> None:
        from distprompt_tui.tui.run.position_dialog import PositionData, PositionDialog, vector_note

        if snapshot is None or position >= len(snapshot.prompt):
            return
        if (token := snapshot.prompt[position]).cosine is not None:
            self._screen.app.push_screen(vector_note(position, token, ascii_only=is_ascii_only(self._screen)))
            return
        data = PositionData.of(snapshot, position, self._why_not())
        chosen = await self._screen.app.push_screen_wait(PositionDialog(data, self._complete))
        if chosen is not None:
            self._change("edit", position, chosen)

    def undo(self, run: RunState) -> None:
        """Send the inverse of the latest change that the worker has applied; changes that it refused are dropped."""
        if self._is_prevented():
            return
        while self._done:
            change = self._done[-1]
            if change.request not in run.answered:
                self._screen.notify("The latest change is not applied yet: the worker answers after its step.")
                return
            self._done.pop()
            applied = next((edit for edit in run.edits if edit.id == change.request), None)
            if applied is None or (change.command == "edit" and applied.replaced is None):
                continue
            inverse: dict[EditCommand, EditCommand] = {"lock": "unlock", "unlock": "lock", "edit": "edit"}
            self._request(inverse[change.command], change.position, applied.replaced)
            self._undone.append(change)
            self._screen.notify(f"Undone at position {change.position + 1}: {_UNDONE[change.command]}.")
            return
        self._screen.notify("Nothing to undo: there is no manual change of the prompt.")

    def redo(self) -> None:
        """Send the latest undone change again."""
        if self._is_prevented():
            return
        if not self._undone:
            self._screen.notify("Nothing to redo.")
            return
        change = self._undone.pop()
        self._done.append(self._request(change.command, change.position, change.token))
        self._screen.notify(f"Done again at position {change.position + 1}.")

    def _change(self, command: EditCommand, position: int, token: int | None = None) -> None:
        if not self._is_prevented():
            self._undone.clear()
            self._done.append(self._request(command, position, token))

    def _is_prevented(self) -> bool:
        """Whether the prompt cannot be changed now; if so, notify the user of the reason."""
        if why_not := self._why_not():
            self._screen.notify(why_not, severity="warning")
        return bool(why_not)

    def _request(self, command: EditCommand, position: int, token: int | None) -> Change:
        from distprompt_tui.runs.process import new_request_id

        request = new_request_id()
        self._send(command, request, position=position, **({"token": token} if token is not None else {}))
        return Change(command, position, token, request)


_UNDONE = {"lock": "unlocked", "unlock": "locked", "edit": "the previous token is back"}
