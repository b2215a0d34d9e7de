"""What a person does to the prompt of a running search: lock a position, let it go, put a token in."""

from __future__ import annotations

from typing import Any

from distprompt_tui.errors import UsageError
from distprompt_tui.search.protocol import Search, Step
from distprompt_tui.search.token_search import SwapSearch


def change_prompt(search: Search, request: dict[str, Any]) -> tuple[Step, dict[str, Any]]:
    """Do what a line of `control.jsonl` asks.

    Args:
        search: between two steps.
        request: `command` "lock", "unlock" or "edit"; `position`, counted from 0; with "edit", `token`, an id.

    Returns:
        The search's report, and what the answering event says.

    Raises:
        UsageError: it cannot be done; nothing has changed.
    """
    if not isinstance(search, SwapSearch):
        raise UsageError("only a search that swaps tokens lets its prompt be changed")
    command, position = request["command"], _whole(request, "position")
    if command != "edit":
        report = search.lock(position, locked=command == "lock")
        return report, {"position": position, "outcome": f"{command}ed"}
    token = _whole(request, "token")
    (before,) = search.report().kls
    report = search.edit(position, token)
    return report, {"position": position, "token": token, "outcome": "edited", "before": before, "kl": report.kls[-1]}


def _whole(request: dict[str, Any], name: str) -> int:
    value = request.get(name)
    if type(value) is not int:
        raise UsageError(f"{request['command']!r} goes with a {name}, a whole number")
    return value
