"""Models, targets, bounds and searches for scripts and notebooks. No run directory is written."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch

from distprompt_tui.bounds.cache import solve_bounds
from distprompt_tui.bounds.values import Bounds
from distprompt_tui.core.config import spec
from distprompt_tui.core.config.presets import load_preset
from distprompt_tui.core.config.validation import checked
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.prepare import ignore_progress
from distprompt_tui.search import make_search
from distprompt_tui.search.protocol import Search
from distprompt_tui.targets import Target, build_target
from distprompt_tui.worker.model_provider import ModelProvider, load_by_name


def load_model(
    name: str = "smollm2",
    *,
    device: str = "auto",
    dtype: str = "auto",
    revision: str | None = None,
    prefix: str = "",
    suffix: str = "",
    bos: spec.BosSetting = "auto",
) -> LanguageModel:
    """Load a model for inference, and convert or download it first if necessary.

    Args:
        name: short name, hub name (`owner/model`), local folder or `.gguf` file.
        device: "auto" or a torch device such as "cuda:1".
        dtype: "auto" (bfloat16 on CUDA, float32 otherwise), "float32", "bfloat16" or "float16".
        revision: of a hub model.
        prefix: fixed text before every prompt.
        suffix: fixed text after every prompt.
        bos: "auto" adds the tokenizer's special tokens; True adds BOS; False adds nothing.

    Returns:
        The model in its context. `next_token_logits(prompts)` takes ids (batch, n) or embeddings (batch, n, d) and
        returns float32 logits (batch, V).

    Raises:
        DistPromptError: an argument is invalid, or the model cannot be found, prepared or loaded.
    """
    model = checked({"name": name, "device": device, "dtype": dtype, "revision": revision}, spec.ModelSpec)
    context = checked({"prefix": prefix, "suffix": suffix, "bos": bos}, spec.Context)
    loaded, _ = load_by_name(model, ignore_progress)
    return loaded.in_context(context.prefix, context.suffix, context.bos)


def make_target(recipe: str | Mapping[str, Any], model: LanguageModel) -> Target:
    """Make a target distribution over a model's vocabulary.

    Args:
        recipe: the `[target]` table of a preset, such as `{"family": "vanilla", "entropy": 6.0}`, or the name or path
            of a preset, of which only the target is used.
        model: the model to prompt.

    Returns:
        The target; `probabilities` is p, (V,) float64.

    Raises:
        NotFoundError: the preset or file does not exist.
        UsageError: the recipe is invalid.
        TargetError: the requested entropy or tokens are not possible.
    """
    target = load_preset(recipe).spec.target if isinstance(recipe, str) else _run_spec(target=dict(recipe)).target
    dtype = str(model.dtype).removeprefix("torch.")
    settings = checked({"name": model.name, "device": str(model.device), "dtype": dtype}, spec.ModelSpec)
    return build_target(target, model.vocabulary, ModelProvider(model, settings, ignore_progress))


def find_bounds(model: LanguageModel, target: Target) -> Bounds:
    """Compute the floor and the head optimum of a target, or read them from the cache.

    Returns:
        The bounds in nats. `floor` is a certified lower bound on the divergence of every prompt; `head_optimum` is the
        lowest divergence found over all states that the output layer can receive. A value is None if the output layer
        does not allow it; `why_no_floor` gives the reason.
    """
    *_, bounds = solve_bounds(model.head, torch.tensor(target.probabilities))
    return bounds


def start_search(
    model: LanguageModel, target: Target, method: str = "soft", *, steps: int = 300, seed: int = 0, **settings: Any
) -> Search:
    """Set up a search for a prompt. It advances while `steps()` is iterated.

    Args:
        model: in its context.
        target: made for this model.
        method: "soft" (vectors), or "hard", "gcg", "hotflip", "random" or "exhaustive" (tokens).
        steps: planned number of steps, on which learning-rate schedules depend.
        seed: of all random choices.
        settings: fields of a preset's `[search]` table, such as `length=10`.

    Returns:
        The search. `steps()` yields `Step`s, `best` is the best prompt so far, `current` the newest prompt with its
        logits, (V,). Warnings are issued as `UserWarning`.

    Raises:
        DistPromptError: a setting is invalid, or the model does not support the method.
    """
    planned = _run_spec(search={"method": method, **settings}, budget={"steps": steps}, seed=seed)
    return make_search(model, torch.tensor(target.probabilities), planned, warnings.warn)


def _run_spec(**fields: Any) -> spec.RunSpec:
    """Return a validated spec. The target family is arbitrary, because a search receives its target as an array."""
    return checked({"target": {"family": "uniform"}} | fields, spec.RunSpec)
