"""The next-token distribution after a prompt and the tokens that a user appends to it one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distprompt_tui.core.metrics.divergence import compare
from distprompt_tui.models.device import is_out_of_memory
from distprompt_tui.models.head import relative_difference
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.prefix_cache import KeysAndValues
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.targets.description import TOP_TOKENS


class Continuations:
    """Computes the logits after a prompt and a path of tokens, and keeps the prefix cache of the latest prompt.

    With the cache, a step runs the path only. A model that does not cache keys and values of every position, or gives
    other logits with them, runs the whole input.
    """

    def __init__(self) -> None:
        self._context: tuple[tuple[int, ...], tuple[int, ...]] | None = None
        self._prompt = torch.empty(0)
        self._cache: KeysAndValues | None = None

    @torch.no_grad()
    def logits(self, model: LanguageModel, prompt: Tensor, path: Sequence[int]) -> Tensor:
        """Compute the next-token logits after prefix, prompt, suffix and path.

        Args:
            model: in the prompt's context.
            prompt: ids (n,), or embeddings (n, d).
            path: ids of the tokens after the suffix.

        Returns:
            (V,), float32; −inf on rows without a token.

        Raises:
            ModelError: prompt, context and path are longer than the model's context.
        """
        whole = replace(model, suffix_ids=(*model.suffix_ids, *path))
        whole.check_length(len(prompt))
        if path and (cache := self._cache_of(model, prompt, path[0])) is not None:
            return _after(model, cache, path)
        return whole.next_token_logits(prompt[None])[0]

    def _cache_of(self, model: LanguageModel, prompt: Tensor, first: int) -> KeysAndValues | None:
        """Return the cache of a prompt in its context; None if the logits after the token `first` differ with it.

        Half of the dtype's digits must agree, as for the candidates of a search.
        """
        context = model.prefix_ids, model.suffix_ids
        if context == self._context and prompt.dtype == self._prompt.dtype and torch.equal(prompt, self._prompt):
            return self._cache
        self._context, self._prompt, self._cache = context, prompt, None
        try:
            _, cache = model.logits_and_prefix_cache(prompt[None])
            if not isinstance(cache, KeysAndValues):
                return None
            found = _after(model, cache, [first])
        except Exception as error:  # unsupported use of a model raises errors of any type
            if is_out_of_memory(error):
                raise
            return None
        whole = replace(model, suffix_ids=(*model.suffix_ids, first))
        expected = whole.next_token_logits(prompt[None])[0]
        allowed = model.head.allowed
        if relative_difference(found[allowed], expected[allowed]) <= torch.finfo(model.dtype).eps ** 0.5:
            self._cache = cache
        return self._cache


def _after(model: LanguageModel, cache: KeysAndValues, path: Sequence[int]) -> Tensor:
    ids = torch.tensor([path], device=model.device)
    return replace(model, prefix_ids=(), suffix_ids=()).next_token_logits(ids, cache)[0]


def describe_next(
    vocabulary: Vocabulary, logits: Tensor, target: Tensor | None, include: Sequence[int]
) -> dict[str, Any]:
    """Describe the distribution of the next token as a JSON object.

    Args:
        vocabulary: of the model.
        logits: (V,).
        target: p, (V,) float64, to compare with; None after the first step, which the target does not describe.
        include: ids of tokens to list even if they are improbable.

    Returns:
        `rows` of id, text, q and p (None without a target), by the larger of q and p; `entropy` and `kl` in nats, `kl`
        None without a target; `count`, the number of tokens.
    """
    kl = None
    if target is None:
        log_q = logits.cpu().double().log_softmax(-1)
        q, p = log_q.exp(), None
        entropy = float(torch.special.entr(q).sum())
    else:
        compared = compare(target, logits)
        q, p, kl, entropy = compared.q, target.double().cpu(), compared.numbers.kl, compared.numbers.entropy
    size = q.numpy() if p is None else np.maximum(q.numpy(), p.numpy())
    rows = [
        [i, vocabulary.text(i), float(q[i]), None if p is None else float(p[i])]
        for i in _largest(size, vocabulary.allowed, include)
    ]
    return {"rows": rows, "entropy": entropy, "kl": kl, "count": int(vocabulary.allowed.sum())}


def _largest(size: NDArray[np.float64], allowed: NDArray[np.bool_], include: Sequence[int]) -> list[int]:
    """Return the ids of the `TOP_TOKENS` largest values and of `include`, largest first, rows without a token left out.

    `size` and `allowed` are (V,).
    """
    order = np.argsort(-np.where(allowed, size, -1.0), kind="stable")[: min(TOP_TOKENS, int(allowed.sum()))].tolist()
    more = [token for token in include if 0 <= token < len(allowed) and allowed[token] and token not in order]
    return [*order, *more]


def texts_of(model: LanguageModel, ids: Sequence[int] | None, path: Sequence[int]) -> dict[str, Any]:
    """Return the texts of a path, and whether they are tokenised to the same ids again.

    Args:
        model: in the prompt's context.
        ids: of the prompt; None for vectors, which have no text.
        path: ids of the tokens after prompt and suffix.

    Returns:
        `text` of prefix, prompt, suffix and path, None for vectors; `path_text`; `is_stable`: whether the text, or the
        path's without one, has the same ids.
    """
    vocabulary = model.vocabulary
    raw = b"".join(vocabulary.token_bytes(token) or vocabulary.text(token).encode() for token in path)
    path_text = raw.decode("utf-8", errors="replace")
    if ids is None:
        return {
            "text": None,
            "path_text": path_text,
            "is_stable": vocabulary.encode(path_text, continues=True) == [*path],
        }
    whole = [*model.text_ids(ids), *path]
    text = vocabulary.decode(whole)
    return {"text": text, "path_text": path_text, "is_stable": vocabulary.encode(text) == whole}
