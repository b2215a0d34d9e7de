"""Text and result fields of a witness, a prompt that is known before the search."""

from __future__ import annotations

from typing import Any

from distprompt_tui.core.text.formatting import counted, nats
from distprompt_tui.runs.schema import Witness


def witness_text(witness: Witness, searched: int) -> str:
    """Format the divergence; with the length if that is above `searched`: `0.290`, `0.290 (12 tokens)`."""
    length = f" ({prompt_size(witness.kind, witness.length)})" if witness.length > searched else ""
    return nats(witness.kl) + length


def prompt_size(kind: str, length: int) -> str:
    """Format the length of a "hard" or "soft" prompt: `12 tokens`, `10 vectors`."""
    return counted(length, "vector" if kind == "soft" else "token")


def result_fields(witness: Witness | None) -> dict[str, Any]:
    """Return the fields of a result; empty without a witness."""
    if witness is None:
        return {}
    return {
        "witness_kl": witness.kl,
        "witness_length": witness.length,
        "witness_text": witness.text,
        "witness_ids": None if witness.ids is None else list(witness.ids),
    }
