"""After a search: prune the prompt, and measure its fluency and the initial prompt."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distprompt_tui.bounds.rounding import rounding_of
from distprompt_tui.bounds.values import Bounds
from distprompt_tui.core.config.search_specs import SwapSearchConfig
from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.errors import UsageError
from distprompt_tui.core.metrics.divergence import compare
from distprompt_tui.core.storage.prompt_files import read_prompt
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search.protocol import Best, HardPrompt
from distprompt_tui.search.pruning import prune


def pruned(
    model: LanguageModel, target: Tensor, spec: RunSpec, best: Best, asked_to_stop: Callable[[], bool]
) -> tuple[Best, dict[str, Any]]:
    """Prune the best prompt as far as `search.prune` allows, and return it with additional fields of the result.

    Pruning stops early if `asked_to_stop` returns True. `target` is p, (V,).
    """
    within = spec.search.prune if isinstance(spec.search, SwapSearchConfig) else None
    if within is None or not isinstance(best.prompt, HardPrompt):
        return best, {}
    prompt = best.prompt
    found = prune(model, target, prompt.ids, within, prompt.locked, asked_to_stop)
    kept = HardPrompt(
        found.ids,
        tuple(prompt.changed[position] for position in found.positions),
        tuple(prompt.improvement[position] for position in found.positions),
        frozenset(place for place, position in enumerate(found.positions) if position in prompt.locked),
        tuple(prompt.tried[position] for position in found.positions),
    )
    extra_result = {"length_before": len(prompt.ids), "kl_before": best.kl, "pruning_positions": found.work}
    return Best(found.kl, kept, best.step), extra_result


@torch.no_grad()
def fluency_info(model: LanguageModel, spec: RunSpec, best: Best) -> dict[str, Any]:
    """Return the fields of the result on fluency; empty without a fluency weight."""
    weight = spec.search.fluency_weight if isinstance(spec.search, SwapSearchConfig) else 0.0
    if not weight or not isinstance(best.prompt, HardPrompt):
        return {}
    ids = best.prompt.ids[None].to(model.device)
    _, likelihood, _ = model.logits_and_likelihood(ids, ids)
    return {"fluency_weight": weight, "log_likelihood": float(likelihood)}


@torch.no_grad()
def sphere_info(model: LanguageModel, best: Best, bounds: Bounds) -> dict[str, Any]:
    """Return whether the sphere bound covers the best prompt's state; empty without a sphere bound.

    `state_norm_ratio` is ‖u‖ / √d of the normalised last state, without the components that a gain of 0 hides. Only the
    rounding of the model's dtype can make it too large; the comparison allows for it.
    """
    if bounds.sphere_bound is None or bounds.sphere_norm_ratio is None or model.head.norm is None:
        return {}
    prompt = best.prompt.ids if isinstance(best.prompt, HardPrompt) else best.prompt.vectors
    gain = model.head.norm.gain.double()
    state = model.last_state(prompt[None].to(model.device))[0].double()
    seen = gain != 0
    ratio = float((state[seen] / gain[seen]).norm()) / math.sqrt(len(gain))
    return {
        "sphere_bound": bounds.sphere_bound,
        "state_norm_ratio": ratio,
        "sphere_bound_applies": ratio >= bounds.sphere_norm_ratio * (1 + rounding_of(model.head).state),
    }


@torch.no_grad()
def initial_prompt_info(model: LanguageModel, target: Tensor, spec: RunSpec, kept: RunSpec) -> dict[str, Any]:
    """Return the fields of the result on the initial prompt's file, as it was before the search adapted the prompt.

    `target` is p, (V,); `kept` is the spec with the path of the run's copy of the prompt.
    """
    path = getattr(spec.search, "init_prompt", None)
    if path is None:
        return {}
    try:
        found = read_prompt(Path(getattr(kept.search, "init_prompt", path)))
    except UsageError:  # older versions made no copy, and the file is missing
        return {"from_prompt": path}
    kind = "hard" if isinstance(found, list) else "soft"
    prompt = torch.tensor(found) if isinstance(found, list) else torch.from_numpy(found)
    kl = compare(target, model.next_token_logits(prompt[None].to(model.device))[0]).numbers.kl
    return {"from_prompt": path, "from_kind": kind, "from_kl": kl}
