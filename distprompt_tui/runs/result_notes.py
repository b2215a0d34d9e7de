"""Notes on a result, for the command line and the app."""

from __future__ import annotations

from distprompt_tui.runs.schema import Result
from distprompt_tui.runs.state import FORCED
from distprompt_tui.text.formatting import nats
from distprompt_tui.text.terminal_text import sanitize

REASONS = {
    "target reached": "target reached",
    "budget": "budget spent",
    "stopped": "stopped",
    FORCED: FORCED,
    "plateau": "plateau",
    "error": "failed",
}
"""Displayed reasons for the end of a run."""

PASTED_TOLERANCE = 1e-3  # nats; rounding difference between the divergences of a prompt's ids and of its text


def outcome_notes(result: Result) -> list[str]:
    """Return the notes that apply: on BOS, retokenization, pruning, the initial prompt and fluency."""
    notes = []
    kl, length, ids = result.kl, result.length_before, result.prompt_ids
    if (bos := result.bos) is not None:
        pasted = f": KL {nats(result.kl_string)} after the pasted text" if ids is not None else ""
        notes.append(f"searched with {sanitize(bos)}, unlike the tokenizer's default{pasted}")
    elif ids is not None and kl is not None and abs((result.kl_string or kl) - kl) > PASTED_TOLERANCE:
        notes.append(f"the prompt's text is tokenized differently: KL {nats(result.kl_string)} after it")
    if length is not None and ids is not None:
        before = nats(result.kl_before)
        notes.append(f"pruned from {length} tokens to {len(ids)}: KL {before} before, {nats(kl)} now")
    from_kl, kind = result.from_kl, result.from_kind
    if kl is not None and from_kl is not None and kind is not None:
        where = "above" if kl > from_kl else "below"
        notes.append(
            f"started from a {sanitize(kind)} prompt with KL {nats(from_kl)}: now {nats(kl)}, "
            f"{nats(abs(kl - from_kl))} nats {where}"
        )
    if weight := result.fluency_weight:
        likelihood = nats(result.log_likelihood)
        notes.append(f"best by KL − {weight:g} × the prompt's mean log-likelihood, {likelihood} nats a token")
    return notes
