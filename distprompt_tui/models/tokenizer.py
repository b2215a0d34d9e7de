"""A model's tokenizer as transformers loads it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tokenizers import Tokenizer

from distprompt_tui.models.vocabulary import Vocabulary, load_vocabulary


def load_callable_vocabulary(folder: Path, size: int) -> Vocabulary:
    """Load a prepared model's vocabulary, which tokenizes as `AutoTokenizer` does.

    The tokenizer classes of transformers do not always follow `tokenizer.json`: some build their own normalizer, and
    `tokenizer_config.json` sets whether BOS and EOS are added. If transformers cannot load the tokenizer, or its tokens
    differ from the file's, `tokenizer.json` alone is used.

    Args:
        folder: holds `tokenizer.json`.
        size: V, the number of rows of the model's head.

    Raises:
        ModelError: the folder has no fast tokenizer.
    """
    from transformers import AutoTokenizer

    plain = load_vocabulary(folder, size)
    try:
        called = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        tokenizer = called.backend_tokenizer
        same_tokens = _tokens(tokenizer) == _tokens(plain.tokenizer)
    except Exception:  # transformers raises any error without a class or a fast tokenizer
        return plain
    bos_id = called.bos_token_id if isinstance(called.bos_token_id, int) and called.bos_token_id < size else None
    if not same_tokens:
        return replace(plain, bos_id=bos_id)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return replace(plain, tokenizer=tokenizer, bos_id=bos_id)


def _tokens(tokenizer: Tokenizer) -> dict[str, int]:
    return dict(tokenizer.get_vocab(with_added_tokens=True))
