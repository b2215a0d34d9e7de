"""A model's tokens: ids, strings and bytes. Imports no torch, so that the app can use it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from distprompt_tui.core.errors import ModelError, TargetError, first_line
from distprompt_tui.core.storage.safe_io import read_limited

MAX_TOKENIZER_BYTES = 1 << 28  # eight times the largest known tokenizer.json, that of Gemma 3

MAX_TOKEN_ID = 1 << 24
"""Sixty times the largest known vocabularies; the tokenizers library iterates over all ids up to the last one."""

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_ID = re.compile(r"id:[0-9]{1,18}")
_WORD_BOUNDARY = "\u2581"  # SentencePiece writes a space as "▁"

_SAMPLE_TEXTS = ("a", "A", "1", " ", "the")
"""Texts for finding the tokens that a tokenizer adds; every tokenizer has a token for at least one of them."""

_EDGE_STEPS = re.compile(rb'"type":"(Prepend|Strip|Metaspace)"|"add_prefix_space":true')
"""Tokenizer steps that may treat the start or end of a text differently from its middle."""


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of one model.

    Attributes:
        tokenizer: the fast tokenizer.
        size: V, the number of rows of the model's head; may be larger than the number of tokens.
        bos_id: the BOS token, if the model's files define one.
        digest: SHA-256 of `tokenizer.json`; empty if the tokens come from no file.
    """

    tokenizer: Tokenizer
    size: int
    bos_id: int | None = None
    digest: str = ""

    @cached_property
    def allowed(self) -> NDArray[np.bool_]:
        """(V,) bool, False for padding rows, which have no token."""
        known = np.zeros(self.size, dtype=bool)
        ids = np.fromiter(self.tokenizer.get_vocab(with_added_tokens=True).values(), dtype=np.int64)
        known[ids[ids < self.size]] = True
        return known

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of control tokens, such as end-of-text."""
        added = self.tokenizer.get_added_tokens_decoder()
        return frozenset(token_id for token_id, token in added.items() if token.special and token_id < self.size)

    @cached_property
    def _added_ids(self) -> frozenset[int]:
        return frozenset(self.tokenizer.get_added_tokens_decoder())  # a call takes milliseconds

    @cached_property
    def _is_byte_level(self) -> bool:
        return '"ByteLevel"' in json.dumps(json.loads(self.tokenizer.to_str()).get("decoder"))

    def token_bytes(self, token_id: int) -> bytes | None:
        """Return a token's bytes; None for control tokens and rows without a token."""
        piece = self.tokenizer.id_to_token(token_id)
        if piece is None or token_id in self.special_ids:
            return None
        if token_id in self._added_ids:
            return piece.encode()
        if self._is_byte_level:
            return bytes(_BYTE_OF_CHAR[char] for char in piece if char in _BYTE_OF_CHAR)
        if match := _BYTE_TOKEN.fullmatch(piece):
            return bytes([int(match[1], 16)])
        return piece.replace(_WORD_BOUNDARY, " ").encode()

    def text(self, token_id: int) -> str:
        """Return a token as text; invalid UTF-8 becomes U+FFFD, control tokens are shown by name."""
        raw = self.token_bytes(token_id)
        return raw.decode("utf-8", errors="replace") if raw is not None else self.tokenizer.id_to_token(token_id) or ""

    def encode(self, text: str, *, continues: bool = False) -> list[int]:
        """Tokenize a text without adding tokens; names of control tokens in the text become control tokens.

        Args:
            text: to tokenize.
            continues: whether the text continues another one. Many SentencePiece tokenizers add a space at the start of
                a text, but not within.

        Raises:
            ModelError: the tokenizer cannot tokenize the text.
        """
        tokenizer = self._within_text if continues else self.tokenizer
        return self._ids(tokenizer, text, add_special_tokens=False)

    def encode_alone(self, text: str) -> list[int]:
        """Tokenize a text with the tokens that the tokenizer adds by default.

        Raises:
            ModelError: the tokenizer cannot tokenize the text.
        """
        return self._ids(self.tokenizer, text, add_special_tokens=True)

    @staticmethod
    def _ids(tokenizer: Tokenizer, text: str, *, add_special_tokens: bool) -> list[int]:
        try:
            return list(tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)
        except Exception as error:  # for example, a tokenizer without its unknown token
            raise ModelError(f"this model's tokenizer cannot tokenize {text!r}: {first_line(error)}") from error

    @cached_property
    def added_ids(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The ids that the tokenizer adds before and after a text by default, such as BOS and EOS."""
        for text in _SAMPLE_TEXTS:
            encoding = self.tokenizer.encode(text, add_special_tokens=True)
            mask = encoding.special_tokens_mask
            if 0 in mask:
                first, last = mask.index(0), len(mask) - mask[::-1].index(0)
                return tuple(encoding.ids[:first]), tuple(encoding.ids[last:])
        return (), ()

    @cached_property
    def _within_text(self) -> Tokenizer:
        """The same tokenizer for text inside another text: it neither adds nor strips spaces."""
        steps = (self.tokenizer.normalizer, self.tokenizer.pre_tokenizer)
        if not any(step is not None and _EDGE_STEPS.search(step.__getstate__()) for step in steps):
            return self.tokenizer
        description = json.loads(self.tokenizer.to_str())
        for step in ("normalizer", "pre_tokenizer"):
            description[step] = _without_edges(description[step])
        return Tokenizer.from_str(json.dumps(description))

    def decode(self, ids: Sequence[int]) -> str:
        """Decode ids, including control tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))

    def id_of(self, token: str | int) -> int:
        """Return the id of a token given as `" yes"`, `5231` or `"id:5231"`; `" yes"` is displayed as `·yes`.

        Raises:
            TargetError: the string is not exactly one token, or no token has the id.
        """
        if isinstance(token, str) and _ID.fullmatch(token):
            token = int(token[3:])
        if isinstance(token, int):
            if not 0 <= token < self.size or not self.allowed[token]:
                raise TargetError(f"token id {token} is outside this vocabulary of {int(self.allowed.sum()):,} tokens")
            return token
        ids = self.encode(token, continues=True)
        if len(ids) != 1:
            pieces = " + ".join(repr(self.text(piece)) for piece in ids) or "nothing"
            raise TargetError(f"{token!r} is not one token for this model but {len(ids)}: {pieces}")
        if ids[0] in self.special_ids and self.text(ids[0]) != token:
            raise TargetError(f"{token!r} is unknown to this model: its tokenizer gives {self.text(ids[0])!r}")
        return self.id_of(ids[0])  # a tokenizer may have more tokens than the head has rows


def _without_edges(step: dict[str, Any] | None) -> dict[str, Any] | None:
    """Remove special treatment of the start and end of a text from a `tokenizer.json` step; None if nothing remains."""
    if step is None or step["type"] in ("Prepend", "Strip"):
        return None
    for parts in ("normalizers", "pretokenizers"):
        if parts in step:
            kept = [part for part in map(_without_edges, step[parts]) if part is not None]
            return step | {parts: kept} if kept else None
    if step["type"] == "Metaspace":
        return {name: value for name, value in step.items() if name != "add_prefix_space"} | {"prepend_scheme": "never"}
    return step | {"add_prefix_space": False} if "add_prefix_space" in step else step


def load_vocabulary(folder: Path, size: int) -> Vocabulary:
    """Load the vocabulary from a prepared model's `tokenizer.json`.

    Args:
        folder: holds `tokenizer.json`.
        size: V, the number of rows of the model's head.

    Raises:
        ModelError: the folder has no valid fast tokenizer.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise ModelError(f"{folder} has no tokenizer.json: a fast tokenizer is needed")
    try:
        data = read_limited(file, MAX_TOKENIZER_BYTES)
        tokenizer = Tokenizer.from_str(data.decode())
        tokenizer.no_truncation()
        tokenizer.no_padding()
        largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror}") from error
    except Exception as error:  # the library raises plain Exception
        raise ModelError(f"{file} is not a tokenizer: {first_line(error)}") from error
    if largest > MAX_TOKEN_ID:
        raise ModelError(f"{file} has the token id {largest:,}, above the limit of {MAX_TOKEN_ID:,}")
    return Vocabulary(tokenizer, size, digest=hashlib.sha256(data).hexdigest())


def _byte_level_alphabet() -> dict[str, int]:
    """Return GPT-2's byte-level alphabet: printable bytes map to themselves, all others to U+0100 onwards."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


_BYTE_OF_CHAR = _byte_level_alphabet()
