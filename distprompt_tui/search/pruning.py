"""Shorten a prompt: drop tokens one by one, the least important first."""

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
    """A shortened prompt, (m,) on the CPU, with its positions in the original, ascending, its divergence in nats, and
    the work of finding it in token positions through the backbone."""

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
    """Drop tokens of a prompt, (n,), while the divergence from p, (V,), rises by at most `within` nats in total.

    All shortened prompts are stable under retokenization. `locked` positions, counted from 0, are kept.
    `asked_to_stop` is called before each token; if it returns True, the current result is returned.
    """
    ids = ids.cpu()
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
