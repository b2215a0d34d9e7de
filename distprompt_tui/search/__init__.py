"""Searches for prompts: soft (vectors) and hard (tokens)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search.hard import HardSearch
from distprompt_tui.search.protocol import Search
from distprompt_tui.search.soft import SoftSearch
from distprompt_tui.spec import RunSpec, Soft


def make_search(model: LanguageModel, target: Tensor, spec: RunSpec, warn: Callable[[str], None]) -> Search:
    """The search that a spec asks for.

    Args:
        model: already in the spec's context.
        target: p, (V,), probabilities.
        spec: of the run.
        warn: told what the person should know.
    """
    if isinstance(spec.search, Soft):
        return SoftSearch(model, target, spec.search, spec.budget.steps, spec.seed)
    return HardSearch(model, target, spec.search, spec.budget.steps, spec.seed, warn)
