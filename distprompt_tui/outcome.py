"""What there is to say of a result beside its numbers: the same sentences on the command line and in the app."""

from __future__ import annotations

from typing import Any

from distprompt_tui.format import nats


def outcome_notes(result: dict[str, Any]) -> list[str]:
    """A sentence each for a shorter prompt, for the prompt that the search was started from, and for fluency.

    Args:
        result: as `best/result.json` has it; of an older run, with fields missing.
    """
    notes = []
    kl = result.get("kl")
    if (length := result.get("length_before")) is not None:
        left = len(result["prompt_ids"])
        notes.append(f"shortened from {length} tokens to {left}: KL {nats(result['kl_before'])} before, {nats(kl)} now")
    if kl is not None and (from_kl := result.get("from_kl")) is not None:
        where = "above" if kl > from_kl else "below"
        notes.append(
            f"started from a {result['from_kind']} prompt with KL {nats(from_kl)}: now {nats(kl)}, "
            f"{nats(abs(kl - from_kl))} nats {where}"
        )
    if weight := result.get("fluency"):
        likelihood = nats(result["log_likelihood"])
        notes.append(f"best by KL − {weight:g} × the prompt's mean log-likelihood, {likelihood} nats a token")
    return notes
