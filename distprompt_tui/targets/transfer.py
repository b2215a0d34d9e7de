"""A distribution over one model's tokens becomes one over another's, by the bytes that tokens stand for.

Each token's mass goes to the token of the destination with the same bytes (matched), else to the longest one whose
bytes begin it (prefix: the destination's first token on the way to the same text). What has no place is lost: control
tokens such as end-of-text, which stand for no bytes and mean different things to different models, and bytes that the
destination cannot begin. The remaining mass is renormalised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distprompt_tui.errors import TargetError
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.targets.entropy import FloatArray


@dataclass(frozen=True, eq=False)
class Transferred:
    """A distribution over the destination's tokens, and how its mass got there.

    Attributes:
        probabilities: (V of the destination,), sums to 1.
        matched: share of the source's mass that went to tokens with the same bytes.
        prefix: share that went to the longest token that begins the bytes.
        lost: share that had no place; matched + prefix + lost = 1.
    """

    probabilities: FloatArray
    matched: float
    prefix: float
    lost: float


def transfer(probabilities: FloatArray, source: Vocabulary, destination: Vocabulary) -> Transferred:
    """Carry a distribution over to another vocabulary.

    Args:
        probabilities: (V of the source,), sums to 1.
        source: the tokens that it is over.
        destination: the tokens that it shall be over.

    Raises:
        TargetError: none of the mass has a place there.
    """
    ids = _ids_by_bytes(destination)
    longest = max(map(len, ids), default=0)
    transferred = np.zeros(destination.size)
    matched = prefix = lost = 0.0
    for token_id in np.flatnonzero(probabilities).tolist():
        raw, mass = source.token_bytes(token_id), float(probabilities[token_id])
        if raw is None:
            lost += mass
        elif (same := _same_bytes(token_id, raw, source, destination, ids)) is not None:
            transferred[same] += mass
            matched += mass
        elif (first := _longest_prefix(raw, ids, longest)) is not None:
            transferred[first] += mass
            prefix += mass
        else:
            lost += mass
    if matched + prefix <= 0:
        raise TargetError("none of the distribution's tokens has a counterpart in this model's vocabulary")
    return Transferred(transferred / transferred.sum(), matched, prefix, lost)


def _ids_by_bytes(vocabulary: Vocabulary) -> dict[bytes, int]:
    """Each token's id by its bytes. Of twins (`A` and the byte token `<0x41>`) the one that encoding gives."""
    ids: dict[bytes, int] = {}
    duplicates: set[bytes] = set()
    for token_id in range(vocabulary.size):
        raw = vocabulary.token_bytes(token_id)
        if not raw:
            continue
        if raw in ids:
            duplicates.add(raw)
        ids[raw] = token_id
    for raw in duplicates:
        encoded = vocabulary.encode(raw.decode("utf-8", errors="ignore"), continues=True)
        if len(encoded) == 1 and vocabulary.token_bytes(encoded[0]) == raw:
            ids[raw] = encoded[0]
    return ids


def _same_bytes(
    token_id: int, raw: bytes, source: Vocabulary, destination: Vocabulary, ids: dict[bytes, int]
) -> int | None:
    """The destination's token with these bytes, if there is one; of twins the one that is written as in the source."""
    piece = source.tokenizer.id_to_token(token_id)
    twin = destination.tokenizer.token_to_id(piece) if piece is not None else None
    if twin is not None and twin < destination.size and destination.token_bytes(twin) == raw:
        return twin
    return ids.get(raw)


def _longest_prefix(raw: bytes, ids: dict[bytes, int], longest: int) -> int | None:
    """The id of the longest token that begins `raw`, if any does."""
    for length in range(min(len(raw) - 1, longest), 0, -1):
        if (token_id := ids.get(raw[:length])) is not None:
            return token_id
    return None
