"""Whether token ids survive being written as text and read again: a prompt that does not cannot be pasted."""

from __future__ import annotations

from collections.abc import Sequence

from distprompt_tui.models.language_model import LanguageModel


def is_retokenization_stable(model: LanguageModel, prompts: Sequence[Sequence[int]]) -> list[bool]:
    """Which prompts' text, in the model's context, is tokenised to the same ids again.

    Args:
        model: gives tokenizer and context.
        prompts: ids, one sequence a prompt.

    Returns:
        One bool a prompt.
    """
    tokenizer = model.vocabulary.tokenizer
    whole = [model.text_ids(ids) for ids in prompts]
    texts = tokenizer.decode_batch(whole, skip_special_tokens=False)
    encoded = tokenizer.encode_batch(texts, add_special_tokens=False)
    return [again.ids == ids for again, ids in zip(encoded, whole, strict=True)]
