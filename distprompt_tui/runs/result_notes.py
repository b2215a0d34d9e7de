"""What there is to say of a result beside its numbers: the same sentences on the command line and in the app."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from distprompt_tui.storage.decode import field, items, number, positive, text, whole
from distprompt_tui.text.formatting import nats
from distprompt_tui.text.terminal_text import safe

PASTED_TOLERANCE = 1e-3
"""Nats between a prompt's ids and its text that come from rounding alone."""

_KINDS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(
        ("kl", "kl_string", "uniform_kl", "floor", "head_optimum", "excess", "entropy_target", "entropy_achieved"),
        number,
    ),
    **dict.fromkeys(("projected_kl", "drift", "kl_before", "from_kl", "fluency", "log_likelihood"), number),
    **dict.fromkeys(("steps", "length_before"), whole),
    **dict.fromkeys(("run", "reason", "prompt_text", "from_kind", "bos"), text),
    "seconds": positive,
    "prompt_ids": items,
}


def readable(result: Mapping[str, Any]) -> dict[str, Any]:
    """What is shown of a result: each field of its kind, None where it is missing or something else.

    Args:
        result: as `best/result.json` or the last event has it; of an older run, or of somebody else's.
    """
    return {name: field(read, result, name) for name, read in _KINDS.items()}


def outcome_notes(result: Mapping[str, Any]) -> list[str]:
    """A sentence each for BOS, for a shorter prompt, for the prompt that the search was started from, and for fluency.

    Args:
        result: as `readable` takes it.
    """
    notes, result = [], readable(result)
    kl, length, ids = result["kl"], result["length_before"], result["prompt_ids"]
    if (bos := result["bos"]) is not None:
        pasted = f": KL {nats(result['kl_string'])} after the pasted text" if ids is not None else ""
        notes.append(f"searched with {safe(bos)}, unlike what the model's tokenizer adds{pasted}")
    elif ids is not None and kl is not None and abs((result["kl_string"] or kl) - kl) > PASTED_TOLERANCE:
        notes.append(f"the text of the prompt is read as other tokens: KL {nats(result['kl_string'])} after it")
    if length is not None and ids is not None:
        before = nats(result["kl_before"])
        notes.append(f"shortened from {length} tokens to {len(ids)}: KL {before} before, {nats(kl)} now")
    from_kl, kind = result["from_kl"], result["from_kind"]
    if kl is not None and from_kl is not None and kind is not None:
        where = "above" if kl > from_kl else "below"
        notes.append(
            f"started from a {safe(kind)} prompt with KL {nats(from_kl)}: now {nats(kl)}, "
            f"{nats(abs(kl - from_kl))} nats {where}"
        )
    if weight := result["fluency"]:
        likelihood = nats(result["log_likelihood"])
        notes.append(f"best by KL − {weight:g} × the prompt's mean log-likelihood, {likelihood} nats a token")
    return notes
