"""A model's tokenizer as transformers loads it: what everybody else gets who calls it on a text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tokenizers import Tokenizer

from distprompt_tui.models.vocabulary import Vocabulary, load_vocabulary


def load_callable_vocabulary(folder: Path, size: int) -> Vocabulary:
    """The tokens of a prepared model, tokenized as `AutoTokenizer` tokenizes.

    The tokenizer classes of transformers do not always follow `tokenizer.json`: some build their own normalizer, and
    `tokenizer_config.json` decides whether BOS and EOS are added. Where transformers cannot load the tokenizer, or its
    tokens are not those of the file, the file alone counts.

    Args:
        folder: holds `tokenizer.json`.
        size: V, rows of the model's head.

    Raises:
        ModelError: there is no fast tokenizer in the folder.
    """
    from transformers import AutoTokenizer

    plain = load_vocabulary(folder, size)
    try:
        called = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        tokenizer = called.backend_tokenizer
        same_tokens = _tokens(tokenizer) == _tokens(plain.tokenizer)
    except Exception:  # no class for it, or one without a fast tokenizer: nothing narrower is raised
        return plain
    bos_id = called.bos_token_id if isinstance(called.bos_token_id, int) and called.bos_token_id < size else None
    if not same_tokens:
        return replace(plain, bos_id=bos_id)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return replace(plain, tokenizer=tokenizer, bos_id=bos_id)


def _tokens(tokenizer: Tokenizer) -> dict[str, int]:
    return dict(tokenizer.get_vocab(with_added_tokens=True))
