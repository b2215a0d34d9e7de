"""A model's tokens: ids, strings, and the bytes that they stand for. Without torch, so that the app can use it."""

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

from distprompt_tui.errors import ModelError, TargetError, first_line
from distprompt_tui.storage.safe_io import read_limited

MAX_TOKENIZER_BYTES = 1 << 28
"""The largest tokenizer.json, of Gemma 3, takes an eighth of it."""

MAX_TOKEN_ID = 1 << 24
"""The largest vocabularies have a sixtieth of it; the tokenizers library counts through every id up to the last."""

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_ID = re.compile(r"id:[0-9]{1,18}")
_WORD_BOUNDARY = "\u2581"  # SentencePiece writes a space as "▁"

_SAMPLE_TEXTS = ("a", "A", "1", " ", "the")
"""Texts of which a tokenizer knows at least one, to see what it puts around them."""

_EDGE_STEPS = re.compile(rb'"type":"(Prepend|Strip|Metaspace)"|"add_prefix_space":true')
"""Steps of a tokenizer that may treat the edges of a text unlike its middle."""


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of one model.

    Attributes:
        tokenizer: the fast tokenizer.
        size: V, the number of rows of the model's head; it may be larger than the number of tokens.
        bos_id: the token that begins a text, where the model's files name one.
        digest: SHA-256 of `tokenizer.json`; empty where the tokens come from no file.
    """

    tokenizer: Tokenizer
    size: int
    bos_id: int | None = None
    digest: str = ""

    @cached_property
    def allowed(self) -> NDArray[np.bool_]:
        """(V,) bool; False for padding rows, which stand for no token."""
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
        return frozenset(self.tokenizer.get_added_tokens_decoder())  # a call takes milliseconds: not one a token

    @cached_property
    def _is_byte_level(self) -> bool:
        return '"ByteLevel"' in json.dumps(json.loads(self.tokenizer.to_str()).get("decoder"))

    def token_bytes(self, token_id: int) -> bytes | None:
        """The bytes that a token stands for; None for control tokens and rows without a token."""
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
        """A token as text; bytes that are no UTF-8 of their own become U+FFFD, control tokens keep their name."""
        raw = self.token_bytes(token_id)
        return raw.decode("utf-8", errors="replace") if raw is not None else self.tokenizer.id_to_token(token_id) or ""

    def encode(self, text: str, *, continues: bool = False) -> list[int]:
        """The ids of a text, with no tokens added around it; written-out control tokens count as such.

        Args:
            text: to tokenize.
            continues: whether other text stands before this one. Many SentencePiece tokenizers put a space before a
                text; within a text there is none.

        Raises:
            ModelError: the tokenizer cannot tokenize the text.
        """
        tokenizer = self._within_text if continues else self.tokenizer
        return self._ids(tokenizer, text, add_special_tokens=False)

    def encode_alone(self, text: str) -> list[int]:
        """The ids that an ordinary call of the tokenizer gives for a text, with the tokens that it adds by default.

        Raises:
            ModelError: the tokenizer cannot tokenize the text.
        """
        return self._ids(self.tokenizer, text, add_special_tokens=True)

    @staticmethod
    def _ids(tokenizer: Tokenizer, text: str, *, add_special_tokens: bool) -> list[int]:
        try:
            return list(tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)
        except Exception as error:  # of a foreign tokenizer, such as one without its token for the unknown
            raise ModelError(f"this model's tokenizer cannot read {text!r}: {first_line(error)}") from error

    @cached_property
    def added_ids(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The ids that an ordinary call of the tokenizer puts before and after a text, such as BOS and EOS."""
        for text in _SAMPLE_TEXTS:
            encoding = self.tokenizer.encode(text, add_special_tokens=True)
            mask = encoding.special_tokens_mask
            if 0 in mask:
                first, last = mask.index(0), len(mask) - mask[::-1].index(0)
                return tuple(encoding.ids[:first]), tuple(encoding.ids[last:])
        return (), ()

    @cached_property
    def _within_text(self) -> Tokenizer:
        """The same tokenizer for what stands inside a text: it adds no space in front and strips none."""
        steps = (self.tokenizer.normalizer, self.tokenizer.pre_tokenizer)
        if not any(step is not None and _EDGE_STEPS.search(step.__getstate__()) for step in steps):
            return self.tokenizer
        description = json.loads(self.tokenizer.to_str())
        for step in ("normalizer", "pre_tokenizer"):
            description[step] = _without_edges(description[step])
        return Tokenizer.from_str(json.dumps(description))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a sequence of ids, control tokens included."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))

    def id_of(self, token: str | int) -> int:
        """The id that a person means by `" yes"`, `5231` or `"id:5231"`; `" yes"` is the token shown as `·yes`.

        Raises:
            TargetError: the string is not exactly one token, or the id stands for none.
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
        return self.id_of(ids[0])  # a tokenizer may know more tokens than the head has rows


def _without_edges(step: dict[str, Any] | None) -> dict[str, Any] | None:
    """A normalizer or pre-tokenizer, in the form of `tokenizer.json`, that treats the edges of a text as its middle."""
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
    """Read a prepared model's tokens.

    Args:
        folder: holds `tokenizer.json`.
        size: V, rows of the model's head.

    Raises:
        ModelError: there is no fast tokenizer in the folder.
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
    except Exception as error:  # the library's own errors are of no narrower kind
        raise ModelError(f"{file} is no tokenizer: {first_line(error)}") from error
    if largest > MAX_TOKEN_ID:
        raise ModelError(f"{file} has a token of the id {largest:,}: no model has so many")
    return Vocabulary(tokenizer, size, digest=hashlib.sha256(data).hexdigest())


def _byte_level_alphabet() -> dict[str, int]:
    """GPT-2's byte-level alphabet: printable bytes stand for themselves, the others are moved to U+0100 onwards."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


_BYTE_OF_CHAR = _byte_level_alphabet()
