"""Transfer of a distribution between vocabularies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distprompt_tui.core.errors import TargetError
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.targets.transfer import Transferred, transfer


def one_hot(vocabulary: Vocabulary, token_id: int) -> np.ndarray:
    p = np.zeros(vocabulary.size)
    p[token_id] = 1
    return p


def over_text(vocabulary: Vocabulary, p: np.ndarray) -> np.ndarray:
    """The distribution without control tokens."""
    means_text = [vocabulary.token_bytes(token_id) is not None for token_id in range(vocabulary.size)]
    kept: np.ndarray = np.where(means_text, p, 0)
    kept /= kept.sum()
    return kept


def carried_to(source: Vocabulary, destination: Vocabulary, token_id: int) -> tuple[bytes | None, Transferred]:
    """Destination of one token, by its bytes."""
    moved = transfer(one_hot(source, token_id), source, destination)
    return destination.token_bytes(int(moved.probabilities.argmax())), moved


@pytest.fixture(scope="module", params=["to byte-level", "to sentencepiece"])
def pair(request: Any, byte_level: Vocabulary, sentencepiece: Vocabulary) -> tuple[Vocabulary, Vocabulary]:
    pair = (sentencepiece, byte_level)
    return pair if request.param == "to byte-level" else pair[::-1]


@given(seed=st.integers(0, 2**32), concentration=st.sampled_from([0.01, 1.0]))
def test_mass_is_conserved(pair: tuple[Vocabulary, Vocabulary], seed: int, concentration: float) -> None:
    source, destination = pair
    p = np.random.default_rng(seed).dirichlet(np.full(source.size, concentration))
    moved = transfer(p, source, destination)
    assert moved.matched + moved.prefix + moved.lost == pytest.approx(1, abs=1e-12)
    assert min(moved.matched, moved.prefix, moved.lost) >= 0
    assert moved.probabilities.sum() == pytest.approx(1, abs=1e-12)
    assert not moved.probabilities[~destination.allowed].any()
    assert not moved.probabilities[list(destination.special_ids)].any()


@given(seed=st.integers(0, 2**32))
@pytest.mark.parametrize("which", [0, 1])
def test_to_the_same_vocabulary_is_the_identity(which: int, pair: tuple[Vocabulary, Vocabulary], seed: int) -> None:
    vocabulary = pair[which]
    p = over_text(vocabulary, np.random.default_rng(seed).dirichlet(np.ones(vocabulary.size)))
    moved = transfer(p, vocabulary, vocabulary)
    np.testing.assert_allclose(moved.probabilities, p, rtol=1e-12)
    assert moved.matched == pytest.approx(1)


def test_tokens_go_to_equal_bytes_or_the_longest_prefix(pair: tuple[Vocabulary, Vocabulary]) -> None:
    """Compares with a plain search of the whole destination."""
    source, destination = pair
    there = {raw for token_id in range(destination.size) if (raw := destination.token_bytes(token_id))}
    matches = prefixes = 0
    for token_id in range(source.size):
        raw = source.token_bytes(token_id)
        if raw is None:
            continue
        beginnings = [other for other in there if raw.startswith(other)]
        landed, moved = carried_to(source, destination, token_id)
        assert landed == max(beginnings, key=len)
        matches += moved.matched == 1
        prefixes += moved.prefix == 1
        assert (moved.matched == 1) == (landed == raw)
    assert matches > 50
    assert prefixes > 20


def test_spaces_agree_across_vocabularies(byte_level: Vocabulary, sentencepiece: Vocabulary) -> None:
    assert byte_level.tokenizer.id_to_token(byte_level.id_of(" banana")) == "Ġbanana"
    assert sentencepiece.tokenizer.id_to_token(sentencepiece.id_of(" banana")) == "▁banana"
    landed, moved = carried_to(byte_level, sentencepiece, byte_level.id_of(" banana"))
    assert (landed, moved.matched) == (b" banana", 1)
    assert transfer(one_hot(sentencepiece, sentencepiece.id_of(" banana")), sentencepiece, byte_level).matched == 1


def test_partial_character_goes_to_a_byte_token(byte_level: Vocabulary, sentencepiece: Vocabulary) -> None:
    parts = [
        token_id
        for token_id in range(byte_level.size)
        if (raw := byte_level.token_bytes(token_id)) and len(raw) == 1 and raw[0] >= 0x80
    ]
    assert len(parts) == 128
    for token_id in parts:
        landed, moved = carried_to(byte_level, sentencepiece, token_id)
        assert (landed, moved.matched) == (byte_level.token_bytes(token_id), 1)


def test_duplicate_bytes_use_the_token_of_encoding(byte_level: Vocabulary, sentencepiece: Vocabulary) -> None:
    """`a` and `<0x61>` have the same byte; transferred probability goes to `a`."""
    assert sentencepiece.token_bytes(sentencepiece.tokenizer.get_vocab()["<0x61>"]) == b"a"
    moved = transfer(one_hot(byte_level, byte_level.id_of("a")), byte_level, sentencepiece)
    assert sentencepiece.tokenizer.id_to_token(int(moved.probabilities.argmax())) == "a"


def test_control_tokens_are_lost(byte_level: Vocabulary, sentencepiece: Vocabulary) -> None:
    end, cat = byte_level.id_of("<|endoftext|>"), byte_level.id_of(" cat")
    p = 0.25 * one_hot(byte_level, end) + 0.75 * one_hot(byte_level, cat)
    for destination in (sentencepiece, byte_level):
        moved = transfer(p, byte_level, destination)
        assert (moved.matched, moved.prefix, moved.lost) == (0.75, 0, 0.25)
        assert moved.probabilities[destination.id_of(" cat")] == 1
    with pytest.raises(TargetError, match="counterpart"):
        transfer(one_hot(byte_level, end), byte_level, sentencepiece)


def test_bytes_without_a_prefix_are_lost(byte_level: Vocabulary, word_vocabulary: Any) -> None:
    words = word_vocabulary(5)  # t0 to t4
    p = 0.5 * one_hot(byte_level, byte_level.id_of("t")) + 0.5 * one_hot(byte_level, byte_level.id_of("c"))
    with pytest.raises(TargetError, match="counterpart"):
        transfer(p, byte_level, words)
    back = transfer(np.full(5, 0.2), words, byte_level)
    assert back.prefix == pytest.approx(1)
    assert back.probabilities[byte_level.id_of("t")] == 1


@pytest.mark.real_model
def test_gemma_and_smollm2(smollm2_vocabulary: Vocabulary, gemma_vocabulary: Vocabulary) -> None:
    for source, destination, least_matched in (
        (smollm2_vocabulary, gemma_vocabulary, 0.9),
        (gemma_vocabulary, smollm2_vocabulary, 0.15),
    ):
        level = over_text(source, np.ones(source.size))
        moved = transfer(level, source, destination)
        assert moved.matched > least_matched
        assert moved.lost < 1e-3
        assert moved.matched + moved.prefix + moved.lost == pytest.approx(1, abs=1e-9)
        for word in (" banana", " yes", "\n", "5", "é"):
            p = one_hot(source, source.id_of(word))
            assert transfer(p, source, destination).probabilities[destination.id_of(word)] == 1


@pytest.mark.real_model
def test_gemma_to_itself(gemma_vocabulary: Vocabulary) -> None:
    """262,144 tokens, with byte tokens that duplicate the ASCII letters."""
    p = over_text(gemma_vocabulary, np.random.default_rng(0).random(gemma_vocabulary.size))
    np.testing.assert_allclose(transfer(p, gemma_vocabulary, gemma_vocabulary).probabilities, p, rtol=1e-9)
