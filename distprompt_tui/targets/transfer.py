"""Transfer of a distribution between the vocabularies of two models, by the bytes of tokens.

The probability of each token is transferred to the destination's token with the same bytes (matched), else to the
longest token that is a prefix of these bytes (prefix: the destination's first token of the same text). Other
probability is lost: that of control tokens such as end-of-text, which have no bytes and no common meaning across
models, and of bytes without a prefix in the destination. The remainder is renormalised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distprompt_tui.core.errors import TargetError
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.targets.entropy import FloatArray


@dataclass(frozen=True, eq=False)
class Transferred:
    """A distribution over the destination's tokens.

    Attributes:
        probabilities: (V of the destination,), sums to 1.
        matched: fraction of the source's mass transferred to tokens with the same bytes.
        prefix: fraction transferred to the longest prefix.
        lost: remaining fraction; matched + prefix + lost = 1.
    """

    probabilities: FloatArray
    matched: float
    prefix: float
    lost: float


def transfer(probabilities: FloatArray, source: Vocabulary, destination: Vocabulary) -> Transferred:
    """Transfer a distribution, (V of the source,), to another vocabulary.

    Raises:
        TargetError: the whole distribution is lost.
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
    """Map bytes to token ids. Of tokens with equal bytes (`A` and `<0x41>`), use the one that encoding returns."""
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
    """Find the destination's token with these bytes; of several, prefer the one with the same name as in the source."""
    piece = source.tokenizer.id_to_token(token_id)
    twin = destination.tokenizer.token_to_id(piece) if piece is not None else None
    if twin is not None and twin < destination.size and destination.token_bytes(twin) == raw:
        return twin
    return ids.get(raw)


def _longest_prefix(raw: bytes, ids: dict[bytes, int], longest: int) -> int | None:
    for length in range(min(len(raw) - 1, longest), 0, -1):
        if (token_id := ids.get(raw[:length])) is not None:
            return token_id
    return None
