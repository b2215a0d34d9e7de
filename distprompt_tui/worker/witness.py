"""Measure a prompt that is known before the search to give the target, or a distribution close to it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.config.target_specs import Lm, Reachable
from distprompt_tui.core.errors import UsageError
from distprompt_tui.core.metrics.divergence import compare
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.runs.schema import Witness


def find_witness(model: LanguageModel, spec: RunSpec, target: Tensor) -> Witness | None:
    """Measure the spec's witness, else the text of an `lm` target or the vectors of a `reachable` one.

    A text is a prompt in the run's context, tokenized by the searched model's tokenizer.

    Args:
        model: in its context.
        spec: of the run.
        target: p, (V,) float64 on the CPU.

    Returns:
        None without such a prompt, if the target's text is too long for the model, or if the divergence is not finite.

    Raises:
        UsageError: the spec's witness has no tokens.
        ModelError: it is too long for the model, or cannot be tokenized.
    """
    known = spec.target
    if spec.witness is not None:
        ids = model.encode_prompt(spec.witness)
        if not ids:
            raise UsageError(f"the witness {spec.witness!r} has no tokens")
        model.check_length(len(ids))
        return _hard(model, target, ids)
    if isinstance(known, Lm):
        ids = model.encode_prompt(known.text)
        around = len(model.prefix_ids) + len(model.suffix_ids)
        return _hard(model, target, ids) if 0 < len(ids) <= model.max_length - around else None
    if isinstance(known, Reachable):
        vectors = model.random_vectors(known.length, torch.Generator().manual_seed(known.seed))
        kl = _divergence(model, target, vectors)
        return None if kl is None else Witness(kl, known.length, "soft")
    return None


def _hard(model: LanguageModel, target: Tensor, ids: list[int]) -> Witness | None:
    kl = _divergence(model, target, torch.tensor(ids, device=model.device))
    return None if kl is None else Witness(kl, len(ids), "hard", model.vocabulary.decode(ids), tuple(ids))


@torch.no_grad()
def _divergence(model: LanguageModel, target: Tensor, prompt: Tensor) -> float | None:
    """Compute the divergence of a prompt of ids, (n,), or vectors, (n, d); None if it is not finite."""
    kl = compare(target, model.next_token_logits(prompt[None])[0]).numbers.kl
    return kl if math.isfinite(kl) else None
