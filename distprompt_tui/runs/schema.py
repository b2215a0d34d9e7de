"""The events of a run: one struct for each type, which the worker encodes and viewers decode.

Each event is one JSON object in `events.jsonl` with the field `type`, the tag of its struct. Unknown types and unknown
fields are ignored. Divergences, entropies and surprisals are in nats, times in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Any

import msgspec
from msgspec import Struct

from distprompt_tui.storage.decode import Count, Finite, NonNegative, Probability
from distprompt_tui.storage.legacy import rename_fields

FORMAT_VERSION = 1


class Event(Struct, frozen=True, kw_only=True):
    """The fields of every event.

    Attributes:
        v: format version.
        seq: number of the event in its file, from 0 without gaps.
        t: Unix time.
    """

    v: Count | None = None
    seq: Count | None = None
    t: NonNegative | None = None


class Progress(Event, frozen=True, tag="progress"):
    """Work before or beside the search; `fraction` in 0..1 where it is known."""

    stage: str
    text: str
    fraction: Finite | None = None


class Budget(Struct, frozen=True):
    """Limits of a search: steps, seconds, and the divergence at which it may stop."""

    steps: Count | None = None
    seconds: NonNegative | None = None
    until: Finite | None = None


class Started(Event, frozen=True, tag="started"):
    """The search and its inputs.

    Attributes:
        vocab_size: number of tokens that a target may use.
        bos: what precedes texts, where it differs from the tokenizer's own rule.
    """

    run: str
    preset: str
    model: str
    method: str
    length: Count
    device: str
    dtype: str
    vocab_size: Count
    tokenizer_file: str
    recipe: str
    entropy_target: NonNegative
    uniform_kl: Finite
    budget: Budget
    bos: str | None = None


class Step(Event, frozen=True, tag="step"):
    """One reported step.

    Attributes:
        seconds: of searching until then.
        positions: work so far, in token positions through the backbone.
        memory: bytes on the worker's device.
        utilization: percent of one core, or of a GPU's time.
    """

    step: Count
    kl: Finite
    best_kl: Finite
    entropy: NonNegative
    seconds: NonNegative
    best_step: Count
    positions: Count | None = None
    memory: Count | None = None
    utilization: NonNegative | None = None


class PromptToken(Struct, frozen=True, omit_defaults=True):
    """One position of a prompt.

    Attributes:
        id: the token; for a soft prompt the nearest one by cosine.
        text: its string, not yet made safe for a terminal.
        cosine: of the vector with that token's embedding; None in hard prompts.
        norm: length of the vector over the mean length of the vocabulary's; None in hard prompts.
        changed: the step that changed this position last; None in soft prompts.
        distance: of the vector from that token's embedding, over that mean length; None in hard prompts.
        improvement: nats by which the divergence fell when this position changed last; None where it has never changed.
        locked: whether the search leaves it alone.
        surprisal: −ln P by the model itself after the tokens before it; None in soft prompts, at the first token, and
            where it was not measured.
    """

    id: Count
    text: str
    cosine: Finite | None = None
    norm: Finite | None = None
    changed: Count | None = None
    distance: Finite | None = None
    improvement: Finite | None = None
    locked: bool = False
    surprisal: NonNegative | None = None


class TokenMass(Struct, frozen=True, array_like=True):
    """A token's probability in target and achieved, and its KL contribution in nats (`kl_terms.kl_contributions`)."""

    id: Count
    text: str
    target: Probability
    achieved: Probability
    contribution: Finite


class TriedToken(Struct, frozen=True, array_like=True):
    """A token that was tried at a position, and the divergence of the prompt with it there.

    `draft_only`: scored by the bfloat16 draft only, with an error of about a tenth of a nat.
    """

    id: Count
    text: str
    kl: Finite
    draft_only: bool = False


class PositionCandidates(Struct, frozen=True, array_like=True):
    """The tokens that were tried at a position of a hard prompt.

    Attributes:
        step: when the newest was measured.
        kl: divergence of the prompt then; with a fluency weight, its objective.
        tokens: the best first, the prompt's own token included.
    """

    step: Count
    kl: Finite
    tokens: tuple[TriedToken, ...]


class Divergences(Event, frozen=True, tag="snapshot"):
    """The numbers of a snapshot; `reverse_kl` is None where it is infinite: q > 0 where p = 0."""

    step: Count
    kl: Finite
    entropy: NonNegative
    reverse_kl: Finite | None
    js: Finite
    tv: Finite


class Snapshot(Divergences, frozen=True, tag="snapshot"):
    """The prompt and the largest tokens of both distributions at one step.

    `candidates`: the tokens that were tried at each position of a hard prompt, None where none were; empty where they
    were not recorded.
    """

    prompt: tuple[PromptToken, ...]
    tokens: tuple[TokenMass, ...]
    candidates: tuple[PositionCandidates | None, ...] = ()


class Projection(Event, frozen=True, tag="projection"):
    """A soft prompt's nearest tokens, scored as a hard prompt: the loss between vectors and tokens.

    Attributes:
        step: at which it was measured.
        ids: the tokens.
        kl: their divergence.
        median_distance: median distance of the vectors from their tokens' embeddings, over the vocabulary's mean norm.
    """

    step: Count
    ids: tuple[Count, ...]
    kl: Finite
    median_distance: Finite


class Bounds(Event, frozen=True, tag="bounds"):
    """The bounds of the target, as in `bounds.values.Bounds`; None where they are not known yet."""

    floor: Finite | None = None
    gap: Finite | None = None
    head_optimum: Finite | None = None
    agreement: Finite | None = None
    norm_ratio: Finite | None = None
    why_no_floor: str | None = None
    seconds: Finite | None = None


class Best(Event, frozen=True, tag="best"):
    """A better prompt was found at `step`."""

    step: Count
    kl: Finite


class Checkpoint(Event, frozen=True, tag="checkpoint"):
    """The state of the search was saved after `step`."""

    step: Count


class Control(Event, frozen=True, tag="control", omit_defaults=True):
    """The answer to a request of `control.jsonl`.

    Attributes:
        command: of the request.
        outcome: "stopping", "paused", "resumed", "locked", "unlocked", "edited", "refused" or "unknown".
        id: of the request, where it has one.
        why: the reason of "refused".
        position: of the prompt, that was changed.
        token: that was put there.
        before: divergence before the edit.
        kl: divergence after the edit.
    """

    command: str
    outcome: str
    id: str | None = None
    why: str | None = None
    position: Count | None = None
    token: Count | None = None
    before: Finite | None = None
    kl: Finite | None = None


class Warning(Event, frozen=True, tag="warning"):
    """A problem that does not end the run."""

    text: str


class Resumed(Event, frozen=True, tag="resumed"):
    """A worker resumed the run: `step` and later steps are reported again."""

    step: Count


class Ended(Event, frozen=True, tag="ended", omit_defaults=True):
    """The end of the run; `result` as in `best/result.json`, None where there is none."""

    reason: str
    result: dict[str, Any] | None = None
    error: str | None = None
    exit_code: Count | None = None


class Result(Struct, frozen=True, kw_only=True):
    """The measurements of a run's best prompt, as in `best/result.json`; None where one does not apply.

    Attributes:
        kl_ids: of the token ids of a hard prompt.
        kl_string: of its text, tokenized again.
        projected_kl: of a soft prompt's nearest tokens, with `projected_ids` and `median_distance` as in `Projection`.
        prompt_sha256: of the vectors or ids.
        positions: work, in token positions through the backbone.
        length_before: of a hard prompt before it was pruned, with its divergence `kl_before`.
        fluency_weight: weight of the mean log-likelihood in the objective.
        from_kl: of the initial prompt in the file `from_prompt`; `from_kind` is "hard" or "soft".
    """

    run: str | None = None
    model: str | None = None
    preset: str | None = None
    method: str | None = None
    bos: str | None = None
    kl: Finite | None = None
    kl_ids: Finite | None = None
    kl_string: Finite | None = None
    uniform_kl: Finite | None = None
    floor: Finite | None = None
    gap: Finite | None = None
    head_optimum: Finite | None = None
    agreement: Finite | None = None
    excess: Finite | None = None
    gap_closed: Finite | None = None
    entropy_target: Finite | None = None
    entropy_achieved: Finite | None = None
    projected_ids: list[Count] | None = None
    projected_kl: Finite | None = None
    median_distance: Finite | None = None
    prompt_ids: list[Count] | None = None
    prompt_sha256: str | None = None
    prompt_text: str | None = None
    steps: Count | None = None
    best_step: Count | None = None
    seconds: NonNegative | None = None
    positions: Count | None = None
    length_before: Count | None = None
    kl_before: Finite | None = None
    pruning_positions: Count | None = None
    fluency_weight: Finite | None = None
    log_likelihood: Finite | None = None
    from_prompt: str | None = None
    from_kind: str | None = None
    from_kl: Finite | None = None
    reason: str | None = None


_LIGHT = (
    Progress, Started, Step, Divergences, Projection, Bounds, Best, Checkpoint, Control, Warning, Resumed, Ended,
)  # fmt: skip
_ANY = msgspec.json.Decoder(Event)
_BOUNDS = msgspec.json.Decoder(Bounds)
_WHOLE_EVENTS = msgspec.json.Decoder(reduce(or_, (Snapshot if kind is Divergences else kind for kind in _LIGHT)))
_LIGHT_EVENTS = msgspec.json.Decoder(reduce(or_, _LIGHT))


def decode_event(line: bytes) -> Event:
    """The event in a line of JSON; only its common fields where its type is unknown or a field is invalid.

    Raises:
        ValueError: the line is not the JSON object of an event.
        RecursionError: it is nested too deeply.
    """
    return _decode(_WHOLE_EVENTS, rename_fields(line))


def decode_light_event(line: bytes) -> Event:
    """As `decode_event`, with `Divergences` instead of a whole `Snapshot`, which takes a tenth of the time."""
    event = _decode(_LIGHT_EVENTS, line)
    if not isinstance(event, Divergences) and (renamed := rename_fields(line)) != line:
        event = _decode(_LIGHT_EVENTS, renamed)
    return event


def decode_header(line: bytes) -> Event:
    """The common fields of the event in a line of JSON; errors as in `decode_event`."""
    return _ANY.decode(line)


def decode_bounds(line: bytes) -> Bounds:
    """The bounds in a line of JSON; errors as in `decode_event`, also where the event is of another type."""
    _BOUNDS.decode(line)  # most events have another type, which ends here
    return _BOUNDS.decode(rename_fields(line))


def read_snapshot(fields: Mapping[str, Any] | None) -> Snapshot | None:
    """The snapshot in a JSON object; None where a field is missing or invalid."""
    try:
        return msgspec.convert(fields, Snapshot)
    except ValueError:
        return None


def read_result(fields: Mapping[str, Any] | None) -> Result:
    """The result in a JSON object; an empty one where a field is invalid."""
    try:
        return msgspec.convert(fields or {}, Result)
    except ValueError:
        return Result()


def _decode(decoder: msgspec.json.Decoder[Any], line: bytes) -> Event:
    try:
        event: Event = decoder.decode(line)
    except msgspec.ValidationError:
        event = _ANY.decode(line)
    return event
