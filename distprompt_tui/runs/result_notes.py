"""Notes on a result, for the command line and the app."""

from __future__ import annotations

from distprompt_tui.core.text.formatting import nats
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.runs.schema import Result
from distprompt_tui.runs.state import FORCED
from distprompt_tui.runs.witness import prompt_size

REASONS = {
    "target reached": "target reached",
    "budget": "budget spent",
    "stopped": "stopped",
    FORCED: FORCED,
    "plateau": "plateau",
    "error": "failed",
}
"""Displayed reasons for the end of a run."""

WITNESS_TOLERANCE = 1e-3  # nats; a smaller difference is within the accuracy that the numbers are shown with

PASTED_TOLERANCE = 1e-3  # nats; rounding difference between the divergences of a prompt's ids and of its text


def outcome_notes(result: Result) -> list[str]:
    """Return the notes that apply: on the witness, BOS, retokenization, pruning, the initial prompt, the sphere bound
    and fluency."""
    notes = [note] if (note := witness_note(result)) else []
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
    if note := _sphere_note(result):
        notes.append(note)
    if weight := result.fluency_weight:
        likelihood = nats(result.log_likelihood)
        notes.append(f"best by KL − {weight:g} × the prompt's mean log-likelihood, {likelihood} nats a token")
    return notes


def witness_note(result: Result) -> str:
    """Return the note on a search that ended above its witness, or an empty text."""
    kl, known = result.kl, result.witness_kl
    if kl is None or known is None or not kl > known + WITNESS_TOLERANCE:
        return ""
    kind = "soft" if result.witness_ids is None else "hard"
    size = "" if result.witness_length is None else f" of {prompt_size(kind, result.witness_length)}"
    return f"a known prompt{size} reaches KL {nats(known)}; the search stopped at {nats(kl)}"


def _sphere_note(result: Result) -> str:
    """Return the note on a sphere bound above the floor, or an empty text."""
    bound, floor = result.sphere_bound, result.floor
    if bound is None or floor is None or bound <= floor:
        return ""
    if result.sphere_bound_applies:
        return f"sphere bound {nats(bound)}: proven for every prompt whose last state is normalised, as this one's is"
    norm = "unknown" if result.state_norm_ratio is None else f"{result.state_norm_ratio:.3f} √d"
    return f"sphere bound {nats(bound)}: does not cover this prompt, whose last state has the norm {norm}"
