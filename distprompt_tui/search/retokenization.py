"""Stability of token ids under retokenization of their text; only the text of stable prompts can be pasted."""

from __future__ import annotations

from collections.abc import Sequence

from distprompt_tui.models.language_model import LanguageModel


def is_retokenization_stable(model: LanguageModel, prompts: Sequence[Sequence[int]]) -> list[bool]:
    """Return for each prompt whether its text, in the model's context, is tokenised to the same ids."""
    tokenizer = model.vocabulary.tokenizer
    whole = [model.text_ids(ids) for ids in prompts]
    texts = tokenizer.decode_batch(whole, skip_special_tokens=False)
    encoded = tokenizer.encode_batch(texts, add_special_tokens=False)
    return [again.ids == ids for again, ids in zip(encoded, whole, strict=True)]
