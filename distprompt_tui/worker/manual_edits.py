"""Manual edits of the prompt of a running search: lock or unlock a position, or replace a token."""

from __future__ import annotations

from typing import Any

from distprompt_tui.core.errors import UsageError
from distprompt_tui.search.protocol import Search, Step
from distprompt_tui.search.token_search import SwapSearch


def change_prompt(search: Search, request: dict[str, Any]) -> tuple[Step, dict[str, Any]]:
    """Apply a request of `control.jsonl`.

    Args:
        search: between two steps.
        request: `command` "lock", "unlock" or "edit"; `position`, counted from 0; with "edit", `token`, an id.

    Returns:
        The search's report, and the fields of the answer.

    Raises:
        UsageError: the request is invalid; nothing has changed.
    """
    if not isinstance(search, SwapSearch):
        raise UsageError("only the prompt of a search that swaps tokens can be edited")
    command, position = request["command"], _whole(request, "position")
    if command != "edit":
        report = search.lock(position, locked=command == "lock")
        return report, {"position": position, "outcome": f"{command}ed"}
    token = _whole(request, "token")
    (before,) = search.report().kls
    ids = search.current[0].ids
    report = search.edit(position, token)
    answer = {"position": position, "token": token, "replaced": int(ids[position]), "outcome": "edited"}
    return report, answer | {"before": before, "kl": report.kls[-1]}


def _whole(request: dict[str, Any], name: str) -> int:
    value = request.get(name)
    if type(value) is not int:
        raise UsageError(f"{request['command']!r} needs a {name}, an integer")
    return value
