"""Small vocabularies and a fake language model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from distprompt_tui.models.vocabulary import Vocabulary
from tests.byte_level import byte_level_bpe

WordVocabulary = Callable[..., Vocabulary]

CORPUS = [
    "the cat sat on the mat and the dog sat on the log",
    "a banana, another banana: bananas are what the cat wants",
    "naïve café, smörgåsbord; übermäßig größer",
    "日本語のテキスト と 日本 の 本",
    "yes no yes no maybe 1 2 3 4 5 6",
]


@pytest.fixture(scope="session")
def word_vocabulary() -> WordVocabulary:
    """Makes vocabularies of the words t0, t1, ...; `missing` rows of the head have no token."""

    @cache
    def make(size: int, missing: frozenset[int] = frozenset()) -> Vocabulary:
        rows = [row for row in range(size + len(missing)) if row not in missing][:size]
        words = {f"t{number}": row for number, row in enumerate(rows)}
        return Vocabulary(Tokenizer(models.WordLevel(words, unk_token="t0")), size + len(missing))

    return make


@pytest.fixture(scope="session")
def byte_level() -> Vocabulary:
    """A byte-level BPE like GPT-2's, with an end-of-text token."""
    tokenizer = byte_level_bpe(CORPUS, 330, "<|endoftext|>")
    return Vocabulary(tokenizer, tokenizer.get_vocab_size())


@pytest.fixture(scope="session")
def sentencepiece() -> Vocabulary:
    """A BPE like Llama's, with "▁" for spaces, byte tokens that duplicate ASCII letters, and a padding row."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        limit_alphabet=40,
        special_tokens=["<unk>", "<eos>", *(f"<0x{byte:02X}>" for byte in range(256))],
        initial_alphabet=list("abcdefghijklmnopqrstuvwxyz▁"),
        show_progress=False,
    )
    trained.train_from_iterator(CORPUS, trainer)
    described = json.loads(trained.to_str())
    described["model"]["byte_fallback"] = True
    described["added_tokens"] = [token for token in described["added_tokens"] if token["id"] < 2]
    tokenizer = Tokenizer.from_str(json.dumps(described))
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return Vocabulary(tokenizer, tokenizer.get_vocab_size() + 1)


@dataclass(frozen=True)
class FakeModel:
    """Returns given distributions; `calls` records the requests."""

    after: dict[str, NDArray[np.float64]]
    others: dict[str, tuple[FakeModel, Vocabulary]] = field(default_factory=dict)
    calls: list[tuple[int, int]] = field(default_factory=list)

    def next_token_probabilities(self, text: str) -> NDArray[np.float64]:
        return self.after[text].copy()

    def random_prompt_probabilities(self, length: int, seed: int) -> NDArray[np.float64]:
        self.calls.append((length, seed))
        return self.after["soft"].copy()

    def other(self, name: str) -> tuple[FakeModel, Vocabulary]:
        return self.others[name]


@pytest.fixture(scope="session")
def fake_model() -> type[FakeModel]:
    """The class `FakeModel`."""
    return FakeModel
