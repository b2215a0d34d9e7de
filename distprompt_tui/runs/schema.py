"""The event types of a run, encoded by the worker and decoded by viewers.

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

from distprompt_tui.core.storage.decode import Count, Finite, NonNegative, Probability
from distprompt_tui.core.storage.legacy import rename_fields

FORMAT_VERSION = 1


class Event(Struct, frozen=True, kw_only=True):
    """The fields of every event."""

    v: Count | None = None  # format version
    seq: Count | None = None  # number of the event in its file, from 0 without gaps
    t: NonNegative | None = None  # Unix time


class Progress(Event, frozen=True, tag="progress"):
    """Progress of other work than the search; `fraction` in 0..1 if known."""

    stage: str
    text: str
    fraction: Finite | None = None


class Budget(Struct, frozen=True):
    """Limits of a search: steps, seconds, and the divergence at which it stops."""

    steps: Count | None = None
    seconds: NonNegative | None = None
    until: Finite | None = None


class Witness(Struct, frozen=True, omit_defaults=True):
    """A prompt that is known before the search, and its divergence in nats."""

    kl: Finite
    length: Count
    kind: str  # "hard" or "soft"
    text: str | None = None  # of a hard one
    ids: tuple[Count, ...] | None = None


class Started(Event, frozen=True, tag="started"):
    run: str
    preset: str
    model: str
    method: str
    length: Count
    device: str
    dtype: str
    vocab_size: Count  # number of tokens that a target may use
    tokenizer_file: str
    recipe: str
    entropy_target: NonNegative
    uniform_kl: Finite
    budget: Budget
    bos: str | None = None  # description of the BOS token if it differs from the tokenizer's default
    witness: Witness | None = None
    weights: str | None = None  # quantisation or dtype of the model's weights, such as "Q4_1"


class Step(Event, frozen=True, tag="step"):
    step: Count
    kl: Finite
    best_kl: Finite
    entropy: NonNegative
    seconds: NonNegative  # search time
    best_step: Count
    positions: Count | None = None  # token positions run through the backbone so far
    memory: Count | None = None  # bytes on the worker's device
    utilization: NonNegative | None = None  # percent of one core, or of a GPU's time


class PromptToken(Struct, frozen=True, omit_defaults=True):
    """One position of a prompt. `cosine`, `norm` and `distance` are None in hard prompts."""

    id: Count  # for a soft prompt the nearest token by cosine
    text: str  # not sanitized for a terminal
    cosine: Finite | None = None  # of the vector and the token's embedding
    norm: Finite | None = None  # of the vector, over the mean norm of the vocabulary
    changed: Count | None = None  # step of the last change; None in soft prompts
    distance: Finite | None = None  # between the vector and the token's embedding, over the same mean norm
    improvement: Finite | None = None  # decrease of the divergence by the last change, nats
    locked: bool = False
    surprisal: NonNegative | None = None  # None in soft prompts, at the first token, and if not measured


class TokenMass(Struct, frozen=True, array_like=True):
    """A token's probability in target and achieved, and its KL contribution in nats (`kl_terms.kl_contributions`)."""

    id: Count
    text: str
    target: Probability
    achieved: Probability
    contribution: Finite


class TriedToken(Struct, frozen=True, array_like=True):
    """A candidate token at a position, and the divergence of the prompt with it."""

    id: Count
    text: str
    kl: Finite
    draft_only: bool = False  # scored by the bfloat16 draft model only, with an error of about 0.1 nats


class PositionCandidates(Struct, frozen=True, array_like=True):
    """The tokens that were tried at a position of a hard prompt."""

    step: Count  # of the newest measurement
    kl: Finite  # divergence of the prompt at that step; with a fluency weight, its objective
    tokens: tuple[TriedToken, ...]  # best first, including the prompt's token


class Divergences(Event, frozen=True, tag="snapshot"):
    """The numbers of a snapshot."""

    step: Count
    kl: Finite
    entropy: NonNegative
    reverse_kl: Finite | None  # None if it is infinite, for q > 0 at p = 0
    js: Finite
    tv: Finite


class Snapshot(Divergences, frozen=True, tag="snapshot"):
    """The prompt and the largest tokens of both distributions at one step. `candidates` is empty if not recorded."""

    prompt: tuple[PromptToken, ...]
    tokens: tuple[TokenMass, ...]
    candidates: tuple[PositionCandidates | None, ...] = ()  # by position; None without tried tokens


class Projection(Event, frozen=True, tag="projection"):
    """A soft prompt's nearest tokens, scored as a hard prompt."""

    step: Count
    ids: tuple[Count, ...]
    kl: Finite
    median_distance: Finite  # of the vectors from the tokens' embeddings, over the vocabulary's mean norm


class Bounds(Event, frozen=True, tag="bounds"):
    """The bounds of the target, as in `bounds.values.Bounds`; None if not known yet."""

    floor: Finite | None = None
    gap: Finite | None = None
    head_optimum: Finite | None = None
    agreement: Finite | None = None
    norm_ratio: Finite | None = None
    why_no_floor: str | None = None
    seconds: Finite | None = None
    dtype: str | None = None
    rounding: Finite | None = None
    sphere_bound: Finite | None = None
    sphere_norm_ratio: Finite | None = None


class Best(Event, frozen=True, tag="best"):
    step: Count
    kl: Finite


class Checkpoint(Event, frozen=True, tag="checkpoint"):
    step: Count


class Control(Event, frozen=True, tag="control", omit_defaults=True):
    """The answer to a request of `control.jsonl`."""

    command: str
    outcome: str  # "stopping", "paused", "resumed", "locked", "unlocked", "edited", "refused" or "unknown"
    id: str | None = None  # of the request
    why: str | None = None  # the reason of "refused"
    position: Count | None = None
    token: Count | None = None  # new token at the position
    before: Finite | None = None  # divergence before the edit
    kl: Finite | None = None  # divergence after the edit
    replaced: Count | None = None  # token before the edit


class Warning(Event, frozen=True, tag="warning"):
    """A problem that does not end the run."""

    text: str


class Resumed(Event, frozen=True, tag="resumed"):
    """A worker resumed the run; it reports `step` and later steps again."""

    step: Count


class Ended(Event, frozen=True, tag="ended", omit_defaults=True):
    """The end of the run; `result` as in `best/result.json`, or None."""

    reason: str
    result: dict[str, Any] | None = None
    error: str | None = None
    exit_code: Count | None = None


class Result(Struct, frozen=True, kw_only=True):
    """The measurements of a run's best prompt, as in `best/result.json`; None if not applicable."""

    run: str | None = None
    model: str | None = None
    weights: str | None = None  # quantisation or dtype of the model's weights, such as "Q4_1"
    preset: str | None = None
    method: str | None = None
    bos: str | None = None
    kl: Finite | None = None
    kl_ids: Finite | None = None  # divergence of the token ids of a hard prompt
    kl_string: Finite | None = None  # divergence of its text, tokenized again
    uniform_kl: Finite | None = None
    floor: Finite | None = None
    floor_dtype: str | None = None  # dtype of the states for which the floor holds
    gap: Finite | None = None
    head_optimum: Finite | None = None
    agreement: Finite | None = None
    excess: Finite | None = None
    witness_kl: Finite | None = None  # divergence of a prompt that is known before the search, as in `Witness`
    witness_length: Count | None = None
    witness_text: str | None = None
    witness_ids: list[Count] | None = None
    gap_closed: Finite | None = None
    entropy_target: Finite | None = None
    entropy_achieved: Finite | None = None
    projected_ids: list[Count] | None = None  # of a soft prompt's `Projection`, as the next two
    projected_kl: Finite | None = None
    median_distance: Finite | None = None
    prompt_ids: list[Count] | None = None
    prompt_sha256: str | None = None  # of the vectors or ids
    prompt_text: str | None = None
    steps: Count | None = None
    best_step: Count | None = None
    seconds: NonNegative | None = None
    positions: Count | None = None  # token positions run through the backbone
    length_before: Count | None = None  # of a hard prompt before pruning, with the divergence `kl_before`
    kl_before: Finite | None = None
    pruning_positions: Count | None = None
    fluency_weight: Finite | None = None  # weight of the mean log-likelihood in the objective
    log_likelihood: Finite | None = None
    from_prompt: str | None = None  # file of the initial prompt, with the divergence `from_kl`
    from_kind: str | None = None  # "hard" or "soft"
    from_kl: Finite | None = None
    sphere_bound: Finite | None = None  # as in `Bounds`, with whether its condition on the state's norm holds
    state_norm_ratio: Finite | None = None
    sphere_bound_applies: bool | None = None
    reason: str | None = None


_LIGHT = (
    Progress, Started, Step, Divergences, Projection, Bounds, Best, Checkpoint, Control, Warning, Resumed, Ended,
)  # fmt: skip
_ANY = msgspec.json.Decoder(Event)
_BOUNDS = msgspec.json.Decoder(Bounds)
_WHOLE_EVENTS = msgspec.json.Decoder(reduce(or_, (Snapshot if kind is Divergences else kind for kind in _LIGHT)))
_LIGHT_EVENTS = msgspec.json.Decoder(reduce(or_, _LIGHT))


def decode_event(line: bytes) -> Event:
    """Decode an event from a line of JSON; only its common fields if its type is unknown or a field is invalid.

    Raises:
        ValueError: the line is not the JSON object of an event.
        RecursionError: it is nested too deeply.
    """
    return _decode(_WHOLE_EVENTS, rename_fields(line))


def decode_light_event(line: bytes) -> Event:
    """Decode as `decode_event`, but a snapshot as `Divergences`, which takes a tenth of the time."""
    event = _decode(_LIGHT_EVENTS, line)
    if not isinstance(event, Divergences) and (renamed := rename_fields(line)) != line:
        event = _decode(_LIGHT_EVENTS, renamed)
    return event


def decode_header(line: bytes) -> Event:
    """Decode the common fields of an event; errors as in `decode_event`."""
    return _ANY.decode(line)


def decode_bounds(line: bytes) -> Bounds:
    """Decode a bounds event; errors as in `decode_event`, also for other event types."""
    _BOUNDS.decode(line)  # fails for most events, because they have another type
    return _BOUNDS.decode(rename_fields(line))


def read_snapshot(fields: Mapping[str, Any] | None) -> Snapshot | None:
    """Return the snapshot in a JSON object; None if a field is missing or invalid."""
    try:
        return msgspec.convert(fields, Snapshot)
    except ValueError:
        return None


def read_result(fields: Mapping[str, Any] | None) -> Result:
    """Return the result in a JSON object; an empty one if a field is invalid."""
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
