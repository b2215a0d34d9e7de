"""From the fields of an event to the parts of a run's state. Nothing is trusted: each field is what it should be."""

from __future__ import annotations

from typing import Any

from distprompt_tui.runs.events import Event
from distprompt_tui.runs.state import PromptToken, Snapshot, TokenMass, Tried, TriedToken
from distprompt_tui.storage.decode import items, maybe, number, positive, probability, table, text, whole


def read_divergences(event: Event) -> dict[str, Any]:
    """The divergences beside the one that is searched for; errors as in `read_snapshot`."""
    return {
        "reverse_kl": maybe(number, event["reverse_kl"]),
        "js": number(event["js"]),
        "tv": number(event["tv"]),
    }


def read_snapshot(event: Event) -> Snapshot:
    """A snapshot, whole.

    Raises:
        KeyError: a field is missing.
        TypeError: so is one of a token.
        ValueError: one is of another kind than it should be.
    """
    return Snapshot(
        step=whole(event["step"]),
        kl=number(event["kl"]),
        entropy=positive(event["entropy"]),
        **read_divergences(event),
        prompt=tuple(map(_prompt_token, items(event["prompt"]))),
        tokens=tuple(map(_token_mass, items(event["tokens"]))),
        candidates=tuple(map(_tried, items(event.get("candidates", [])))),
    )


def _prompt_token(values: Any) -> PromptToken:
    fields = table(values)
    return PromptToken(
        id=whole(fields["id"]),
        text=text(fields["text"]),
        changed=maybe(whole, fields.get("changed")),
        locked=fields.get("locked") is True,
        surprisal=maybe(positive, fields.get("surprisal")),
        **{name: maybe(number, fields.get(name)) for name in ("cosine", "norm", "distance", "gained")},
    )


def _token_mass(values: Any) -> TokenMass:
    token, string, target, achieved, share = items(values)
    return TokenMass(whole(token), text(string), probability(target), probability(achieved), number(share))


def _tried(values: Any) -> Tried | None:
    if values is None:
        return None
    step, kl, tokens = items(values)
    return Tried(whole(step), number(kl), tuple(map(_tried_token, items(tokens))))


def _tried_token(values: Any) -> TriedToken:
    token, string, kl, *screened = items(values)  # earlier versions did not screen
    return TriedToken(whole(token), text(string), number(kl), screened == [True])
