"""Tests of token bytes and strings, for byte-level and SentencePiece-like tokenizers."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, models

from distprompt_tui.core.errors import ModelError, TargetError
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.vocabulary import Vocabulary, load_vocabulary
from tests.tiny_models import PADDING_ROWS

TEXT = "The naïve fox, 東京 🙂\tand\na banana"


def test_bytes_of_the_tokens_are_the_bytes_of_the_text(tiny_model: LanguageModel) -> None:
    vocabulary = tiny_model.vocabulary
    pieces = [vocabulary.token_bytes(token) for token in vocabulary.encode(TEXT)]
    assert b"".join(piece or b"" for piece in pieces) == TEXT.encode()


def test_padding_rows_are_not_allowed(tiny_models: dict[str, LanguageModel]) -> None:
    vocabulary = tiny_models["gpt_neox"].vocabulary
    assert (~vocabulary.allowed).sum() == PADDING_ROWS
    assert vocabulary.token_bytes(vocabulary.size - 1) is None
    with pytest.raises(TargetError, match="outside this vocabulary of 400 tokens"):
        vocabulary.id_of(vocabulary.size - 1)


def test_control_tokens_have_no_bytes(tiny_model: LanguageModel) -> None:
    vocabulary = tiny_model.vocabulary
    assert vocabulary.special_ids
    for token in vocabulary.special_ids:
        assert vocabulary.token_bytes(token) is None
        assert vocabulary.text(token)


def test_id_of(tiny_models: dict[str, LanguageModel]) -> None:
    vocabulary = tiny_models["llama"].vocabulary
    token = vocabulary.id_of("yes")
    assert vocabulary.text(token) == "yes"
    assert vocabulary.id_of(token) == vocabulary.id_of(f"id:{token}") == token
    with pytest.raises(TargetError, match=r"'yes, no' is not one token for this model but \d: 'yes'"):
        vocabulary.id_of("yes, no")
    with pytest.raises(TargetError, match="not one token"):
        vocabulary.id_of("")
    for outside in (-1, 10**9):
        with pytest.raises(TargetError, match="outside"):
            vocabulary.id_of(outside)


def test_an_unknown_string() -> None:
    words = Tokenizer(models.WordLevel({"<unk>": 0, "yes": 1}, unk_token="<unk>"))
    words.add_special_tokens(["<unk>"])
    vocabulary = Vocabulary(words, 2)
    assert (vocabulary.id_of("yes"), vocabulary.id_of("<unk>")) == (1, 0)
    with pytest.raises(TargetError, match="'☃' is unknown to this model: its tokenizer gives '<unk>'"):
        vocabulary.id_of("☃")


def test_a_folder_without_a_fast_tokenizer(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ModelError, match=r"no tokenizer\.json"):
        load_vocabulary(tmp_path, 10)


@pytest.mark.real_model
@pytest.mark.parametrize("which", ["smollm2_vocabulary", "gemma_vocabulary"])
def test_every_token_of_the_real_vocabularies(which: str, request: pytest.FixtureRequest) -> None:
    """Ordinary tokens decode, one by one, to the text of their bytes."""
    vocabulary: Vocabulary = request.getfixturevalue(which)
    ordinary = [i for i in range(vocabulary.size) if vocabulary.token_bytes(i) is not None]
    assert len(ordinary) > 0.97 * vocabulary.size
    decoded = vocabulary.tokenizer.decode_batch([[i] for i in ordinary], skip_special_tokens=False)
    assert [vocabulary.text(i) for i in ordinary] == decoded
