"""A shorter prompt that does nearly as well: tokens are dropped one by one, those that are missed least first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search.evaluator import Evaluator
from distprompt_tui.search.retokenization import is_retokenization_stable


@dataclass(frozen=True)
class PrunedPrompt:
    """What is left of a prompt.

    Attributes:
        ids: (m,).
        positions: where each of them stood before, rising.
        kl: of what is left, nats.
        work: token positions through the backbone that it took.
    """

    ids: Tensor
    positions: tuple[int, ...]
    kl: float
    work: int


def prune(
    model: LanguageModel,
    target: Tensor,
    ids: Tensor,
    within: float,
    locked: frozenset[int] = frozenset(),
    asked_to_stop: Callable[[], bool] = lambda: False,
) -> PrunedPrompt:
    """Drop tokens while the divergence rises by at most `within` nats in all, and the text gives the ids again.

    Args:
        model: in the prompt's context.
        target: p, (V,), probabilities.
        ids: the prompt, (n,).
        within: nats.
        locked: positions that stay, counted from 0.
        asked_to_stop: whether to be content with what is dropped so far; asked before each token.
    """
    evaluator = Evaluator(model, target, len(ids), lambda text: None)
    positions = list(range(len(ids)))
    kl = float(evaluator.measure(ids[None]))
    highest = kl + within
    while len(ids) > 1 and not asked_to_stop():
        places = [place for place, position in enumerate(positions) if position not in locked]
        shorter = [torch.cat([ids[:place], ids[place + 1 :]]) for place in places]
        survives = is_retokenization_stable(model, [prompt.tolist() for prompt in shorter])
        places = [place for place, good in zip(places, survives, strict=True) if good]
        if not places:
            break
        prompts = torch.stack([prompt for prompt, good in zip(shorter, survives, strict=True) if good])
        kls = evaluator.measure(prompts)
        best = int(kls.argmin())
        if float(kls[best]) > highest:
            break
        ids, kl = prompts[best], float(kls[best])
        del positions[places[best]]
    return PrunedPrompt(ids, tuple(positions), kl, evaluator.positions)
